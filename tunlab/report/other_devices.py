"""Where a packet as wanted was after all: out of another device of the namespace, or out of the right one, later.

Source: the recording, which has what an expectation on one device cannot see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tunlab.errors import ExpectationError
from tunlab.report.evidence import Evidence, Observation, RecordedNetns

_TAKEN = ("fence", "emitted at", "matched expectation", "captured at", "read at")
"""Comments of packets that somebody has asked for, or that are nobody's answer."""


def matches_on_other_devices(
    error: BaseException, namespaces: Sequence[RecordedNetns], evidence: Evidence
) -> Iterator[str]:
    """A sentence for each device that a packet came out of which is as wanted; none for what is no unmet one."""
    unmet = error.unmet if isinstance(error, ExpectationError) else None
    namespace = next(
        (each.name for each in namespaces if unmet is not None and each.netns.identity == unmet.netns), None
    )
    if unmet is None or namespace is None:
        return
    told = set[str]()
    for number, each in enumerate(evidence.observations, 1):
        if each.node != namespace or each.direction != "out" or each.ifname in told or _is_taken(each):
            continue
        is_late = each.ifname == unmet.ifname and each.time > unmet.ended_ns
        if each.packet is None or not (is_late or each.ifname != unmet.ifname) or not unmet.matches(each.packet):
            continue
        told.add(each.ifname)
        if is_late:
            after = (each.time - unmet.ended_ns) / 1e6
            yield f"a packet as wanted came later, {after:.3g} ms after {unmet.ifname} was watched for it: {number}"
        else:
            yield f"a packet as wanted came out of {each.device}, and it was expected out of {unmet.ifname}: {number}"


def _is_taken(observation: Observation) -> bool:
    return any(part.startswith(_TAKEN) for part in observation.comment.split("; "))
