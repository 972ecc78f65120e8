"""Starting a device under test of each kind."""

from __future__ import annotations

import os
import socket
import sys
import time
from contextlib import ExitStack

from msgspec.structs import replace

from tunlab.dut.control import KernelControl, LineControl, ObjectControl
from tunlab.dut.device import Dut
from tunlab.dut.kernel_port import KernelPort, KernelServices
from tunlab.dut.process import DeviceProcess
from tunlab.dut.settings import DutSettings
from tunlab.dut.target import Target
from tunlab.errors import DeviceError
from tunlab.kernel.device.tun import TunDevice
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.link_events import wait_until_running
from tunlab.kernel.network.nftables import silence
from tunlab.kernel.network.request_attributes import address_family
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.traffic.fence import KernelFence
from tunlab.traffic.ports.object_port import ObjectPort
from tunlab.traffic.ports.packet_socket_port import MARK, PacketSocketPort
from tunlab.traffic.ports.pair_port import PairPort
from tunlab.traffic.ports.tun_port import LINKTYPE_ETHERNET
from tunlab.traffic.sockets import CurrentNamespace, SocketFactory

_METHODS = ("receive", "poll", "next_deadline")


def open_dut(target: Target, settings: DutSettings, *, netns: Netns | None = None) -> Dut:
    """Start a device under test, and wait until it is ready. The kernel runs in `netns`, or in a new namespace.

    Raises DeviceError if it does not start, PrivilegeError if it needs a privilege that is missing.
    """
    with ExitStack() as resources:
        if target.kind == "object":
            dut = _open_object(target, settings)
        elif target.kind == "kernel":
            dut = _open_kernel(target, settings, netns, resources)
        elif "{ifname}" in target.text:
            dut = _open_on_device(target, settings, resources)
        else:
            dut = _open_on_descriptor(target, settings, resources)
        dut._resources.push(resources.pop_all())
        return dut


def _open_object(target: Target, settings: DutSettings) -> Dut:
    stack = target.load()(*(str(each.ip) for each in settings.addresses))
    if missing := [name for name in _METHODS if not callable(getattr(stack, name, None))]:
        remedy = "write receive(data, now), poll(now) and next_deadline()"
        raise DeviceError(target.text, f"has no method {missing[0]}()", remedy=remedy)
    port = ObjectPort(stack, target.text, _link_type(settings))
    dut = Dut("object", target.text, settings, port)
    dut._control = ObjectControl(stack, port)
    return dut


def _open_kernel(target: Target, settings: DutSettings, netns: Netns | None, resources: ExitStack) -> Dut:
    if netns is None:
        netns = resources.enter_context(Netns.create(ipv6=any(each.version == 6 for each in settings.addresses)))
    device = resources.enter_context(TunDevice.create(netns, settings.ifname, mode=settings.mode, exclusive=True))
    device.configure([str(each) for each in settings.addresses], mtu=settings.mtu)
    families = frozenset(address_family(each.version) for each in settings.addresses)
    sockets = SocketFactory(netns, settings.ifname, device.ifindex, families)
    inside = replace(sockets, netns=CurrentNamespace())  # one thread for all sockets
    services = resources.enter_context(netns.call(KernelServices, inside, settings.services))
    port = KernelPort(device, services, link_type=_link_type(settings))
    dut = Dut("kernel", target.text, settings, port)
    dut._control = KernelControl(sockets, target.text, dut._resources.enter_context)
    dut._fences = KernelFence(netns, device, port.write)
    return dut


def _open_on_descriptor(target: Target, settings: DutSettings, resources: ExitStack) -> Dut:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    resources.callback(ours.close)
    with theirs:
        process, control = _start(target, settings, resources, descriptor=theirs.fileno())
    port = PairPort(ours, process.name, process, _link_type(settings))
    dut = Dut(target.kind, process.name, settings, port)
    dut._process, dut._control = process, control
    wait_until_ready(dut, process, settings)
    return dut


def make_link(settings: DutSettings, resources: ExitStack) -> tuple[Netns, int, PacketSocketPort]:
    """Make a TUN or TAP for a program, and the port to it: return the namespace, the device's index and the port."""
    # Enable IPv6: the program may give the device an IPv6 address.
    netns = resources.enter_context(Netns.create(ipv6=True))
    with TunDevice.create(netns, settings.ifname, mode=settings.mode, exclusive=True) as device:
        device.configure(mtu=settings.mtu)
    silence(netns, settings.ifname, MARK)
    port = PacketSocketPort(netns, settings.ifname, _link_type(settings))
    resources.callback(port.close)
    resources.callback(netns.kill_programs)
    return netns, device.ifindex, port


def _open_on_device(target: Target, settings: DutSettings, resources: ExitStack) -> Dut:
    netns, ifindex, port = make_link(settings, resources)
    process, control = _start(target, settings, resources, netns=netns)
    port.watch(process)
    dut = Dut("program", process.name, settings, port)
    dut._process, dut._control = process, control
    if settings.ready in (None, "device"):
        _wait_for_carrier(netns, ifindex, process, settings)
    wait_until_ready(dut, process, settings)
    return dut


def _start(
    target: Target, settings: DutSettings, resources: ExitStack, *, netns: Netns | None = None, descriptor: int = -1
) -> tuple[DeviceProcess, LineControl | None]:
    """Start the program of a device, with our end of its control channel."""
    ours, theirs = socket.socketpair()
    resources.callback(ours.close)
    with theirs:
        values = _values(settings) | {"control": theirs.fileno()} | ({"fd": descriptor} if descriptor >= 0 else {})
        if target.kind == "fd":
            arguments = [sys.executable, "-m", "tunlab.dut.callable_runner", target.reference]
            arguments += [f"{name}={value}" for name, value in values.items()]
            environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        else:
            arguments, environment = target.arguments(values), {}
        process = DeviceProcess.start(
            arguments,
            name=target.text if target.kind == "fd" else "",
            netns=netns,
            descriptors=[each for each in (descriptor, theirs.fileno()) if each >= 0],
            environment=environment,
        )
    resources.enter_context(process)
    has_control = target.kind == "fd" or "{control}" in target.text
    return process, LineControl(ours, process) if has_control else None


def _wait_for_carrier(netns: Netns, ifindex: int, process: DeviceProcess, settings: DutSettings) -> None:
    """Wait until a program has opened its device. Raises DeviceError if it does not."""
    with Rtnl(netns) as rtnl:
        deadline = time.monotonic() + settings.start_timeout
        while not wait_until_running(rtnl, ifindex, timeout=0.05):
            process.check()
            if time.monotonic() >= deadline:
                problem = f"did not open {settings.ifname} within {settings.start_timeout:g} s"
                raise process.error(problem, "open /dev/net/tun and set the name {ifname} with TUNSETIFF")


def wait_until_ready(dut: Dut, process: DeviceProcess, settings: DutSettings) -> None:
    """Wait for the line or packet that shows that a program is ready. Raises DeviceError if it does not come."""
    ready = settings.ready or ""
    if ready.startswith("line "):
        process.wait_for_line(ready[5:], settings.start_timeout)
    elif ready == "packet":
        if not dut.port.wait(dut.port.clock.monotonic_ns() + round(settings.start_timeout * 1e9)):
            problem = f"was not ready after {settings.start_timeout:g} s: the device has sent no packet"
            raise process.error(problem, "check `ready`, or raise `start_timeout`")
    elif ready not in ("", "device"):
        remedy = 'write "device", "packet" or "line PATTERN"'
        raise DeviceError(f"ready={ready!r}", "is not a condition", remedy=remedy)


def _link_type(settings: DutSettings) -> int | None:
    return LINKTYPE_ETHERNET if settings.mode == "tap" else None


def _values(settings: DutSettings) -> dict[str, object]:
    own = settings.addresses[0]
    return {
        "address": own.ip,
        "prefix_length": own.network.prefixlen,
        "ifname": settings.ifname,
        "mtu": settings.mtu,
        **{name: getattr(settings.services, name) for name in settings.services.__struct_fields__},
    }
