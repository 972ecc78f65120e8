"""Checks of what this machine can do, for `tunlab doctor`.

Each check tries the feature in a new namespace, or only reads: none changes the machine, and none waits.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
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
from tunlab.kernel.namespace.machine import Machine
from tunlab.kernel.namespace.mount_overlay import MountOverlay
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.netlink.constants import NETLINK_NETFILTER
from tunlab.kernel.netlink.netlink_socket import NLM_F_ACK, NetlinkSocket, pack_message
from tunlab.kernel.netlink.nf_tables import NFT_MSG_GETGEN
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.kernel.os_errors import PRIVILEGE_REMEDY, TUN_DEVICE_NODE, has_capability


class Probe(msgspec.Struct, frozen=True):
    """The result of one check.

    Attributes:
        name: The feature, as "TUN device" or "qdisc netem".
        ok: True if it works.
        detail: The observation, or the error.
        remedy: Advice, or "".
        needed: True if tunlab does not work at all without the feature.
        rootless: True if it was tried in a new user namespace, which pytest and `tunlab demo` use without root.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    needed: bool = False
    rootless: bool = False


def probe() -> list[Probe]:
    """Run every check, in a user namespace if CAP_SYS_ADMIN is missing and one can be entered.

    Failures are results; nothing is raised.
    """
    entered = _user_namespace()
    found = _rootless() if entered.ok and not has_capability("CAP_SYS_ADMIN") else []
    return [*(found or [*_privileges(), *_namespace()]), entered, _ping()]


def _rootless() -> list[Probe]:
    """Return the results of this module run as a program in a user namespace; [] if that fails."""
    try:
        tried = _in_user_namespace("-m", __spec__.name)
        return [replace(found, rootless=True) for found in msgspec.json.decode(tried.stdout, type=list[Probe])]
    except (OSError, subprocess.TimeoutExpired, msgspec.DecodeError):
        return []


def _privileges() -> Iterator[Probe]:
    yield _attempt(TUN_DEVICE_NODE, _describe_node, needed=True)
    for capability in ("CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_NET_RAW"):
        held = has_capability(capability)
        yield Probe(
            capability, held, "in effect" if held else "not in effect", "" if held else PRIVILEGE_REMEDY, needed=True
        )


def _describe_node() -> str:
    features = tun_features()
    named = {"multi-queue": IFF_MULTI_QUEUE, "virtio headers": IFF_VNET_HDR, "NAPI": IFF_NAPI}
    mode = os.stat(TUN_DEVICE_NODE).st_mode & 0o7777  # noqa: PTH116
    return f"mode {mode:04o}, features: {', '.join(name for name, flag in named.items() if features & flag) or 'none'}"


def _namespace() -> Iterator[Probe]:
    try:
        netns = Netns.create()
    except TunlabError as error:
        yield _failure("network namespace", error, needed=True)
        return
    with netns:
        yield Probe("network namespace", ok=True, detail="created, sysctls written, lo up", needed=True)
        yield _attempt("TUN device", partial(_try_tun, netns), needed=True)
        yield _attempt("packet socket", partial(_try_packet_socket, netns), needed=True)
        yield _attempt("IPv6", _try_ipv6)
        yield _attempt("node processes", partial(_try_machine, netns))
        yield _attempt("nf_tables", partial(_try_nf_tables, netns), module="nf_tables")
        with Rtnl(netns) as rtnl:
            yield _attempt("veth", partial(rtnl.add_veth, "probe0", "probe1"), module="veth")
            yield _attempt("bridge", partial(rtnl.add_link, "probe2", "bridge"), module="bridge")
            for kind in ("tbf", "netem"):
                yield _attempt(f"qdisc {kind}", partial(_try_qdisc, rtnl, kind), module=f"sch_{kind}")


def _try_tun(netns: Netns) -> None:
    with TunDevice.create(netns) as device:
        device.configure(["192.0.2.1/24"])


def _try_packet_socket(netns: Netns) -> None:
    PacketSocket(netns, "lo").close()


def _try_ipv6() -> None:
    Netns.create(ipv6=True).close()


def _try_machine(netns: Netns) -> str:
    view = MountOverlay(hostname="probe", texts={"/etc/hosts": ""}, private=("/run",))
    with Machine(netns, lambda: view) as machine:
        machine.start()
        hidden = machine.hidden_proc
        machine.kill()
    if hidden:
        reason = "parts of this container's /proc are hidden, so programs in a node see processes outside of it"
        remedy = "start the container with --security-opt systempaths=unconfined"
        raise KernelError(hidden, "mount /proc", reason=reason, remedy=remedy)
    return "own files, host name and processes"


def _try_nf_tables(netns: Netns) -> None:
    with NetlinkSocket(netns.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)) as netlink:
        netlink.exchange(pack_message(NFT_MSG_GETGEN, NLM_F_ACK, bytes(4)), "get the generation of nf_tables")


def _try_qdisc(rtnl: Rtnl, kind: str) -> None:
    try:
        rtnl.add_qdisc(1, kind)
    except KernelError as error:
        if error.errno != errno.EINVAL:  # EINVAL: the kernel has the qdisc, and the request lacks only its parameters.
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
    detail = tried.stderr.strip() or "works, and programs in it keep every capability"
    return Probe(name, ok=not tried.returncode, detail=detail)


def _in_user_namespace(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a new process in a user namespace, because a process with threads cannot enter one."""
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "tunlab.kernel.namespace.userns", sys.executable, *arguments]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


def _ping() -> Probe:
    path = shutil.which("ping")
    if path is None:
        return Probe("ping", ok=False, detail="not on PATH", remedy="install iputils-ping")
    return Probe("ping", ok=True, detail=path)


def _attempt(name: str, attempt: Callable[[], object], *, needed: bool = False, module: str = "") -> Probe:
    try:
        result = attempt()
    except TunlabError as error:
        return _failure(name, error, needed=needed, module=module)
    return Probe(name, ok=True, detail=result if isinstance(result, str) else "works", needed=needed)


def _failure(name: str, error: TunlabError, *, needed: bool, module: str = "") -> Probe:
    detail, remedy = (error.problem, error.remedy) if isinstance(error, KernelError) else (str(error), "")
    if not remedy and module:
        remedy = f"load the kernel module: `modprobe {module}`"
    return Probe(name, ok=False, detail=detail, remedy=remedy, needed=needed)


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode([*_privileges(), *_namespace()]))
