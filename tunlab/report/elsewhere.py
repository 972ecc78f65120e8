"""Where a packet as wanted was after all: out of another device of the namespace, or out of the right one, later.

Source: the recording, which has what an expectation on one device cannot see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tunlab.errors import ExpectationError
from tunlab.report.evidence import Evidence, Home, Sighting

_TAKEN = ("fence", "emitted at", "matched expectation", "captured at", "read at")
"""Comments of packets that somebody has asked for, or that are nobody's answer."""


def elsewhere(error: BaseException, homes: Sequence[Home], evidence: Evidence) -> Iterator[str]:
    """A sentence for each device that a packet came out of which is as wanted; none for what is no missed one."""
    missed = error.unmet if isinstance(error, ExpectationError) else None
    home = next((each.name for each in homes if missed is not None and each.netns.identity == missed.netns), None)
    if missed is None or home is None:
        return
    told = set[str]()
    for number, each in enumerate(evidence.sightings, 1):
        if each.home != home or each.direction != "out" or each.ifname in told or _is_taken(each):
            continue
        is_late = each.ifname == missed.ifname and each.time > missed.ended_ns
        if each.packet is None or not (is_late or each.ifname != missed.ifname) or not missed.matches(each.packet):
            continue
        told.add(each.ifname)
        if is_late:
            after = (each.time - missed.ended_ns) / 1e6
            yield f"a packet as wanted came later, {after:.3g} ms after {missed.ifname} was watched for it: {number}"
        else:
            yield f"a packet as wanted came out of {each.device}, and it was expected out of {missed.ifname}: {number}"


def _is_taken(sighting: Sighting) -> bool:
    return any(part.startswith(_TAKEN) for part in sighting.comment.split("; "))
