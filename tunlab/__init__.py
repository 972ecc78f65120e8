"""tunlab: tests of network code against a real kernel, over a TUN device in a separate network namespace.

    with tunlab.Tun.create("10.1.2.1/24") as tun:
        tun.inject(IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(1, 1), b"payload")
        print(tun.expect(ICMP.where(type=0)))

The headers are in `tunlab.packet`. Tests get the fixtures `tun` and `netns` without an import.

For contributors: every pytest run on a user's machine imports this file, so it imports other modules only on access.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunlab.dut import Control, Dut, DutConnection, DutListener, DutSettings, Services, Target, open_dut
    from tunlab.errors import (
        CountError,
        DeviceError,
        EngineError,
        ExpectationError,
        KernelError,
        LabError,
        MalformedError,
        PacketError,
        PrivilegeError,
        Problem,
        TopologyError,
        TruncatedError,
        TruncatedRecordingError,
        TunlabError,
        UnmetExpectation,
    )
    from tunlab.kernel.device.packet_socket import PacketSocket, ReceivedPacket
    from tunlab.kernel.device.tun import TunDevice
    from tunlab.kernel.namespace.machine import Machine
    from tunlab.kernel.namespace.mount_overlay import MountOverlay
    from tunlab.kernel.namespace.netns import Netns
    from tunlab.kernel.network.counters import read_counters
    from tunlab.kernel.network.link_events import LinkEvent, LinkEvents
    from tunlab.kernel.network.models import Address, Link, Neighbour, Route, Rule
    from tunlab.kernel.network.rtnl import Rtnl
    from tunlab.lab import EndedProgram, Lab, Node, PersistentLab, Removed, Status
    from tunlab.lab.build.containers import Containers, ContainersRecord, EngineRecord
    from tunlab.lab.capture import Capture
    from tunlab.lab.persistent.state import LabState
    from tunlab.lab.programs import Program
    from tunlab.recorder import PcapngWriter, RecordedInterface, RecordedPacket, read_pcapng
    from tunlab.topology.plan import (
        CommandPlan,
        DirectoryPlan,
        Impairment,
        InterfacePlan,
        LabPlan,
        LinkPlan,
        NodePlan,
        RoutePlan,
    )
    from tunlab.topology.spec import EndSpec, LabSpec, LinkSpec, NodeSpec
    from tunlab.traffic import EchoReply, PacketPort, Ping, Tap, TCPPeer, TraceEntry, Tun, UDPPeer
    from tunlab.traffic.counter_expectation import CounterExpectation
    from tunlab.traffic.deadlines import Clock, VirtualClock
    from tunlab.traffic.endpoint import Endpoint
    from tunlab.traffic.ports.object_port import Stack
    from tunlab.traffic.ports.port import Port, TimedBytes
    from tunlab.traffic.trace import FieldDifference

__version__ = "0.1.0"

__all__ = [
    "Address",
    "Capture",
    "Clock",
    "CommandPlan",
    "Containers",
    "ContainersRecord",
    "Control",
    "CountError",
    "CounterExpectation",
    "DeviceError",
    "DirectoryPlan",
    "Dut",
    "DutConnection",
    "DutListener",
    "DutSettings",
    "EchoReply",
    "EndSpec",
    "EndedProgram",
    "Endpoint",
    "EngineError",
    "EngineRecord",
    "ExpectationError",
    "FieldDifference",
    "Impairment",
    "InterfacePlan",
    "KernelError",
    "Lab",
    "LabError",
    "LabPlan",
    "LabSpec",
    "LabState",
    "Link",
    "LinkEvent",
    "LinkEvents",
    "LinkPlan",
    "LinkSpec",
    "Machine",
    "MalformedError",
    "MountOverlay",
    "Neighbour",
    "Netns",
    "Node",
    "NodePlan",
    "NodeSpec",
    "PacketError",
    "PacketPort",
    "PacketSocket",
    "PcapngWriter",
    "PersistentLab",
    "Ping",
    "Port",
    "PrivilegeError",
    "Problem",
    "Program",
    "ReceivedPacket",
    "RecordedInterface",
    "RecordedPacket",
    "Removed",
    "Route",
    "RoutePlan",
    "Rtnl",
    "Rule",
    "Services",
    "Stack",
    "Status",
    "TCPPeer",
    "Tap",
    "Target",
    "TimedBytes",
    "TopologyError",
    "TraceEntry",
    "TruncatedError",
    "TruncatedRecordingError",
    "Tun",
    "TunDevice",
    "TunlabError",
    "UDPPeer",
    "UnmetExpectation",
    "VirtualClock",
    "open_dut",
    "read_counters",
    "read_pcapng",
]

_NAMES_OF = {
    "tunlab.dut": (
        "Control",
        "Dut",
        "DutConnection",
        "DutListener",
        "DutSettings",
        "Services",
        "Target",
        "open_dut",
    ),
    "tunlab.errors": (
        "CountError",
        "DeviceError",
        "EngineError",
        "ExpectationError",
        "KernelError",
        "LabError",
        "MalformedError",
        "PacketError",
        "PrivilegeError",
        "Problem",
        "TopologyError",
        "TruncatedError",
        "TruncatedRecordingError",
        "TunlabError",
        "UnmetExpectation",
    ),
    "tunlab.kernel.device.packet_socket": (
        "PacketSocket",
        "ReceivedPacket",
    ),
    "tunlab.kernel.device.tun": ("TunDevice",),
    "tunlab.kernel.namespace.machine": ("Machine",),
    "tunlab.kernel.namespace.mount_overlay": ("MountOverlay",),
    "tunlab.kernel.namespace.netns": ("Netns",),
    "tunlab.kernel.network.counters": ("read_counters",),
    "tunlab.kernel.network.link_events": (
        "LinkEvent",
        "LinkEvents",
    ),
    "tunlab.kernel.network.models": (
        "Address",
        "Link",
        "Neighbour",
        "Route",
        "Rule",
    ),
    "tunlab.kernel.network.rtnl": ("Rtnl",),
    "tunlab.lab": (
        "EndedProgram",
        "Lab",
        "Node",
        "PersistentLab",
        "Removed",
        "Status",
    ),
    "tunlab.lab.build.containers": (
        "Containers",
        "ContainersRecord",
        "EngineRecord",
    ),
    "tunlab.lab.capture": ("Capture",),
    "tunlab.lab.persistent.state": ("LabState",),
    "tunlab.lab.programs": ("Program",),
    "tunlab.recorder": (
        "PcapngWriter",
        "RecordedInterface",
        "RecordedPacket",
        "read_pcapng",
    ),
    "tunlab.topology.plan": (
        "CommandPlan",
        "DirectoryPlan",
        "Impairment",
        "InterfacePlan",
        "LabPlan",
        "LinkPlan",
        "NodePlan",
        "RoutePlan",
    ),
    "tunlab.topology.spec": (
        "EndSpec",
        "LabSpec",
        "LinkSpec",
        "NodeSpec",
    ),
    "tunlab.traffic": (
        "EchoReply",
        "PacketPort",
        "Ping",
        "TCPPeer",
        "Tap",
        "TraceEntry",
        "Tun",
        "UDPPeer",
    ),
    "tunlab.traffic.counter_expectation": ("CounterExpectation",),
    "tunlab.traffic.deadlines": (
        "Clock",
        "VirtualClock",
    ),
    "tunlab.traffic.endpoint": ("Endpoint",),
    "tunlab.traffic.ports.object_port": ("Stack",),
    "tunlab.traffic.ports.port": (
        "Port",
        "TimedBytes",
    ),
    "tunlab.traffic.trace": ("FieldDifference",),
}
_MODULE_OF = {name: module for module, names in _NAMES_OF.items() for name in names}


def __getattr__(name: str) -> object:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'tunlab' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(module), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
