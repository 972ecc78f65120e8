"""Hypothesis strategies for valid labs: hosts, routers and switches with random links."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.packet.strategies import sampled
from tunlab.topology import Topology

__all__ = ["labs", "sampled"]

KINDS = ("host", "host", "router", "router", "switch")
LINK_KEYS = ({}, {}, {"mtu": 1400}, {"delay": "1ms"})


@st.composite
def labs(draw, kinds=KINDS, link_keys=LINK_KEYS):
    """Return a Topology in which two nodes share at most one network and switches form no loop.

    Args:
        kinds: the kinds of nodes to choose from.
        link_keys: the sets of keys to choose from for each link.
    """
    lab = Topology("drawn", ip=draw(st.sampled_from(["ipv4", "ipv6", "both"])))
    names = {f"n{number}": draw(st.sampled_from(kinds)) for number in range(draw(st.integers(1, 7)))}
    # `segment_of` maps each switch to the nodes and switches in its broadcast domain.
    segment_of: dict[str, set[str]] = {}
    for number, (name, kind) in enumerate(names.items()):
        keys = {}
        if kind != "switch" and draw(st.booleans()) and draw(st.booleans()):
            keys = {"tuns": {"tun0": f"172.16.{number}.1/24"}} if uses_ip_version(lab, 4) else {}
        if kind != "switch" and draw(st.booleans()) and uses_ip_version(lab, 6):
            keys["loopback"] = [f"2001:db8::{number}"]
        lab.node(name, kind=kind, **keys)
    for number in range(draw(st.integers(0, 8))):
        ends = draw(st.lists(st.sampled_from(sorted(names)), unique=True, min_size=0, max_size=4))
        switches = [end for end in ends if names[end] == "switch"]
        joined = [segment_of.setdefault(switch, {switch}) for switch in switches]
        members = [end for end in ends if end not in switches]
        others = [set(members), *joined]
        merged = set().union(*others)
        if len(ends) < 2 or len({id(each) for each in joined}) < len(joined) or len(merged) < sum(map(len, others)):
            continue
        segment_of.update(dict.fromkeys((each for each in merged if names[each] == "switch"), merged))
        keys = draw(st.sampled_from([*link_keys, {"subnet": f"10.128.{number}.0/26"}]))
        if "subnet" in keys and (switches or not uses_ip_version(lab, 4)):
            keys = {}
        lab.link(*ends, **keys)
    return lab


def uses_ip_version(lab: Topology, version: int) -> bool:
    """Return True if the lab uses this IP version."""
    return any(f'ip = "{each}"' in lab.text for each in (f"ipv{version}", "both"))
