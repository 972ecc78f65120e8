"""What the kernel counts while a block runs, held against what it should count.

Source: tunlab.kernel.network.counters.
Two readings and the difference; a packet that is injected is counted when `inject`
returns.
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
    """A block within which the kernel counts just so; after it, `moved` is all that moved, by how much."""

    def __init__(self, netns: Netns, wanted: Mapping[str, int]) -> None:
        """The names are those of `counts`. Raises KernelError (ENOENT) for one that is none."""
        __tracebackhide__ = True
        self.moved: dict[str, int] = {}
        self._netns, self._before = netns, read_counters(netns)
        self._wanted: dict[str, int] = {}
        for name, value in wanted.items():  # no comprehension, whose frame would be shown in a traceback
            self._wanted[_name(name, self._before)] = value

    def __enter__(self) -> dict[str, int]:
        self._before = read_counters(self._netns)
        return self.moved

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        __tracebackhide__ = True
        if error is not None:
            return
        self.moved |= counter_changes(self._before, read_counters(self._netns))
        if any(self.moved.get(name, 0) != value for name, value in self._wanted.items()):
            raise CountError(wanted=self._wanted, moved=self.moved)


def expect_counters(netns: Netns, wanted: Mapping[str, int]) -> CounterExpectation:
    """Within the block, each counter named moves by so many: {"IpExt__InCsumErrors": 1}; a 0 says that it does not.

    The underscores stand for the dot in "IpExt.InCsumErrors". `with` gives a mapping that has, after the block, all
    that moved. Raises CountError, an AssertionError, where one moved otherwise; KernelError (ENOENT) for a name that
    is none.
    """
    __tracebackhide__ = True
    return CounterExpectation(netns, wanted)


def _name(name: str, known: Mapping[str, int]) -> str:
    __tracebackhide__ = True
    dotted = name.replace("__", ".", 1)
    if dotted in known:
        return dotted
    lowered = {each.lower(): each for each in known}
    # The field alone is what most people remember.
    same_field = [each for each in known if each.partition(".")[2].lower() == dotted.rpartition(".")[2].lower()]
    close = same_field or [lowered[each] for each in get_close_matches(dotted.lower(), lowered, n=3)]
    meant = " or ".join(each.replace(".", "__") for each in close)
    remedy = (
        f"did you mean {meant}?" if close else "tun.counters has them all, as Ip.InHdrErrors: write Ip__InHdrErrors"
    )
    raise KernelError(errno.ENOENT, f"count {name}", reason="this kernel has no counter of that name", remedy=remedy)
