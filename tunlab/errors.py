"""Every error tunlab raises: one tree, the data in attributes, the sentence derived from them.

    TunlabError                          exit code 70  EX_SOFTWARE
    ├─ PacketError(ValueError)                     65  EX_DATAERR
    │   ├─ TruncatedError                              octets are missing
    │   │   └─ TruncatedRecordingError                       a recording ends early
    │   └─ MalformedError                              octets, or a field, that no packet can have
    ├─ TopologyError(ValueError)                   78  EX_CONFIG
    ├─ KernelError(OSError)                        71  EX_OSERR
    │   └─ PrivilegeError                          77  EX_NOPERM
    ├─ LabError(RuntimeError)                      73  EX_CANTCREAT
    ├─ ExpectationError(AssertionError)             1
    │   └─ CountError                                  the kernel's counters moved otherwise
    └─ EngineError(RuntimeError)                   69  EX_UNAVAILABLE

The numbers are those of <sysexits.h>: they stay clear of pytest's 0 to 6 and Docker's 125 to 127.
The second parent lets code that knows nothing of tunlab go on working (`except OSError`, `except ValueError`).

Rule for editors: an error's constructor takes data, never a finished sentence, except where no
data stand behind it; `str(error)` says what happened and then what to do about it.
"""

from __future__ import annotations

import errno as errno_names
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple


class TunlabError(Exception):
    """The root: `except TunlabError` catches all that tunlab raises on purpose."""

    exit_code: ClassVar[int] = 70

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by attributes: constructors take keywords, and pytest-xdist carries errors between processes."""
        return _revive, (type(self), self.args, self.__dict__)


def _revive(kind: type[TunlabError], args: tuple[object, ...], state: dict[str, object]) -> TunlabError:
    error = kind.__new__(kind, *args)
    if isinstance(error, OSError):  # which leaves errno to __init__ where a class has its own
        OSError.__init__(error, *args)
    error.__dict__.update(state)
    return error


class PacketError(TunlabError, ValueError):
    """Octets that are no packet, or a header that cannot be built.

    file   the recording that it is about, where whoever reads that has said so
    """

    exit_code = 65
    file: str = ""

    def __str__(self) -> str:
        return f"{self.file}: {self.message}" if self.file else self.message

    @property
    def message(self) -> str:
        """What happened, whatever the file."""
        return super().__str__()


class TruncatedError(PacketError):
    """There are too few octets for the header.

    needed, present   octets, counted from the start of `layer`
    offset            where `layer` starts, in octets from the start of what was parsed
    length_from       what said so: "octets" (the input's end) or the length field, as "IPv4.ihl"
    """

    def __init__(self, *, layer: str, field: str, offset: int, needed: int, present: int, length_from: str) -> None:
        self.layer, self.field, self.offset = layer, field, offset
        self.needed, self.present, self.length_from = needed, present, length_from
        super().__init__(layer, field, offset, needed, present, length_from)

    @property
    def message(self) -> str:
        """What happened, whatever the file."""
        return (
            f"{self.layer} needs {self.needed} octets and has {self.present} "
            f"(by {self.length_from}, at offset {self.offset}): give the whole datagram, from its first octet"
        )


class TruncatedRecordingError(TruncatedError):
    """A recording ends inside a block, or is empty: the records before that place are whole, and were given.

    layer, field   the format, as "pcapng", and which part of it is cut
    """

    @property
    def message(self) -> str:
        """What happened, whatever the file."""
        if not self.offset and not self.present:
            return "the recording is empty: give a pcapng or pcap file, with its header at least"
        return (
            f"the {self.layer} file ends inside the {self.field} at offset {self.offset}, with {self.present} of its"
            f" {self.needed} octets (by {self.length_from}): its writer was killed, or the copy is not whole;"
            " what stands before that place can be used"
        )


class MalformedError(PacketError):
    """A field has a value that no header of this kind can have.

    offset   in octets from the start of what was parsed; None for a field that was being built
    rule     what it breaks, with its source ("RFC 791 section 3.1: …")
    """

    def __init__(self, *, layer: str, field: str, value: object, rule: str, offset: int | None = None) -> None:
        self.layer, self.field, self.value, self.rule, self.offset = layer, field, value, rule, offset
        super().__init__(layer, field, value, rule, offset)

    @property
    def message(self) -> str:
        """What happened, whatever the file."""
        where = "" if self.offset is None else f" at offset {self.offset}"
        name = f"{self.layer}.{self.field}" if self.field else self.layer
        return f"{name}{where} is {self.value!r}: {self.rule}"


class Problem(NamedTuple):
    """One thing that is wrong in a lab file, and where: the file, the table in it, the key in that."""

    problem: str
    file: str = ""
    table: str = ""
    key: str = ""
    hint: str = ""

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.file, ".".join(filter(None, (self.table, self.key)))) if part)
        return f"{place + ': ' if place else ''}{self.problem}{'; ' + self.hint if self.hint else ''}"


class TopologyError(TunlabError, ValueError):
    """A lab file that does not say what it must.

    problems                         all that is wrong with it, each a Problem; the sentence has a line for each
    problem, file, table, key, hint  the first one's
    """

    exit_code = 78

    def __init__(
        self,
        problem: str = "",
        *,
        file: str = "",
        table: str = "",
        key: str = "",
        hint: str = "",
        problems: Sequence[Problem] = (),
    ) -> None:
        self.problems = tuple(problems) or (Problem(problem, file, table, key, hint),)
        self.problem, self.file, self.table, self.key, self.hint = self.problems[0]
        super().__init__(self.problem)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class KernelError(TunlabError, OSError):
    """The kernel refused an operation.

    errno       the kernel's error number
    operation   what was asked for, as "link set tun0 up"
    reason      the kernel's own sentence where it gave one (NLMSGERR_ATTR_MSG), or what is known about it here
    remedy      what to do about it, where that is known
    """

    exit_code = 71

    def __init__(
        self, errno: int, operation: str, *, reason: str = "", remedy: str = "", netns: str = "", ifname: str = ""
    ) -> None:
        # OSError fills errno and strerror from its first two arguments.
        super().__init__(errno, reason or errno_names.errorcode.get(errno, "unknown error"))
        self.operation, self.reason, self.remedy = operation, reason, remedy
        self.netns, self.ifname = netns, ifname

    def __str__(self) -> str:
        name = errno_names.errorcode.get(self.errno or 0, str(self.errno))
        reason = f"{self.reason} ({name})" if self.reason else name
        return f"{self.operation}: {reason}{'; ' + self.remedy if self.remedy else ''}"


class PrivilegeError(KernelError):
    """A right or a device node is missing; `missing` names it: "CAP_NET_ADMIN", "/dev/net/tun"."""

    exit_code = 77

    def __init__(
        self,
        errno: int,
        operation: str,
        *,
        missing: str,
        reason: str = "",
        remedy: str = "",
        netns: str = "",
        ifname: str = "",
    ) -> None:
        super().__init__(errno, operation, reason=reason, remedy=remedy, netns=netns, ifname=ifname)
        self.missing = missing

    def __str__(self) -> str:
        name = errno_names.errorcode.get(self.errno or 0, str(self.errno))
        reason = self.reason or f"{self.missing} is missing"
        return f"{self.operation}: {reason} ({name}){'; ' + self.remedy if self.remedy else ''}"


class LabError(TunlabError, RuntimeError):
    """A lab that is there already, is not there, or is not in the state that was asked of it."""

    exit_code = 73

    def __init__(self, lab: str, problem: str, *, remedy: str = "") -> None:
        self.lab, self.problem, self.remedy = lab, problem, remedy
        super().__init__(lab, problem, remedy)

    def __str__(self) -> str:
        return f"{self.problem}{'; ' + self.remedy if self.remedy else ''}"


class UnmetExpectation(NamedTuple):
    """What did not come out of a device, for whoever knows what else came elsewhere.

    matches    whether a packet would have been it
    netns      the identity of the namespace
    ended_ns   when it was given up, nanoseconds since the epoch
    """

    matches: Callable[[Any], bool]
    netns: tuple[int, int]
    ifname: str
    ended_ns: int


class ExpectationError(TunlabError, AssertionError):
    """What was expected did not come, or what was not wanted did: a test failure, never a crash.

    wanted     what was waited for, in words
    problem    what is wrong, where it is not that something did not come
    seen       the packets that came meanwhile, each as one text: a line, below it how it differs; if so, nearest first
    count      how many came; `seen` may leave out the most different ones of a great many
    steps      of several expectations, each as one text: by which packet it was met, or that it was not
    elapsed    seconds waited
    window     seconds that were asked for; None where nothing was waited for
    margin     seconds by which the window was widened, for this machine wakes late
    late       seconds after the window at which what was wanted came after all: timing, not behaviour. Else None
    after      how many packets came after the window, while it was watched on for what was wanted
    recording  the pcapng's path, where one was written
    unmet      what did not come; None where something came that should not have
    """

    exit_code = 1
    unmet: UnmetExpectation | None = None

    def __init__(
        self,
        *,
        wanted: str,
        problem: str = "",
        seen: Sequence[str] = (),
        count: int | None = None,
        progress: Sequence[str] = (),
        elapsed: float = 0.0,
        timeout: float | None = None,
        margin: float = 0.0,
        late_by: float | None = None,
        late_packets: int = 0,
        recording: str = "",
    ) -> None:
        self.wanted, self.problem, self.seen, self.progress = wanted, problem, tuple(seen), tuple(progress)
        self.count = len(self.seen) if count is None else count
        self.elapsed, self.timeout, self.margin = elapsed, timeout, margin
        self.late_by, self.late_packets, self.recording = late_by, late_packets, recording
        super().__init__(wanted)

    def __str__(self) -> str:
        lines = [self.problem or f"waited {self.elapsed:.3f} s for {self.wanted}"]
        if self.timeout and self.margin > self.timeout * _WORTH_SAYING:
            lines.append(f"(the window of {_span(self.timeout)}, and {_span(self.margin)} for this machine's jitter)")
        if self.late_by is not None:
            lines.append(
                f"timing, not behaviour: it came {_span(self.late_by)} after the timeout of"
                f" {_span(self.timeout or 0.0)}; give a longer timeout, or find what takes so long"
            )
        lines += [f"  {line}" for text in self.progress for line in text.splitlines()]
        lines += self._came()
        if self.late_packets and self.late_by is None:
            lines.append(
                f"{_packets(self.late_packets, 'more ')} came after the window, and would not have done either"
            )
        if self.recording:
            lines.append(f"recorded in {self.recording}")
        return "\n".join(lines)

    @property
    def summary(self) -> str:
        """In one line, and what was wanted first: a list of failures shows no more of each."""
        return self.problem or f"wanted {self.wanted}, waited {self.elapsed:.3f} s"

    def _came(self) -> list[str]:
        lines = []
        if not self.problem:
            others = "other " if self.progress else ""
            ranked = ", the nearest first" if self.count > 1 and any("\n" in text for text in self.seen) else ""
            came = f"{_packets(self.count, others)} came meanwhile{ranked}:"
            lines.append(came if self.count else f"no {others}packet came meanwhile")
        for number, text in enumerate(self.seen[:_LISTED], 1):
            line, *how = text.splitlines()
            lines += [f"  {number}. {line}", *(f"     {each}" for each in (how if number <= _EXPLAINED else ()))]
        if self.count > len(self.seen[:_LISTED]):
            lines.append(f"  and {self.count - len(self.seen[:_LISTED])} more")
        return lines


_WORTH_SAYING = 0.05
_EXPLAINED, _LISTED = 5, 100
"""Of so many packets is said how they differ; so many have a line."""


def _packets(count: int, others: str = "") -> str:
    return f"{count} {others}packet{'' if count == 1 else 's'}"


def _span(seconds: float) -> str:
    return f"{seconds:.3f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


class CountError(ExpectationError):
    """The kernel's counters did not move as they should.

    counters   what was wanted: by how much each moves, by its name
    moved      all that moved meanwhile, and by how much
    """

    def __init__(self, *, wanted: Mapping[str, int], moved: Mapping[str, int]) -> None:
        self.counters, self.moved = dict(wanted), dict(moved)
        super().__init__(wanted=", ".join(f"{name} by {count}" for name, count in wanted.items()))

    def __str__(self) -> str:
        lines = ["the kernel counted otherwise:"]
        for name, count in self.counters.items():
            got = self.moved.get(name, 0)
            lines.append(f"  {name}: wanted {count}, got {got}{'' if got == count else '  <<<'}")
        rest = [f"{name} {count}" for name, count in self.moved.items() if name not in self.counters]
        lines.append("what else moved: " + ", ".join(rest) if rest else "nothing else moved")
        if self.recording:
            lines.append(f"recorded in {self.recording}")
        return "\n".join(lines)

    @property
    def summary(self) -> str:
        """In one line what was counted otherwise."""
        wrong = {name: count for name, count in self.counters.items() if self.moved.get(name, 0) != count}
        return "; ".join(f"wanted {name} {count}, got {self.moved.get(name, 0)}" for name, count in wrong.items())


class EngineError(TunlabError, RuntimeError):
    """A Docker Engine, an image or a container that does not do its part; `log` is the end of what it printed."""

    exit_code = 69

    def __init__(self, problem: str, *, engine: str = "", container: str = "", log: str = "", remedy: str = "") -> None:
        self.problem, self.engine, self.container, self.log, self.remedy = problem, engine, container, log, remedy
        super().__init__(problem, engine, container, log, remedy)

    def __str__(self) -> str:
        where = f"{self.engine}: " if self.engine else ""
        tail = f"\n{self.log}" if self.log else ""
        return f"{where}{self.problem}{'; ' + self.remedy if self.remedy else ''}{tail}"
