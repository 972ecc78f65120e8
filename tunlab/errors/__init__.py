"""All errors that tunlab raises. Their attributes have the data, and the message is made from the attributes.

    TunlabError                          exit code 70  EX_SOFTWARE
    ├─ PacketError(ValueError)                     65  EX_DATAERR
    │   ├─ TruncatedError                              the input is too short
    │   │   └─ TruncatedRecordingError                 a pcapng or pcap file ends early
    │   └─ MalformedError                              a field or its bytes break the protocol's rules
    ├─ TopologyError(ValueError)                   78  EX_CONFIG
    ├─ KernelError(OSError)                        71  EX_OSERR
    │   └─ PrivilegeError                          77  EX_NOPERM
    ├─ LabError(RuntimeError)                      73  EX_CANTCREAT
    ├─ ExpectationError(AssertionError)             1
    │   └─ CountError                                  kernel counters changed by other amounts than expected
    ├─ DeviceError(RuntimeError)                   76  EX_PROTOCOL
    └─ EngineError(RuntimeError)                   69  EX_UNAVAILABLE

The exit codes come from <sysexits.h>; they differ from pytest's (0 to 6) and Docker's (125 to 127).
The second base class allows handlers such as `except OSError` or `except ValueError`.

For contributors: pass data to a constructor, not a finished sentence. `str(error)` is two sentences.
"""

from __future__ import annotations

import errno as errno_names
from collections.abc import Mapping, Sequence
from typing import ClassVar

from tunlab.errors.details import Problem, UnmetExpectation, duration_text, sentences

__all__ = ["Problem", "UnmetExpectation", "duration_text", "sentences"]


class TunlabError(Exception):
    """Base class of every error that tunlab raises on purpose."""

    exit_code: ClassVar[int] = 70

    def __reduce__(self) -> tuple[object, ...]:
        """Return a pickle of the attributes. pytest-xdist pickles errors, and constructors with keywords need this."""
        return _unpickle, (type(self), self.args, self.__dict__)


def _unpickle(kind: type[TunlabError], args: tuple[object, ...], state: dict[str, object]) -> TunlabError:
    error = kind.__new__(kind, *args)
    if isinstance(error, OSError):  # OSError.__new__ does not set errno if a subclass defines __init__.
        OSError.__init__(error, *args)
    error.__dict__.update(state)
    return error


class PacketError(TunlabError, ValueError):
    """Bytes that are not a packet, or a header that cannot be built.

    Attributes:
        file: Path of the recording that contains the packet, or "".
    """

    exit_code = 65
    file: str = ""

    def __str__(self) -> str:
        return f"{self.file}: {self.message}" if self.file else self.message

    @property
    def message(self) -> str:
        """The error text without the file's name."""
        return super().__str__()

    @property
    def problem(self) -> str:
        """The error text as a part of a longer sentence: `message`, for TruncatedError without its advice."""
        return self.message


class TruncatedError(PacketError):
    """The input is too short for a header.

    Attributes:
        layer: Protocol, for example "IPv4".
        field: Part of the layer that is too short; "" for the header.
        offset: Start of `layer`, in bytes from the start of the input.
        needed: Bytes that the layer needs, counted from its start.
        present: Bytes that are present, counted from the layer's start.
        length_from: Field that limits the length, for example "IPv4.ihl". Without a dot it is the end of the input.
    """

    def __init__(self, *, layer: str, field: str, offset: int, needed: int, present: int, length_from: str) -> None:
        self.layer, self.field, self.offset = layer, field, offset
        self.needed, self.present, self.length_from = needed, present, length_from
        super().__init__(layer, field, offset, needed, present, length_from)

    @property
    def message(self) -> str:
        """The error text without the file's name."""
        remedy = f"Correct {self.length_from}" if "." in self.length_from else "Give the whole packet"
        return f"{self.problem}. {remedy}."

    @property
    def problem(self) -> str:
        """The first sentence of `message`, without a full stop."""
        end = self.offset + self.present
        limit = f"{self.length_from} ends it" if "." in self.length_from else "input ended"
        part = self.field or "header"
        return f"{self.layer} {part} needs {self.needed} bytes, got {self.present} ({limit} at offset {end})"


class TruncatedRecordingError(TruncatedError):
    """A recording that ends inside a block, or is empty. All records before that offset have been returned.

    `layer` is the file format, "pcapng" or "pcap", and `field` the incomplete part of the file.
    """

    @property
    def message(self) -> str:
        """The error text without the file's name."""
        if not self.offset and not self.present:
            return "the recording is empty. Give a pcapng or pcap file."
        limit = f" (length from {self.length_from})" if "." in self.length_from else ""
        return (
            f"the {self.layer} file ends inside the {self.field} at offset {self.offset}, which needs {self.needed}"
            f" bytes, got {self.present}{limit}. Use the packets before that offset, or record or copy the file again."
        )

    problem = message


class MalformedError(PacketError):
    """A field value that the protocol does not allow.

    Attributes:
        layer: Protocol or file format, for example "TCP".
        field: Field name; "" if the value is the whole layer.
        value: The rejected value.
        rule: The rule that it breaks, with its source, for example "RFC 791 section 3.1: …".
        offset: Offset of the field in bytes from the start of the input; None if the packet was being built.
    """

    def __init__(self, *, layer: str, field: str, value: object, rule: str, offset: int | None = None) -> None:
        self.layer, self.field, self.value, self.rule, self.offset = layer, field, value, rule, offset
        super().__init__(layer, field, value, rule, offset)

    @property
    def message(self) -> str:
        """The error text without the file's name."""
        where = "" if self.offset is None else f" at offset {self.offset}"
        name = f"{self.layer}.{self.field}" if self.field else self.layer
        return f"{name}{where} is {self.value!r}: {self.rule}"


class TopologyError(TunlabError, ValueError):
    """An invalid lab file. The message has one line per mistake.

    Attributes:
        problems: Every mistake that was found.
        problem, file, table, key, hint: The fields of the first mistake.
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
    """An operation that the kernel refused.

    Attributes:
        errno: Error number.
        operation: The refused operation, for example "link set tun0 up".
        reason: The kernel's message (NLMSGERR_ATTR_MSG), or tunlab's own explanation of the error number.
        remedy, netns, ifname: How to solve the problem, the namespace and the interface; each may be "".
    """

    exit_code = 71

    def __init__(
        self, errno: int, operation: str, *, reason: str = "", remedy: str = "", netns: str = "", ifname: str = ""
    ) -> None:
        # OSError fills errno and strerror from its first two arguments.
        super().__init__(errno, reason or errno_names.errorcode.get(errno, "unknown error"))
        self.operation, self.reason, self.remedy, self.netns, self.ifname = operation, reason, remedy, netns, ifname

    @property
    def problem(self) -> str:
        """The operation, the reason and the name of the error number, without advice."""
        name = errno_names.errorcode.get(self.errno or 0, str(self.errno))
        return f"{self.operation}: " + (f"{self.reason.removesuffix('.')} ({name})" if self.reason else name)

    def __str__(self) -> str:
        return sentences(self.problem, self.remedy)


class PrivilegeError(KernelError):
    """An operation that failed because a capability or a device node is missing.

    Attributes:
        missing: The capability or device node, for example "CAP_NET_ADMIN" or "/dev/net/tun".
    """

    exit_code = 77

    def __init__(self, errno: int, operation: str, *, missing: str, reason: str = "", **details: str) -> None:
        super().__init__(errno, operation, reason=reason or f"{missing} is missing", **details)
        self.missing = missing


class LabError(TunlabError, RuntimeError):
    """A lab that already exists, does not exist, or is in the wrong state for the operation."""

    exit_code = 73

    def __init__(self, lab: str, problem: str, *, remedy: str = "") -> None:
        self.lab, self.problem, self.remedy = lab, problem, remedy
        super().__init__(lab, problem, remedy)

    def __str__(self) -> str:
        return sentences(self.problem, self.remedy)


class ExpectationError(TunlabError, AssertionError):
    """A failed expectation: an expected packet did not arrive, or an unwanted packet arrived.

    Attributes:
        wanted: Description of the expected packet.
        problem: First line of the message; "" if the error is a timeout.
        seen: Packets that arrived, each a summary line and its differences; the closest match is first.
        count: Number of packets that arrived; `seen` may leave out the least similar ones.
        progress: For `expect_all`, one entry per expectation, with the packet that met it.
        elapsed: Seconds waited.
        timeout: Timeout in seconds, as given by the caller; None if there was no wait.
        margin: Seconds added to the timeout because this machine wakes processes late.
        late_by: Seconds from the timeout until a matching packet arrived; None if none arrived.
        late_packets: Number of packets that arrived within a short time after the timeout.
        recording: Path of the pcapng file; "" if none is written.
        unmet: The expectation that timed out; None if the error is not a timeout.
        injected: The place where the test injected a packet that would match, had it come from the other side; or "".
    """

    exit_code = 1
    unmet: UnmetExpectation | None = None
    injected: str = ""

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
        if self.timeout and self.margin > self.timeout * _SHOWN_MARGIN:
            lines.append(
                f"(timeout {duration_text(self.timeout)}, plus {duration_text(self.margin)} for scheduling delays)"
            )
        if self.late_by is not None:
            lines.append(
                f"a matching packet arrived {duration_text(self.late_by)} after the timeout of"
                f" {duration_text(self.timeout or 0.0)}. Raise the timeout or find the delay."
            )
        lines += [f"  {line}" for text in self.progress for line in text.splitlines()]
        lines += self._arrivals()
        if self.late_packets and self.late_by is None:
            lines.append(f"{_packets(self.late_packets, 'more ')} arrived after the timeout, without a match")
        if self.injected:
            lines.append(
                f"the packet injected at {self.injected} is as wanted, but goes in the other direction. Expect what the"
                " other side sends."
            )
        if self.recording:
            lines.append(f"recorded in {self.recording}")
        return "\n".join(lines)

    @property
    def summary(self) -> str:
        """One line for pytest's short test summary. It starts with the expected packet."""
        return self.problem or f"wanted {self.wanted}, waited {self.elapsed:.3f} s"

    def _arrivals(self) -> list[str]:
        lines, others = [], "other " if self.progress else ""
        if not self.problem:
            ranked = ", closest match first" if self.count > 1 and any("\n" in text for text in self.seen) else ""
            arrived = f"{_packets(self.count, others)} arrived{ranked}:"
            lines.append(arrived if self.count else f"no {others}packet arrived")
        for number, text in enumerate(self.seen[:_MAX_LISTED], 1):
            line, *details = text.splitlines()
            lines.append(f"  {number}. {line}")
            if number <= _MAX_EXPLAINED:
                lines += [f"     {detail}" for detail in details]
        if self.count > len(self.seen[:_MAX_LISTED]):
            lines.append(f"  and {self.count - len(self.seen[:_MAX_LISTED])} more")
        return lines


_SHOWN_MARGIN = 0.05  # The message mentions the margin only if it exceeds this fraction of the timeout.
_MAX_LISTED = 100  # The message lists at most this many packets.
_MAX_EXPLAINED = 5  # Only this many packets, from the closest match on, are listed with their differences.


def _packets(count: int, others: str = "") -> str:
    return f"{count} {others}packet{'' if count == 1 else 's'}"


class CountError(ExpectationError):
    """An error for kernel counters that changed by other amounts than expected.

    Attributes:
        counters: Expected change of each counter, by name.
        changes: Actual change of every counter that changed.
    """

    def __init__(self, *, wanted: Mapping[str, int], changes: Mapping[str, int]) -> None:
        self.counters, self.changes = dict(wanted), dict(changes)
        super().__init__(wanted=", ".join(f"{name} by {count}" for name, count in wanted.items()))

    def __str__(self) -> str:
        lines = ["kernel counters changed by other amounts than expected:"]
        for name, count in self.counters.items():
            got = self.changes.get(name, 0)
            lines.append(f"  {name}: wanted {count}, got {got}{'' if got == count else '  <<<'}")
        rest = [f"{name} {count}" for name, count in self.changes.items() if name not in self.counters]
        lines.append("other counters that changed: " + ", ".join(rest) if rest else "no other counter changed")
        if self.recording:
            lines.append(f"recorded in {self.recording}")
        return "\n".join(lines)

    @property
    def summary(self) -> str:
        """One line for pytest's short test summary. It has each counter with a wrong change."""
        wrong = {name: count for name, count in self.counters.items() if self.changes.get(name, 0) != count}
        return "; ".join(f"wanted {name} {count}, got {self.changes.get(name, 0)}" for name, count in wrong.items())


class DeviceError(TunlabError, RuntimeError):
    """A device under test that did not start, ended, hangs or breaks the rules of its interface.

    Attributes:
        device: The device under test, as it was given: "./my_stack tun0 10.1.2.1".
        problem, remedy: What happened, and advice or "".
        output: Last lines of its output, or "".
    """

    exit_code = 76

    def __init__(self, device: str, problem: str, *, remedy: str = "", output: str = "") -> None:
        self.device, self.problem, self.remedy, self.output = device, problem, remedy, output
        super().__init__(device, problem, remedy, output)

    def __str__(self) -> str:
        printed = "the end of its output:" + "".join(f"\n  {line}" for line in self.output.splitlines())
        return sentences(f"{self.device} {self.problem}", f"{self.remedy}\n{printed}" if self.output else self.remedy)


class EngineError(TunlabError, RuntimeError):
    """A failure of a Docker Engine, an image or a container.

    Attributes:
        problem, remedy: What happened, and advice or "".
        engine, container: Address of the engine and name of the container, or "".
        log: Last lines of the container's output, or "".
    """

    exit_code = 69

    def __init__(self, problem: str, *, engine: str = "", container: str = "", log: str = "", remedy: str = "") -> None:
        self.problem, self.engine, self.container, self.log, self.remedy = problem, engine, container, log, remedy
        super().__init__(problem, engine, container, log, remedy)

    def __str__(self) -> str:
        text = f"{self.engine}: {self.problem}" if self.engine else self.problem
        return sentences(text, self.remedy) + (f"\n{self.log}" if self.log else "")
