"""Expected changes of kernel counters during a `with` block.

The kernel counts an injected packet before `Tun.inject` returns, so the block does not have to wait.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from difflib import get_close_matches
from types import TracebackType

from tunlab.errors import CountError, KernelError
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.counters import counter_changes, read_counters


class CounterExpectation:
    """A context manager that asserts by how much kernel counters change during its block.

    Args:
        netns: The namespace whose counters are read.
        wanted: Expected change by counter name: {"IpExt__InCsumErrors": 1} for `IpExt.InCsumErrors`. 0 means that
            the counter must not change. Counters that are not named may change.

    `with … as changes` gives a dict: after the block it maps each counter that changed to its change.

    Raises:
        KernelError: The kernel has no counter of that name (ENOENT).
        CountError: A counter changed by another amount; raised at the end of the block.
    """

    def __init__(self, netns: Netns, wanted: Mapping[str, int]) -> None:
        __tracebackhide__ = True
        self.changes: dict[str, int] = {}
        self._netns, self._before = netns, read_counters(netns)
        self._wanted: dict[str, int] = {}
        for name, value in wanted.items():  # A comprehension would add a frame to pytest's traceback.
            self._wanted[_counter_name(name, self._before)] = value

    def __enter__(self) -> dict[str, int]:
        self._before = read_counters(self._netns)
        return self.changes

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        __tracebackhide__ = True
        if error is not None:
            return
        self.changes |= counter_changes(self._before, read_counters(self._netns))
        if any(self.changes.get(name, 0) != value for name, value in self._wanted.items()):
            raise CountError(wanted=self._wanted, changes=self.changes)


def _counter_name(name: str, known: Mapping[str, int]) -> str:
    __tracebackhide__ = True
    dotted = name.replace("__", ".", 1)
    if dotted in known:
        return dotted
    lowered = {each.lower(): each for each in known}
    same_field = [each for each in known if each.partition(".")[2].lower() == dotted.rpartition(".")[2].lower()]
    close = same_field or [lowered[each] for each in get_close_matches(dotted.lower(), lowered, n=3)]
    suggestion = " or ".join(each.replace(".", "__") for each in close)
    remedy = (
        f"did you mean {suggestion}?"
        if close
        else "choose one of tun.counters, and write Ip__InHdrErrors for Ip.InHdrErrors"
    )
    raise KernelError(
        errno.ENOENT, f"expect counter {name}", reason="this kernel has no counter of that name", remedy=remedy
    )
