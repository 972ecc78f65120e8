"""The packet recorder: it captures all packets in the network namespaces that the fixtures make for a test.

The capture starts when a namespace is still empty. The captured packets are read only if a report needs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakSet

import pytest

from tunlab.pytest_plugin import leaks
from tunlab.pytest_plugin.recording_files import record_mode

if TYPE_CHECKING:
    from tunlab.kernel.device.netns_capture import NetnsCapture
    from tunlab.kernel.namespace.netns import Netns
    from tunlab.kernel.network.drop_monitor import DropMonitor
    from tunlab.lab.lab import Lab
    from tunlab.report.evidence import Evidence, RecordedNetns
    from tunlab.topology.plan import LabPlan
    from tunlab.traffic.endpoint import Endpoint

recorder_key = pytest.StashKey["TestRecorder"]()


class _Session:
    """The state of the whole pytest run.

    Attributes:
        drop_monitor: The subscription to the kernel's drop reasons; None if the kernel refuses it.
        subscribed: True after the first attempt to subscribe.
        recorders: Recorders of the running tests. A test that itself runs pytest in this process adds another.
    """

    drop_monitor: DropMonitor | None = None
    subscribed = False
    recorders: ClassVar[WeakSet[TestRecorder]] = WeakSet()


class TestRecorder:
    """A recorder of the packets in one test's namespaces, TUN devices and labs.

    Attributes:
        labs: Labs that the test has started.
    """

    __test__ = False  # pytest would collect this class as tests, because its name starts with "Test".

    def __init__(self, *, recorded: bool) -> None:
        self.labs: list[Lab] = []
        self._recorded = recorded
        # Each tuple is (name, namespace, capture, is_endpoint), as in RecordedNetns.
        self._namespaces: list[tuple[str, Netns, NetnsCapture | None, bool]] = []
        self._tuns: dict[tuple[int, int], list[Endpoint]] = {}  # by (device, inode) of the namespace
        self._devices: list[Endpoint] = []  # devices under test that have no recorded namespace
        self._drop_reasons: list[str] = []
        _Session.recorders.add(self)
        if (drops := _drop_watch()) is not None:
            drops.clear()

    def create(self, *, ipv6: bool, sysctls: Mapping[str, str | int]) -> Netns:
        """Make a namespace and start to capture its packets. Raises the same errors as `Netns.create`."""
        from tunlab.kernel.device.netns_capture import NetnsCapture
        from tunlab.kernel.namespace.netns import Netns
        from tunlab.kernel.namespace.netns_thread import run_in_thread

        def create() -> tuple[Netns, NetnsCapture | None]:
            netns = Netns.unshare(ipv6=ipv6, sysctls=sysctls)
            try:
                return netns, NetnsCapture.open_here() if self._recorded else None
            except OSError:  # Without CAP_NET_RAW there is no capture, but a Tun still records its own packets.
                return netns, None

        netns, record = run_in_thread(create)
        self._namespaces.append(("kernel", netns, record, True))
        return netns

    def add_endpoint(self, endpoint: Endpoint) -> None:
        """Add a Tun or a device under test, so that reports show how the test used each packet."""
        from tunlab.traffic.ports.tun_port import TunPort

        netns = endpoint.port.netns
        capture = next((record for _, recorded, record, _ in self._namespaces if recorded.identity == netns), None)
        if capture is not None and isinstance(endpoint.port, TunPort):
            endpoint.port.watch(capture)
        if netns is not None and any(recorded.identity == netns for _, recorded, _, _ in self._namespaces):
            self._tuns.setdefault(netns, []).append(endpoint)
        else:
            self._devices.append(endpoint)

    def add_lab(self, plan: LabPlan, namespaces: Mapping[str, Netns]) -> None:
        """Start to capture the packets in a lab's namespaces, before they have any devices."""
        from tunlab.kernel.device.netns_capture import NetnsCapture

        ends = {node.name for node in plan.nodes if not node.bridge and not node.implicit}
        for name, netns in namespaces.items():
            try:
                record = NetnsCapture.open(netns) if self._recorded else None
            except OSError:
                record = None
            self._namespaces.append((name, netns, record, name in ends))

    def has_recorded_payload(self, payload: bytes) -> bool:
        """Return True if a packet with exactly this payload crossed one of the test's TUN devices."""
        tuns = [*self._devices, *(tun for same_netns in self._tuns.values() for tun in same_netns)]
        tuns += [tun for lab in self.labs for node in lab for tun in node.attached]
        entries = chain.from_iterable(tun.record for tun in tuns)
        return any(entry.packet is not None and entry.packet.payload == payload for entry in entries)

    def collect_lab_tuns(self) -> None:
        """Keep references to the Tuns on the labs' nodes, because the fixtures' teardown drops the labs."""
        for lab in self.labs:
            for node in lab:
                for tun in node.attached:
                    same_netns = self._tuns.setdefault(tun.netns.identity, [])
                    if tun not in same_netns:
                        same_netns.append(tun)
        self.labs.clear()

    def namespaces(self) -> list[RecordedNetns]:
        """Return the test's namespaces with their captures. Equal names get a number: kernel, kernel2."""
        from tunlab.report.evidence import RecordedNetns

        self.collect_lab_tuns()
        count: dict[str, int] = {}
        namespaces = []
        found = [
            RecordedNetns(name, netns, record, self._tuns.get(netns.identity, []), is_endpoint)
            for name, netns, record, is_endpoint in self._namespaces
        ]
        for each in [*found, *(RecordedNetns(device.node, None, None, [device]) for device in self._devices)]:
            count[each.name] = count.get(each.name, 0) + 1
            if count[each.name] > 1:
                each.name += str(count[each.name])
            namespaces.append(each)
        return namespaces

    def gather(self) -> Evidence:
        """Return all packets of the test so far."""
        from tunlab.report.evidence import gather_evidence

        return gather_evidence(self.namespaces())

    def drop_reasons(self) -> list[str]:
        """Return the kernel's reasons for the packets that it dropped during this test."""
        if (drops := _drop_watch()) is not None:
            self._drop_reasons += drops.read()
        return self._drop_reasons

    def descriptors(self) -> set[int]:
        """Return the file descriptors that tunlab keeps open until pytest has reported the test."""
        return session_descriptors() | {record.fileno() for _, _, record, _ in self._namespaces if record is not None}

    def close(self) -> None:
        """Stop all captures. A second call does nothing."""
        for _, _, record, _ in self._namespaces:
            if record is not None:
                record.close()
        self._namespaces.clear()
        self._tuns.clear()
        self._devices.clear()


def recorder_for(item: pytest.Item) -> TestRecorder:
    """Return the test's packet recorder. The first call makes it and starts the leak check."""
    recorder = item.stash.get(recorder_key, None)
    if recorder is None:
        recorder = item.stash[recorder_key] = TestRecorder(recorded=record_mode(item.config) != "never")
        leaks.start_check(item, recorder.descriptors)
    return recorder


def is_recorded_payload(payload: bytes) -> bool:
    """Return True if a packet with exactly this payload crossed a TUN device during the running test."""
    return any(recorder.has_recorded_payload(payload) for recorder in _Session.recorders)


def session_descriptors() -> set[int]:
    """Return the file descriptors that tunlab keeps open for the whole pytest run."""
    from tunlab.kernel.namespace import guardian

    return guardian.descriptors() | ({_Session.drop_monitor.fd} if _Session.drop_monitor is not None else set())


def _drop_watch() -> DropMonitor | None:
    if not _Session.subscribed:
        _Session.subscribed = True
        from tunlab.kernel.network.drop_monitor import DropMonitor

        try:
            _Session.drop_monitor = DropMonitor()
        except OSError:  # Without a monitor, reports show only kernel counters.
            _Session.drop_monitor = None
    return _Session.drop_monitor
