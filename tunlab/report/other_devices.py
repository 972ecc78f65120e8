"""Sentences about packets that match a failed expectation but left another device, or arrived too late.

An expectation reads one device until its timeout. The capture of the namespace has the packets of all devices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tunlab.errors import ExpectationError
from tunlab.report.evidence import Evidence, RecordedNetns


def matches_on_other_devices(
    error: BaseException, namespaces: Sequence[RecordedNetns], evidence: Evidence
) -> Iterator[str]:
    """Yield a sentence for each device with a packet that matches the expectation that timed out with `error`."""
    unmet = error.unmet if isinstance(error, ExpectationError) else None
    if unmet is None or unmet.netns is None:
        return
    recorded = [(each.name, each.netns) for each in namespaces if each.netns is not None]
    node = next((name for name, netns in recorded if netns.identity == unmet.netns), None)
    reported = set[str]()
    for number, each in enumerate(evidence.observations, 1):
        if each.node != node or each.direction != "out" or each.ifname in reported or each.annotation.consumed:
            continue
        is_late = each.ifname == unmet.ifname and each.time > unmet.ended_ns
        if each.packet is None or not (is_late or each.ifname != unmet.ifname) or not unmet.matches(each.packet):
            continue
        reported.add(each.ifname)
        if is_late:
            after = (each.time - unmet.ended_ns) / 1e6
            yield f"packet {number} matches, but left {unmet.ifname} {after:.3g} ms after the test stopped watching"
        else:
            yield f"packet {number} matches, but left {each.device}; the test expected it on {unmet.ifname}"
