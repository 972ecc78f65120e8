"""tunlab: test network code against a real kernel, over a TUN device in a network namespace of its own.

    with tunlab.Tun.create("10.1.2.1/24") as tun:
        tun.inject(IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(1, 1), b"payload")
        print(tun.expect(ICMP.where(type=0)))

The packets are in `tunlab.packet`; under pytest the fixtures `tun` and `netns` are there without an import.

Every pytest run on a machine that has tunlab imports this file: names are fetched when they are asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunlab.errors import (
        EngineError,
        ExpectationError,
        KernelError,
        LabError,
        MalformedError,
        PacketError,
        PrivilegeError,
        TopologyError,
        TruncatedError,
        TruncatedRecordingError,
        TunlabError,
    )
    from tunlab.kernel.device.packet_socket import PacketSocket
    from tunlab.kernel.device.tun import TunDevice
    from tunlab.kernel.namespace.netns import Netns
    from tunlab.kernel.network.counters import read_counters
    from tunlab.kernel.network.link_events import LinkEvent, LinkEvents
    from tunlab.kernel.network.rtnl import Rtnl
    from tunlab.lab import Lab, Node, PersistentLab, Removed, Status
    from tunlab.lab.build.containers import Containers, ContainersRecord
    from tunlab.lab.capture import Capture
    from tunlab.lab.persistent.state import LabState
    from tunlab.lab.programs import Program
    from tunlab.recorder import PcapngWriter, read_pcapng
    from tunlab.topology.plan import (
        CommandPlan,
        Impairment,
        InterfacePlan,
        LabPlan,
        LinkPlan,
        NodePlan,
        RoutePlan,
    )
    from tunlab.topology.spec import EndSpec, LabSpec, LinkSpec, NodeSpec
    from tunlab.traffic import EchoReply, Ping, TraceEntry, Tun

__version__ = "0.1.0"

__all__ = [
    "Capture",
    "CommandPlan",
    "Containers",
    "ContainersRecord",
    "EchoReply",
    "EndSpec",
    "EngineError",
    "ExpectationError",
    "Impairment",
    "InterfacePlan",
    "KernelError",
    "Lab",
    "LabError",
    "LabPlan",
    "LabSpec",
    "LabState",
    "LinkEvent",
    "LinkEvents",
    "LinkPlan",
    "LinkSpec",
    "MalformedError",
    "Netns",
    "Node",
    "NodePlan",
    "NodeSpec",
    "PacketError",
    "PacketSocket",
    "PcapngWriter",
    "PersistentLab",
    "Ping",
    "PrivilegeError",
    "Program",
    "Removed",
    "RoutePlan",
    "Rtnl",
    "Status",
    "TopologyError",
    "TraceEntry",
    "TruncatedError",
    "TruncatedRecordingError",
    "Tun",
    "TunDevice",
    "TunlabError",
    "read_counters",
    "read_pcapng",
]

_HOMES = {
    "tunlab.errors": (
        "TruncatedRecordingError", "EngineError", "ExpectationError", "KernelError", "LabError", "MalformedError",
        "PacketError", "PrivilegeError", "TopologyError", "TruncatedError", "TunlabError",
    ),
    "tunlab.kernel.network.counters": ("read_counters",),
    "tunlab.kernel.namespace.netns": ("Netns",),
    "tunlab.kernel.device.packet_socket": ("PacketSocket",),
    "tunlab.kernel.network.rtnl": ("Rtnl",),
    "tunlab.kernel.device.tun": ("TunDevice",),
    "tunlab.kernel.network.link_events": ("LinkEvent", "LinkEvents"),
    "tunlab.lab": ("Lab", "Node", "PersistentLab", "Removed", "Status"),
    "tunlab.lab.build.containers": ("Containers", "ContainersRecord"),
    "tunlab.lab.capture": ("Capture",),
    "tunlab.lab.persistent.state": ("LabState",),
    "tunlab.lab.programs": ("Program",),
    "tunlab.topology.plan": (
        "CommandPlan", "Impairment", "InterfacePlan", "LabPlan", "LinkPlan", "NodePlan", "RoutePlan",
    ),
    "tunlab.topology.spec": ("EndSpec", "LabSpec", "LinkSpec", "NodeSpec"),
    "tunlab.recorder": ("PcapngWriter", "read_pcapng"),
    "tunlab.traffic": ("TraceEntry", "EchoReply", "Ping", "Tun"),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'tunlab' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
