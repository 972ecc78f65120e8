"""The kernel's view of a failed test: its counters, its drop reasons, and its routes for unanswered packets.

The counters of a new namespace start at zero, so one reading after the test shows what changed.
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
from tunlab.packet import Network
from tunlab.report.counter_text import describe_counters, describe_drop_reasons
from tunlab.report.evidence import Evidence, RecordedNetns

_LINK_TEXTS = {
    "rx_dropped": "dropped {n} on receipt",
    "tx_dropped": "dropped {n} on sending: its queue was full, or it was down",
    "rx_errors": "received {n} with an error",
    "tx_errors": "could not send {n}",
}
_REFUSALS = {
    "EXDEV": "refused: the route back to the source uses another device",
    "EINVAL": "refused: invalid source or destination address (martian)",
    "ENETUNREACH": "refused: no route to the destination",
    "EHOSTUNREACH": "refused: the destination is not a local address, and there is no route or forwarding is off"
    " ({forwarding})",
    "EACCES": "refused: the route is of type prohibit",
}
_MAX_LOOKUPS = 5  # Maximum number of route lookups in one namespace.


def kernel_report(namespaces: Sequence[RecordedNetns], evidence: Evidence, reasons: Sequence[str]) -> list[str]:
    """Return lines on counters, drops and routes; one heading per namespace if there are several.

    Args:
        namespaces: The namespaces of the test.
        evidence: The packets of the test.
        reasons: The kernel's reason for each dropped packet (tunlab.kernel.network.drop_monitor).
    """
    lines = list[str]()
    namespaces = [each for each in namespaces if each.netns is not None]
    for namespace in namespaces:
        own_lines = list(_namespace_lines(namespace, evidence))
        if own_lines and len(namespaces) > 1:
            lines.append(f"in {namespace.name}:")
            own_lines = [f"  {line}" for line in own_lines]
        lines += own_lines
    plausible = _plausible_reasons(Counter(reasons), namespaces, evidence)
    if plausible:
        # The kernel reports drops to the thread that runs at that time, even if another program sent the packet.
        lines.append("kernel drop reasons (system-wide: other processes' drops may be included):")
        lines += [f"  {text}" for text in describe_drop_reasons(plausible)]
    return lines


def _plausible_reasons(
    reasons: Counter[str], namespaces: Sequence[RecordedNetns], evidence: Evidence
) -> dict[str, int]:
    """Return the drop reasons that can come from this test: those with no more drops than the test has packets."""
    if any(namespace.record is None for namespace in namespaces):
        return dict(reasons)
    seen = len(evidence.observations) + sum(evidence.lost.values())
    return {reason: count for reason, count in reasons.items() if count <= seen}


def _namespace_lines(namespace: RecordedNetns, evidence: Evidence) -> Iterator[str]:
    # The fixture may have closed the namespace, but the capture still holds it open.
    opened = None
    netns = namespace.netns
    try:
        if netns is None or netns.closed:
            if namespace.record is None:
                return
            netns = opened = namespace.record.open_netns()
        counted = list(_counter_lines(netns))
        yield from counted
        with Rtnl(netns) as rtnl:
            links = rtnl.links()
        # In an unused namespace or during teardown, a link that is down does not explain a failure.
        yield from _link_lines(links, in_use=bool(counted) and opened is None)
        yield from _firewall_lines(netns)
        if namespace.is_endpoint:
            indexes = {link.name: link.index for link in links}
            dropped = any(line.startswith("dropped") for line in counted)
            for line, delivered in _route_lines(namespace, netns, evidence, indexes):
                if dropped or not delivered:  # The route of a delivered packet matters only if there were drops.
                    yield line
    except TunlabError as error:
        yield f"(not available: {error})"
    finally:
        if opened is not None:
            opened.close()


def _counter_lines(netns: Netns) -> Iterator[str]:
    sentences, rest = describe_counters({name: value for name, value in read_counters(netns).items() if value})
    yield from sentences
    if rest:
        yield "other counters: " + ", ".join(f"{name} {value}" for name, value in rest.items())


def _link_lines(links: Sequence[Link], *, in_use: bool) -> Iterator[str]:
    for link in links:
        for name, text in _LINK_TEXTS.items():
            if count := getattr(link, name):
                packets = f"{count} packet{'' if count == 1 else 's'}"
                yield f"{link.name} {text.format(n=packets)} ({name})"
        if in_use and not link.up:
            yield f"{link.name} is down"
        elif in_use and not link.carrier and link.kind in ("tun", "veth"):
            why = "no program reads it" if link.kind == "tun" else "its other end is down"
            yield f"{link.name} is up but has no carrier: {why}"


def _firewall_lines(netns: Netns) -> Iterator[str]:
    try:
        rules = read_rule_counters(netns)
    except KernelError:  # The kernel has no nftables support.
        return
    for rule in rules:
        if rule.position == 0:
            counted = "" if rule.packets is None else f": {rule.packets} packets"
            yield f"firewall: chain {rule.chain} has the policy drop{counted}"
        elif rule.packets:
            action = {"drop": "dropped", "reject": "rejected"}.get(rule.verdict, "matched")
            packets = f"{rule.packets} packet{'' if rule.packets == 1 else 's'}"
            yield f"firewall: rule {rule.position} of {rule.chain} {action} {packets}"


def _route_lines(
    namespace: RecordedNetns, netns: Netns, evidence: Evidence, indexes: dict[str, int]
) -> Iterator[tuple[str, bool]]:
    """Yield a line with the route of each packet that was not answered or forwarded, and True if the route is local."""
    names = {index: name for name, index in indexes.items()}
    own = [
        (each, network)
        for each in evidence.observations
        if each.node == namespace.name and each.packet is not None and (network := each.packet.get(Network)) is not None
    ]
    sent = {(network.src, network.dst) for each, network in own if each.direction == "out"}
    lookups = dict[tuple[str, str, str], None]()
    for each, network in own:
        if each.direction != "in" or each.ifname not in indexes or each.ifname == "lo":
            continue
        src, dst = network.src, network.dst
        if (dst, src) not in sent and (src, dst) not in sent:
            lookups[src, dst, each.ifname] = None
    for src, dst, ifname in list(lookups)[:_MAX_LOOKUPS]:
        route = lookup_route(netns, dst, src=src, ifindex=indexes[ifname])
        text = _route_text(route, netns, src, ifname, names)
        yield f"route of {src} > {dst} received on {ifname}: {text}", route.type == "local"


def _route_text(route: RouteLookup, netns: Netns, src: str, ifname: str, names: dict[int, str]) -> str:
    if route.error in ("EXDEV", "EINVAL") and (why := _explain_rp_filter(netns, src, ifname, names)):
        return why
    sysctl = "net.ipv6.conf.all.forwarding" if ":" in src else "net.ipv4.ip_forward"
    forwarding = _sysctl(netns, sysctl)
    # A lookup in the IPv6 table finds a route also if forwarding is off.
    error = "EHOSTUNREACH" if ":" in src and route.type == "unicast" and forwarding == "0" else route.error
    if error:
        text = _REFUSALS.get(error, f"refused: {error}")
        return text.format(forwarding=f"{sysctl} = {forwarding}")
    if route.type == "local":
        return "delivered locally"
    out = f" on {_device_name(route.ifindex, names)}" if route.ifindex else ""
    return (
        f"forwarded{out}{f' via {route.via}' if route.via else ''}" if route.type == "unicast" else f"{route.type}{out}"
    )


def _explain_rp_filter(netns: Netns, src: str, ifname: str, names: dict[int, str]) -> str:
    """Return a sentence if rp_filter rejects packets from `src` on this device, else "".

    The kernel uses the larger of the two values net.ipv4.conf.all.rp_filter and net.ipv4.conf.DEVICE.rp_filter.
    """
    settings = {name: _sysctl(netns, f"net.ipv4.conf.{name}.rp_filter") for name in ("all", ifname)}
    mode = max(settings.values())
    back = lookup_route(netns, src)
    leads_elsewhere = back.error or names.get(back.ifindex) != ifname
    if mode not in "12" or back.type == "local" or not (leads_elsewhere if mode == "1" else back.error):
        return ""
    device = _device_name(back.ifindex, names)
    why = f"no route to {src} ({back.error})" if back.error else f"the route to {src} uses {device}"
    shown = ", ".join(f"net.ipv4.conf.{name}.rp_filter = {value}" for name, value in settings.items())
    return f"refused by rp_filter: {why} ({shown})"


def _device_name(ifindex: int, names: dict[int, str]) -> str:
    return names.get(ifindex, f"device {ifindex}")


def _sysctl(netns: Netns, name: str) -> str:
    try:
        return netns.sysctl(name)
    except KernelError:
        return "?"
