"""What this machine can do, by trying: for `tunlab doctor`, and for the one sentence in place of a hundred failures.

Rule for editors: every probe runs in an anonymous namespace or reads; none changes the machine, and none waits.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec
from msgspec.structs import replace

from tunlab.errors import KernelError, TunlabError
from tunlab.kernel.device.packet_socket import PacketSocket
from tunlab.kernel.device.tun import TunDevice
from tunlab.kernel.device.tun_ioctl import IFF_MULTI_QUEUE, IFF_NAPI, IFF_VNET_HDR, tun_features
from tunlab.kernel.namespace import userns
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.netlink.netlink_socket import NLM_F_ACK, NLM_F_REQUEST, NetlinkSocket
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.kernel.os_errors import PRIVILEGE_REMEDY, TUN_DEVICE_NODE, has_capability

# <linux/netfilter/nfnetlink.h>, <linux/netfilter/nf_tables.h>: NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN
_NETLINK_NETFILTER = 12
_NFT_MSG_GETGEN = 10 << 8 | 16


class Probe(msgspec.Struct, frozen=True):
    """One thing asked of the machine: whether it can, what was seen, and what to do if it cannot.

    needed     nothing works without it; else only what the name says is missing
    rootless   it was tried in a user namespace of our own, as pytest and `tunlab demo` work without root
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    needed: bool = False
    rootless: bool = False


def probe() -> list[Probe]:
    """Ask the machine everything; takes some tens of milliseconds and raises nothing of its own.

    Without CAP_SYS_ADMIN, in a user namespace where one can be entered.
    """
    entered = _user_namespace()
    found = _rootless() if entered.ok and not has_capability("CAP_SYS_ADMIN") else []
    return [*(found or [*_rights(), *_namespace()]), entered, _ping()]


def _rootless() -> list[Probe]:
    """What this module, run as a program, finds inside a user namespace; nothing where it cannot be run there."""
    try:
        tried = _in_user_namespace("-m", __spec__.name)
        return [replace(found, rootless=True) for found in msgspec.json.decode(tried.stdout, type=list[Probe])]
    except (OSError, subprocess.TimeoutExpired, msgspec.DecodeError):
        return []


def _rights() -> Iterator[Probe]:
    yield _tried(TUN_DEVICE_NODE, _describe_node, needed=True)
    for capability in ("CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_NET_RAW"):
        held = has_capability(capability)
        yield Probe(
            capability, held, "in effect" if held else "not in effect", "" if held else PRIVILEGE_REMEDY, needed=True
        )


def _describe_node() -> str:
    features = tun_features()
    named = {"multi-queue": IFF_MULTI_QUEUE, "virtio headers": IFF_VNET_HDR, "NAPI": IFF_NAPI}
    mode = os.stat(TUN_DEVICE_NODE).st_mode & 0o7777  # noqa: PTH116
    return (
        f"mode {mode:04o}, with {', '.join(name for name, flag in named.items() if features & flag) or 'nothing more'}"
    )


def _namespace() -> Iterator[Probe]:
    try:
        netns = Netns.create()
    except TunlabError as error:
        yield _failed("network namespace", error, needed=True)
        return
    with netns:
        yield Probe("network namespace", ok=True, detail="made, its sysctls written, lo up", needed=True)
        yield _tried("TUN device", partial(_try_tun, netns), needed=True)
        yield _tried("packet socket", partial(_try_packet_socket, netns), needed=True)
        yield _tried("IPv6", _try_ipv6)
        yield _tried("nf_tables", partial(_try_nf_tables, netns), module="nf_tables")
        with Rtnl(netns) as rtnl:
            yield _tried("veth", partial(rtnl.add_veth, "probe0", "probe1"), module="veth")
            yield _tried("bridge", partial(rtnl.add_link, "probe2", "bridge"), module="bridge")
            for kind in ("tbf", "netem"):
                yield _tried(f"qdisc {kind}", partial(_try_qdisc, rtnl, kind), module=f"sch_{kind}")


def _try_tun(netns: Netns) -> None:
    with TunDevice.create(netns) as device:
        device.configure(["192.0.2.1/24"])


def _try_packet_socket(netns: Netns) -> None:
    PacketSocket(netns, "lo").close()


def _try_ipv6() -> None:
    Netns.create(ipv6=True).close()


def _try_nf_tables(netns: Netns) -> None:
    netlink = NetlinkSocket(netns.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER))
    try:
        # nlmsghdr, and a nfgenmsg: family, version, resource.
        message = struct.pack("=IHHIIBBH", 20, _NFT_MSG_GETGEN, NLM_F_REQUEST | NLM_F_ACK, 0, 0, 0, 0, 0)
        netlink.exchange(message, "ask nf_tables for its generation")
    finally:
        netlink.close()


def _try_qdisc(rtnl: Rtnl, kind: str) -> None:
    try:
        rtnl.add_qdisc(1, kind)
    except KernelError as error:
        if error.errno != errno.EINVAL:  # EINVAL: the kernel knows the kind, and misses its parameters
            raise


def _user_namespace() -> Probe:
    name = "user namespace"
    obstacle = userns.find_obstacle()
    if obstacle is not None and os.geteuid() != 0:
        return Probe(name, ok=False, detail=obstacle[0], remedy=obstacle[1])
    try:
        tried = _in_user_namespace("-S", "-c", "")
    except (OSError, subprocess.TimeoutExpired) as error:
        return Probe(name, ok=False, detail=str(error))
    detail = tried.stderr.strip() or "entered, with every capability kept by the programs it runs"
    return Probe(name, ok=not tried.returncode, detail=detail)


def _in_user_namespace(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python there; in a process of its own, for one with threads cannot try it in itself."""
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "tunlab.kernel.namespace.userns", sys.executable, *arguments]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


def _ping() -> Probe:
    path = shutil.which("ping")
    if path is None:
        return Probe("ping", ok=False, detail="not on PATH", remedy="install iputils-ping")
    return Probe("ping", ok=True, detail=path)


def _tried(name: str, attempt: Callable[[], object], *, needed: bool = False, module: str = "") -> Probe:
    try:
        result = attempt()
    except TunlabError as error:
        return _failed(name, error, needed=needed, module=module)
    return Probe(name, ok=True, detail=result if isinstance(result, str) else "works", needed=needed)


def _failed(name: str, error: TunlabError, *, needed: bool, module: str = "") -> Probe:
    remedy = error.remedy if isinstance(error, KernelError) else ""
    if not remedy and module:
        remedy = f"load the kernel's module for it, if there is one: modprobe {module}"
    detail = str(error).removesuffix(f"; {remedy}")
    return Probe(name, ok=False, detail=detail, remedy=remedy, needed=needed)


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode([*_rights(), *_namespace()]))
