"""The kernel as witness: what it counted since a namespace was made, in words, and what it would do with a packet.

Source: the modules counters, drop_monitor, nftables_counters and route_lookup of tunlab.kernel.network.
A namespace of the test's own begins at zero, so that nothing need be asked before the test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from tunlab.errors import KernelError, TunlabError
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.counters import read_counters
from tunlab.kernel.network.models import Link
from tunlab.kernel.network.nftables_counters import read_rule_counters
from tunlab.kernel.network.route_lookup import RouteLookup, lookup_route
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.report.counter_text import describe_counters, describe_drop_reasons
from tunlab.report.evidence import Evidence, RecordedNetns

_LINK_WORDS = {
    "rx_dropped": "dropped {n} that came in",
    "tx_dropped": "dropped {n} on the way out: its queue was full, or it was down",
    "rx_errors": "received {n} with an error",
    "tx_errors": "could not send {n}",
}
_REFUSALS = {
    "EXDEV": "refused: the way back to its source does not lead over the device it came in by",
    "EINVAL": "refused: the source or the destination cannot be (a martian)",
    "ENETUNREACH": "refused: no route leads there",
    "EHOSTUNREACH": "refused: it is nobody's here, and either no route leads there or this is no router"
    " (net.ipv4.ip_forward = {forward})",
    "EACCES": "refused: a route prohibits it",
}
_MOST = 5  # ways that are asked for in one namespace


def kernel_report(namespaces: Sequence[RecordedNetns], evidence: Evidence, reasons: Sequence[str]) -> list[str]:
    """What the kernel says, in lines; a heading for each namespace where there are several.

    reasons   those that the kernel gave for its drops (tunlab.kernel.network.drop_monitor)
    """
    lines = list[str]()
    for namespace in namespaces:
        said = list(_namespace_lines(namespace, evidence))
        if said and len(namespaces) > 1:
            lines.append(f"in {namespace.name}:")
            said = [f"  {line}" for line in said]
        lines += said
    told = _plausible_reasons(Counter(reasons), namespaces, evidence)
    if told:
        # What another program's packets meet while this thread is on the processor is counted as this thread's.
        lines.append(
            "its reasons for the drops while this thread ran (on a busy machine a stranger's may be among them):"
        )
        lines += [f"  {text}" for text in describe_drop_reasons(told)]
    return lines


def _plausible_reasons(
    reasons: Counter[str], namespaces: Sequence[RecordedNetns], evidence: Evidence
) -> dict[str, int]:
    """The reasons but those of which there are more than packets in the test: a stranger's, as a whole host's are."""
    if any(namespace.record is None for namespace in namespaces):  # nobody knows how many packets there were
        return dict(reasons)
    seen = len(evidence.observations) + sum(evidence.lost.values())
    return {reason: count for reason, count in reasons.items() if count <= seen}


def _namespace_lines(namespace: RecordedNetns, evidence: Evidence) -> Iterator[str]:
    # The test's own hold on it may be gone by now; the record's is not.
    opened = None
    netns = namespace.netns
    try:
        if netns.closed:
            if namespace.record is None:
                return
            netns = opened = namespace.record.open_netns()
        counted = list(_counters(netns))
        yield from counted
        with Rtnl(netns) as rtnl:
            links = rtnl.links()
        # Where nothing happened, or all is being taken down, it says nothing that a link is down.
        yield from _links(links, in_use=bool(counted) and opened is None)
        yield from _firewall(netns)
        if namespace.is_endpoint:
            indexes = {link.name: link.index for link in links}
            dropped = any(line.startswith("dropped") for line in counted)
            for line, delivered in _routes(namespace, netns, evidence, indexes):
                if dropped or not delivered:  # else it says nothing that a packet found its way
                    yield line
    except TunlabError as error:
        yield f"(could not be asked: {error})"
    finally:
        if opened is not None:
            opened.close()


def _counters(netns: Netns) -> Iterator[str]:
    sentences, rest = describe_counters({name: value for name, value in read_counters(netns).items() if value})
    yield from sentences
    if rest:
        yield "counted: " + ", ".join(f"{name} {value}" for name, value in rest.items())


def _links(links: Sequence[Link], *, in_use: bool) -> Iterator[str]:
    for link in links:
        for name, words in _LINK_WORDS.items():
            if count := getattr(link, name):
                packets = f"{count} packet{'' if count == 1 else 's'}"
                yield f"{link.name} {words.format(n=packets)} ({name})"
        if in_use and not link.up:
            yield f"{link.name} is down"
        elif in_use and not link.carrier and link.kind in ("tun", "veth"):
            other = "nobody reads it" if link.kind == "tun" else "its other end is down"
            yield f"{link.name} is up without a carrier ({other}): nothing passes"


def _firewall(netns: Netns) -> Iterator[str]:
    try:
        rules = read_rule_counters(netns)
    except KernelError:  # there is no nf_tables
        return
    for rule in rules:
        if rule.position == 0:
            counted = "" if rule.packets is None else f": {rule.packets} packets"
            yield f"firewall: chain {rule.chain} drops by policy what no rule accepts{counted}"
        elif rule.packets:
            did = {"drop": "dropped", "reject": "rejected"}.get(rule.verdict, "met")
            packets = f"{rule.packets} packet{'' if rule.packets == 1 else 's'}"
            yield f"firewall: rule {rule.position} of {rule.chain} {did} {packets}"


def _routes(
    namespace: RecordedNetns, netns: Netns, evidence: Evidence, indexes: dict[str, int]
) -> Iterator[tuple[str, bool]]:
    """What the kernel would do with each packet that came in and was neither answered nor passed on; is that for us."""
    names = {index: name for name, index in indexes.items()}
    own = [each for each in evidence.observations if each.node == namespace.name and each.packet is not None]
    sent = {(each.packet.ip.src, each.packet.ip.dst) for each in own if each.packet and each.direction == "out"}
    asked = dict[tuple[str, str, str], None]()
    for each in own:
        if each.packet is None or each.direction != "in" or each.ifname not in indexes or each.ifname == "lo":
            continue
        src, dst = each.packet.ip.src, each.packet.ip.dst
        if (dst, src) not in sent and (src, dst) not in sent:
            asked[src, dst, each.ifname] = None
    for src, dst, ifname in list(asked)[:_MOST]:
        way = lookup_route(netns, dst, src=src, ifindex=indexes[ifname])
        yield f"way of {src} > {dst} in by {ifname}: {_route_text(way, netns, src, ifname, names)}", way.type == "local"


def _route_text(way: RouteLookup, netns: Netns, src: str, ifname: str, names: dict[int, str]) -> str:
    if way.error in ("EXDEV", "EINVAL") and (why := _rp_filter(netns, src, ifname, names)):
        return why
    if way.error:
        words = _REFUSALS.get(way.error, f"refused: {way.error}")
        return words.format(forward=_sysctl(netns, "net.ipv4.ip_forward"))
    if way.type == "local":
        return "delivered here"
    out = f" over {_device(way.ifindex, names)}" if way.ifindex else ""
    return f"forwarded{out}{f' via {way.via}' if way.via else ''}" if way.type == "unicast" else f"{way.type}{out}"


def _rp_filter(netns: Netns, src: str, ifname: str, names: dict[int, str]) -> str:
    """Why rp_filter refuses the source, if it does: ip-sysctl.rst, the greater of `all` and the device's counts."""
    settings = {name: _sysctl(netns, f"net.ipv4.conf.{name}.rp_filter") for name in ("all", ifname)}
    mode = max(settings.values())
    back = lookup_route(netns, src)
    leads_elsewhere = back.error or names.get(back.ifindex) != ifname
    if mode not in "12" or back.type == "local" or not (leads_elsewhere if mode == "1" else back.error):
        return ""
    where = f"leads over {_device(back.ifindex, names)}" if not back.error else f"is not known ({back.error})"
    said = ", ".join(f"net.ipv4.conf.{name}.rp_filter = {value}" for name, value in settings.items())
    return f"refused by rp_filter: the way back to {src} {where}, and it came in by {ifname} ({said})"


def _device(ifindex: int, names: dict[int, str]) -> str:
    return names.get(ifindex, f"device {ifindex}")


def _sysctl(netns: Netns, name: str) -> str:
    try:
        return netns.sysctl(name)
    except KernelError:
        return "?"
