"""ICMPv6 messages, extension headers and their options compared with scapy, both ways, on random packets."""

import random
import warnings

import pytest

from tunlab.packet import (
    MLD,
    TCP,
    UDP,
    DestinationOptions,
    Fragment,
    HopByHop,
    ICMPv6,
    ICMPv6Echo,
    IPv6,
    MLDv2Report,
    MulticastAddressRecord,
    NeighborAdvertisement,
    NeighborSolicitation,
    Packet,
    Redirect,
    RouterAdvertisement,
    RouterSolicitation,
    Routing,
    Verdict,
    build,
    checksums,
    ipv6_options,
    nd_options,
    parse,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy import all as scapy

SEED = 4443
ROUNDS = 60


def address(rng, network="fd00"):
    return str(scapy.in6_ptop(f"{network}::{rng.randrange(1 << 16):x}:{rng.randrange(1, 1 << 16):x}"))


def mac(rng):
    return bytes([2, *rng.randbytes(5)]).hex(":")


# Each of the next functions returns the same part of a packet twice: for tunlab and for scapy.


def echo(rng):
    kind, identifier, number = rng.choice([128, 129]), rng.randrange(1 << 16), rng.randrange(1 << 16)
    data, layer = rng.randbytes(9), scapy.ICMPv6EchoRequest if kind == 128 else scapy.ICMPv6EchoReply
    ours = ICMPv6Echo(kind, identifier=identifier, sequence_number=number)
    return [ours, data], layer(id=identifier, seq=number, data=data)


def error(rng):
    quote = build(IPv6(src=address(rng), dst=address(rng)), UDP(1, 2), rng.randbytes(rng.randrange(30)))
    code, number = rng.randrange(8), rng.randrange(1 << 32)
    ours, theirs = rng.choice(
        [
            (ICMPv6.unreachable(code), scapy.ICMPv6DestUnreach(code=code)),
            (ICMPv6.packet_too_big(number), scapy.ICMPv6PacketTooBig(mtu=number)),
            (ICMPv6.time_exceeded(code), scapy.ICMPv6TimeExceeded(code=code)),
            (ICMPv6.parameter_problem(number, code), scapy.ICMPv6ParamProblem(code=code, ptr=number)),
        ]
    )
    return [ours, quote], theirs / scapy.Raw(quote)


def options(rng):
    """Return random options of neighbor discovery twice: as bytes that tunlab builds, and as layers of scapy."""
    lifetime, prefix, size = rng.randrange(1 << 32), address(rng), rng.randrange(129)
    link, number = mac(rng), rng.randrange(1 << 32)
    servers = [address(rng) for _ in range(rng.randrange(1, 4))]
    pairs = [
        (nd_options.SourceLinkLayerAddress(link), scapy.ICMPv6NDOptSrcLLAddr(lladdr=link)),
        (nd_options.TargetLinkLayerAddress(link), scapy.ICMPv6NDOptDstLLAddr(lladdr=link)),
        (nd_options.MTU(number), scapy.ICMPv6NDOptMTU(mtu=number)),
        (
            nd_options.PrefixInformation(prefix, size, 0x80, lifetime, number),
            scapy.ICMPv6NDOptPrefixInfo(
                prefix=prefix, prefixlen=size, L=1, A=0, validlifetime=lifetime, preferredlifetime=number
            ),
        ),
        (
            nd_options.RecursiveDNSServer(servers, lifetime),
            scapy.ICMPv6NDOptRDNSS(dns=servers, lifetime=lifetime),
        ),
        (nd_options.NDOption(200, b"six by"), scapy.ICMPv6NDOptUnknown(type=200, len=1, data=b"six by")),
    ]
    chosen = rng.sample(pairs, rng.randrange(4))
    layers = scapy.NoPayload()
    for _, layer in reversed(chosen):
        layers = layer / layers if layers else layer
    return [ours for ours, _ in chosen], layers


def discovery(rng):
    ours, theirs = options(rng)
    target, destination, number = address(rng), address(rng), rng.randrange(1 << 16)
    flags = rng.randrange(8)
    message, layer = rng.choice(
        [
            (RouterSolicitation(options=ours), scapy.ICMPv6ND_RS()),
            (
                RouterAdvertisement(
                    options=ours,
                    flags=flags,
                    preference=1,
                    cur_hop_limit=number & 0xFF,
                    router_lifetime=number,
                    reachable_time=number + 1,
                    retrans_timer=number + 2,
                ),
                scapy.ICMPv6ND_RA(
                    M=flags >> 2,
                    O=flags >> 1 & 1,
                    H=flags & 1,
                    prf=1,
                    chlim=number & 0xFF,
                    routerlifetime=number,
                    reachabletime=number + 1,
                    retranstimer=number + 2,
                ),
            ),
            (NeighborSolicitation(target=target, options=ours), scapy.ICMPv6ND_NS(tgt=target)),
            (
                NeighborAdvertisement(target=target, options=ours, flags=flags),
                scapy.ICMPv6ND_NA(tgt=target, R=flags >> 2, S=flags >> 1 & 1, O=flags & 1),
            ),
            (
                Redirect(target=target, destination=destination, options=ours),
                scapy.ICMPv6ND_Redirect(tgt=target, dst=destination),
            ),
        ]
    )
    return [message], layer / theirs if theirs else layer


def listeners(rng):
    group, sources = address(rng, "ff02"), [address(rng) for _ in range(rng.randrange(3))]
    records = [(rng.randrange(1, 7), address(rng, "ff02"), [address(rng)]) for _ in range(rng.randrange(3))]
    delay = rng.randrange(1 << 16)
    message, layer = rng.choice(
        [
            (MLD.query(group, max_response_code=delay), scapy.ICMPv6MLQuery(mladdr=group, mrd=delay)),
            (MLD.report(group), scapy.ICMPv6MLReport(mladdr=group)),
            (MLD.done(group), scapy.ICMPv6MLDone(mladdr=group)),
            (
                MLD.query(group, max_response_code=delay, sources=sources, robustness=3, interval_code=9),
                scapy.ICMPv6MLQuery2(mladdr=group, mrd=delay, sources=sources, QRV=3, QQIC=9),
            ),
            (
                MLDv2Report.of([MulticastAddressRecord(*each) for each in records]),
                scapy.ICMPv6MLReport2(
                    records=[
                        scapy.ICMPv6MLDMultAddrRec(rtype=kind, dst=multicast, sources=each)
                        for kind, multicast, each in records
                    ]
                ),
            ),
        ]
    )
    alert = HopByHop(options=[ipv6_options.RouterAlert()])
    return [alert, message], scapy.IPv6ExtHdrHopByHop(options=[scapy.RouterAlert()]) / layer


def extensions(rng):
    """Return extension headers before UDP or TCP, whose checksum covers the final destination of a route."""
    value, data, number = rng.randrange(1 << 16), rng.randbytes(4), rng.randrange(1 << 32)
    stops = [address(rng) for _ in range(rng.randrange(1, 4))]
    route = b"".join(scapy.inet_pton(scapy.socket.AF_INET6, stop) for stop in stops)
    left = rng.randrange(len(stops) + 1)
    pairs = [
        (
            HopByHop(options=[ipv6_options.RouterAlert(value)]),
            scapy.IPv6ExtHdrHopByHop(options=[scapy.RouterAlert(value=value)]),
        ),
        (
            DestinationOptions(options=[ipv6_options.IPv6Option(0x1E, data)]),
            scapy.IPv6ExtHdrDestOpt(options=[scapy.HBHOptUnknown(otype=0x1E, optdata=data)]),
        ),
        (
            Routing(type=0, segments_left=left, data=bytes(4) + route),
            scapy.IPv6ExtHdrRouting(type=0, segleft=left, addresses=stops),
        ),
        (Fragment(identification=number), scapy.IPv6ExtHdrFragment(id=number)),
    ]
    chosen = [pair for pair in pairs if rng.random() < 0.5]
    ours, theirs = rng.choice(
        [
            (UDP(value, 7), scapy.UDP(sport=value, dport=7)),
            (TCP(value, 7, number, window=9), scapy.TCP(sport=value, dport=7, seq=number, window=9, flags=0)),
        ]
    )
    layers = theirs / scapy.Raw(data)
    for _, layer in reversed(chosen):
        layers = layer / layers
    return [*(header for header, _ in chosen), ours, data], layers


FAMILIES = {each.__name__: each for each in (echo, error, discovery, listeners, extensions)}


def packets(family):
    """Yield random packets, each with the bytes that tunlab builds and the bytes that scapy builds."""
    rng = random.Random(SEED)
    for _ in range(ROUNDS):
        ip = IPv6(
            src=address(rng), dst=address(rng), hop_limit=rng.randrange(256), flow_label=rng.randrange(1 << 20),
            dscp=rng.randrange(64), ecn=rng.randrange(4),
        )  # fmt: skip
        parts, layers = FAMILIES[family](rng)
        theirs = scapy.IPv6(src=ip.src, dst=ip.dst, hlim=ip.hop_limit, fl=ip.flow_label, tc=ip.traffic_class) / layers
        yield Packet.of(ip, *parts), build(ip, *parts), bytes(theirs)


@pytest.mark.parametrize("family", FAMILIES)
def test_scapy_and_tunlab_build_the_same_bytes(family):
    for packet, ours, theirs in packets(family):
        assert ours.hex(" ", 4) == theirs.hex(" ", 4), packet


@pytest.mark.parametrize("family", FAMILIES)
def test_packets_built_by_scapy_parse_to_the_same_headers(family):
    for packet, _, theirs in packets(family):
        got = parse(theirs)
        assert build(got) == theirs
        assert [type(header) for header in got] == [type(header) for header in packet]
        assert {each.verdict for each in checksums(got)} == {Verdict.GOOD}
