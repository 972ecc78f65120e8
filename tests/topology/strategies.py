"""Labs that can be, for Hypothesis: some hosts, routers and switches, joined at random."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.packet.strategies import sampled
from tunlab.topology import Topology

__all__ = ["labs", "sampled"]

KINDS = ("host", "host", "router", "router", "switch")
GIVEN = ({}, {}, {"mtu": 1400}, {"delay": "1ms"})


@st.composite
def labs(draw, kinds=KINDS, given=GIVEN):
    """A Topology; two nodes share a network once at most, and no switches stand in a circle.

    given   what links have, one of these each
    """
    lab = Topology("drawn", ip=draw(st.sampled_from(["ipv4", "ipv6", "both"])))
    names = {f"n{number}": draw(st.sampled_from(kinds)) for number in range(draw(st.integers(1, 7)))}
    # What a frame reaches: the members of each network, and by which switch they are in it.
    network_of: dict[str, set[str]] = {}
    for number, (name, kind) in enumerate(names.items()):
        keys = {}
        if kind != "switch" and draw(st.booleans()) and draw(st.booleans()):
            keys = {"tuns": {"tun0": f"172.16.{number}.1/24"}} if lab_speaks(lab, 4) else {}
        if kind != "switch" and draw(st.booleans()) and lab_speaks(lab, 6):
            keys["loopback"] = [f"2001:db8::{number}"]
        lab.node(name, kind=kind, **keys)
    for number in range(draw(st.integers(0, 8))):
        ends = draw(st.lists(st.sampled_from(sorted(names)), unique=True, min_size=0, max_size=4))
        switches = [end for end in ends if names[end] == "switch"]
        joined = [network_of.setdefault(switch, {switch}) for switch in switches]
        members = [end for end in ends if end not in switches]
        others = [set(members), *joined]
        merged = set().union(*others)
        if len(ends) < 2 or len({id(each) for each in joined}) < len(joined) or len(merged) < sum(map(len, others)):
            continue
        network_of.update(dict.fromkeys((each for each in merged if names[each] == "switch"), merged))
        keys = draw(st.sampled_from([*given, {"subnet": f"10.128.{number}.0/26"}]))
        if "subnet" in keys and (switches or not lab_speaks(lab, 4)):
            keys = {}
        lab.link(*ends, **keys)
    return lab


def lab_speaks(lab: Topology, version: int) -> bool:
    """Return True if the lab may have addresses of this IP version."""
    return any(f'ip = "{each}"' in lab.text for each in (f"ipv{version}", "both"))
