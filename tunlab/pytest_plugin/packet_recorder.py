"""Record every device of every namespace that the fixtures make for a test.

Recording starts before anything is in a namespace. The packets are only read if the test fails.
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
    from tunlab.traffic import Tun

recorder_key = pytest.StashKey["TestRecorder"]()


class _Session:
    """State of the whole run.

    Attributes:
        drop_monitor: The subscription to the kernel's drop reasons; None if the kernel refuses it.
        subscribed: True after the first attempt to subscribe.
        recorders: Recorders of the running tests; more than one if a test runs pytest in this process.
    """

    drop_monitor: DropMonitor | None = None
    subscribed = False
    recorders: ClassVar[WeakSet[TestRecorder]] = WeakSet()


class TestRecorder:
    """The recorder of one test: its namespaces, TUN devices and labs.

    Attributes:
        labs: Labs that the test has started.
    """

    __test__ = False  # the name starts with "Test", and pytest would collect it

    def __init__(self, *, recorded: bool) -> None:
        self.labs: list[Lab] = []
        self._recorded = recorded
        self._namespaces: list[tuple[str, Netns, NetnsCapture | None, bool]] = []  # name, netns, record, is_endpoint
        self._tuns: dict[tuple[int, int], list[Tun]] = {}  # by the namespace's identity
        self._drop_reasons: list[str] = []
        _Session.recorders.add(self)
        if (drops := _drop_watch()) is not None:
            drops.clear()

    # ---- during the test -------------------------------------------------------------------------------------------

    def create(self, *, ipv6: bool, sysctls: Mapping[str, str | int]) -> Netns:
        """Make a namespace and start recording it. Raises the same errors as `Netns.create`."""
        from tunlab.kernel.device.netns_capture import NetnsCapture
        from tunlab.kernel.namespace.netns import Netns
        from tunlab.kernel.namespace.netns_thread import run_in_thread

        def create() -> tuple[Netns, NetnsCapture | None]:
            netns = Netns.unshare(ipv6=ipv6, sysctls=sysctls)
            try:
                return netns, NetnsCapture.open_here() if self._recorded else None
            except OSError:  # no CAP_NET_RAW; a Tun still records its own packets
                return netns, None

        netns, record = run_in_thread(create)
        self._namespaces.append(("kernel", netns, record, True))
        return netns

    def add_tun(self, tun: Tun) -> None:
        """Include a Tun that the test made."""
        self._tuns.setdefault(tun.netns.identity, []).append(tun)

    def add_lab(self, plan: LabPlan, namespaces: Mapping[str, Netns]) -> None:
        """Start recording a lab's namespaces while they are still empty."""
        from tunlab.kernel.device.netns_capture import NetnsCapture

        ends = {node.name for node in plan.nodes if not node.bridge and not node.implicit}
        for name, netns in namespaces.items():
            try:
                record = NetnsCapture.open(netns) if self._recorded else None
            except OSError:
                record = None
            self._namespaces.append((name, netns, record, name in ends))

    def has_recorded_payload(self, payload: bytes) -> bool:
        """Return True if a packet with exactly this payload crossed one of the test's Tuns."""
        tuns = [tun for same_netns in self._tuns.values() for tun in same_netns]
        tuns += [tun for lab in self.labs for node in lab for tun in node.attached]
        entries = chain.from_iterable(tun.record for tun in tuns)
        return any(entry.packet is not None and entry.packet.payload == payload for entry in entries)

    # ---- after the test --------------------------------------------------------------------------------------------

    def collect_lab_tuns(self) -> None:
        """Keep references to the Tuns of the labs' nodes, because the fixtures are about to drop them."""
        for lab in self.labs:
            for node in lab:
                for tun in node.attached:
                    same_netns = self._tuns.setdefault(tun.netns.identity, [])
                    if tun not in same_netns:
                        same_netns.append(tun)
        self.labs.clear()

    def namespaces(self) -> list[RecordedNetns]:
        """Return the recorded namespaces. Equal names get a number: kernel, kernel2."""
        from tunlab.report.evidence import RecordedNetns

        self.collect_lab_tuns()
        count: dict[str, int] = {}
        namespaces = []
        for name, netns, record, is_endpoint in self._namespaces:
            count[name] = count.get(name, 0) + 1
            unique = name if count[name] == 1 else f"{name}{count[name]}"
            namespaces.append(RecordedNetns(unique, netns, record, self._tuns.get(netns.identity, []), is_endpoint))
        return namespaces

    def gather(self) -> Evidence:
        """Return everything recorded so far."""
        from tunlab.report.evidence import gather_evidence

        return gather_evidence(self.namespaces())

    def drop_reasons(self) -> list[str]:
        """Return the kernel's reasons for the packets that it dropped during this test."""
        if (drops := _drop_watch()) is not None:
            self._drop_reasons += drops.read()
        return self._drop_reasons

    def descriptors(self) -> set[int]:
        """Return the descriptors that tunlab keeps open until the test is reported."""
        return session_descriptors() | {record.fileno() for _, _, record, _ in self._namespaces if record is not None}

    def close(self) -> None:
        """Stop recording. May be called more than once."""
        for _, _, record, _ in self._namespaces:
            if record is not None:
                record.close()
        self._namespaces.clear()
        self._tuns.clear()


def recorder_for(item: pytest.Item) -> TestRecorder:
    """Return the test's recorder; the first call makes it and starts the leak check."""
    recorder = item.stash.get(recorder_key, None)
    if recorder is None:
        recorder = item.stash[recorder_key] = TestRecorder(recorded=record_mode(item.config) != "never")
        leaks.start_check(item, recorder.descriptors)
    return recorder


def is_recorded_payload(payload: bytes) -> bool:
    """Return True if a packet with this payload crossed a Tun during the running test."""
    return any(recorder.has_recorded_payload(payload) for recorder in _Session.recorders)


def session_descriptors() -> set[int]:
    """Return the descriptors that tunlab keeps open for the whole run."""
    from tunlab.kernel.namespace import guardian

    return guardian.descriptors() | ({_Session.drop_monitor.fd} if _Session.drop_monitor is not None else set())


def _drop_watch() -> DropMonitor | None:
    if not _Session.subscribed:
        _Session.subscribed = True
        from tunlab.kernel.network.drop_monitor import DropMonitor

        try:
            _Session.drop_monitor = DropMonitor()
        except OSError:  # not supported or not permitted; the report falls back to the counters
            _Session.drop_monitor = None
    return _Session.drop_monitor
