"""What each test is watched by: a record of every device of every namespace that the fixtures make for it.

Made with the namespaces, before anything is in them, and read by nobody unless the test fails.
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
    from tunlab.kernel.drops import DropWatch
    from tunlab.kernel.namespace_record import NamespaceRecord
    from tunlab.kernel.netns import Netns
    from tunlab.lab.live_lab import LiveLab
    from tunlab.report.evidence import Evidence, RecordedNetns
    from tunlab.topology.plan import LabPlan
    from tunlab.traffic import Tun

recorder_key = pytest.StashKey["TestRecorder"]()


class _Process:
    """What this process has one of: the kernel's reasons are asked by the thread that runs the tests.

    watches   those that are there: that of the test that runs, which is one as long as no test runs others inside
    """

    drops: DropWatch | None = None
    asked = False
    watches: ClassVar[WeakSet[TestRecorder]] = WeakSet()


class TestRecorder:
    """What watches one test.

    labs   those that it has made
    """

    def __init__(self, *, recorded: bool) -> None:
        self.labs: list[LiveLab] = []
        self._recorded = recorded
        self._homes: list[tuple[str, Netns, NamespaceRecord | None, bool]] = []  # name, namespace, record, is it an end
        self._tuns: dict[tuple[int, int], list[Tun]] = {}
        self._reasons: list[str] = []
        _Process.watches.add(self)
        if (drops := _drops()) is not None:
            drops.forget()

    # ---- while the test makes things -------------------------------------------------------------------------------

    def create(self, *, ipv6: bool, sysctls: Mapping[str, str | int]) -> Netns:
        """Make a namespace, and its record from the first. Raises as Netns.create."""
        from tunlab.kernel.namespace_record import NamespaceRecord
        from tunlab.kernel.netns import Netns
        from tunlab.kernel.throwaway import in_thread

        def create() -> tuple[Netns, NamespaceRecord | None]:
            netns = Netns.unshare(ipv6=ipv6, sysctls=sysctls)
            try:
                return netns, NamespaceRecord.open_here() if self._recorded else None
            except OSError:  # without CAP_NET_RAW; a Tun still knows its own traffic
                return netns, None

        netns, record = in_thread(create)
        self._homes.append(("kernel", netns, record, True))
        return netns

    def add_tun(self, tun: Tun) -> None:
        """A Tun whose other end is the test."""
        self._tuns.setdefault(tun.netns.identity, []).append(tun)

    def add_lab(self, plan: LabPlan, namespaces: Mapping[str, Netns]) -> None:
        """The namespaces of a lab, before anything is in them."""
        from tunlab.kernel.namespace_record import NamespaceRecord

        ends = {node.name for node in plan.nodes if not node.bridge and not node.implicit}
        for name, netns in namespaces.items():
            try:
                record = NamespaceRecord.open(netns) if self._recorded else None
            except OSError:
                record = None
            self._homes.append((name, netns, record, name in ends))

    def has_recorded_payload(self, octets: bytes) -> bool:
        """Whether a packet with exactly this payload has crossed one of the test's Tuns."""
        tuns = [tun for known in self._tuns.values() for tun in known]
        tuns += [tun for lab in self.labs for node in lab for tun in node.attached]
        entries = chain.from_iterable(tun.record for tun in tuns)
        return any(each.packet is not None and each.packet.payload == octets for each in entries)

    # ---- when it is over -------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Take hold of what the fixtures are about to let go of."""
        for lab in self.labs:
            for node in lab:
                for tun in node.attached:
                    known = self._tuns.setdefault(tun.netns.identity, [])
                    if tun not in known:
                        known.append(tun)
        self.labs.clear()

    def homes(self) -> list[RecordedNetns]:
        """The namespaces, each with a name of its own, those of plain fixtures by number where there are several."""
        from tunlab.report.evidence import RecordedNetns

        self.settle()
        names: dict[str, int] = {}
        homes = []
        for name, netns, record, is_endpoint in self._homes:
            names[name] = names.get(name, 0) + 1
            own = name if names[name] == 1 else f"{name}{names[name]}"
            homes.append(RecordedNetns(own, netns, record, self._tuns.get(netns.identity, []), is_endpoint))
        return homes

    def gather(self) -> Evidence:
        """Read the records out: once."""
        from tunlab.report.evidence import gather_evidence

        return gather_evidence(self.homes())

    def reasons(self) -> list[str]:
        """The kernel's reasons for the packets that it dropped in this test, as far as it told."""
        if (drops := _drops()) is not None:
            self._reasons += drops.take()
        return self._reasons

    def descriptors(self) -> set[int]:
        """Those that this keeps open until the test has been reported, and the process for all tests."""
        found = session_descriptors()
        return found | {record.fileno() for _, _, record, _ in self._homes if record is not None}

    def close(self) -> None:
        """Let go of the records. May be repeated."""
        for _, _, record, _ in self._homes:
            if record is not None:
                record.close()
        self._homes.clear()
        self._tuns.clear()


def recorder_for(item: pytest.Item) -> TestRecorder:
    """What watches this test, from now on if it was not watched yet."""
    watch = item.stash.get(recorder_key, None)
    if watch is None:
        watch = item.stash[recorder_key] = TestRecorder(recorded=record_mode(item.config) != "never")
        leaks.begin(item, watch.descriptors)
    return watch


def is_recorded_payload(octets: bytes) -> bool:
    """Whether it is the payload of a packet that has crossed a Tun in the test that runs."""
    return any(watch.has_recorded_payload(octets) for watch in _Process.watches)


def session_descriptors() -> set[int]:
    """What this process keeps open for all tests."""
    from tunlab.kernel import guardian

    return guardian.descriptors() | ({_Process.drops.descriptor} if _Process.drops is not None else set())


def _drops() -> DropWatch | None:
    if not _Process.asked:
        _Process.asked = True
        from tunlab.kernel.drops import DropWatch

        try:
            _Process.drops = DropWatch()
        except OSError:  # the machine does not tell, or not us: the counters do
            _Process.drops = None
    return _Process.drops
