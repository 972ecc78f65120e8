"""Frames and tunnels compared with tshark and scapy: every field of link, ARP and GRE headers, both ways with scapy."""

import json
import random
import subprocess
import warnings
from collections import defaultdict

import pytest

from tunlab.packet import (
    ARP,
    GRE,
    LLC,
    SNAP,
    UDP,
    VLAN,
    Ethernet,
    GREFlag,
    IPv4,
    IPv6,
    Packet,
    Verdict,
    build,
    checksums,
    complete,
    findings,
    parse,
)
from tunlab.recorder import LINKTYPE_ETHERNET, PcapngWriter

S_TAG = 0x88A8
# tshark shows two service tags as a pair, with these names and the type of the second one only.
ALIASES = {"ieee8021ad.svid": "ieee8021ad.id", "ieee8021ad.cvid": "ieee8021ad.id"}


def mac(rng, *, group=False):
    first = rng.randrange(256) & 0xFE | group
    return bytes([first, *rng.randbytes(5)])


def address(rng):
    return f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(256)}"


def arp(rng):
    return ARP(
        operation=rng.choice([1, 2, 3, 4, 8, 9]),
        sender_hardware=rng.choice([None, mac(rng)]),
        sender_protocol=address(rng),
        target_hardware=mac(rng),
        target_protocol=address(rng),
    )


def datagram(rng):
    six = IPv6(src=f"fd00::{rng.randrange(1, 0xFFFF):x}", dst=f"fd01::{rng.randrange(1, 0xFFFF):x}")
    outer = rng.choice([IPv4(src=address(rng), dst=address(rng), identification=rng.randrange(0xFFFF)), six])
    return outer, UDP(9999, 9998), rng.randbytes(rng.randrange(40))


def inner(rng):
    return (arp(rng),) if rng.random() < 0.4 else datagram(rng)


def tunnel(rng):
    outer = datagram(rng)[0]
    if rng.random() < 0.3:
        return (outer, *datagram(rng))
    key, number = rng.choice([None, rng.randrange(1 << 32)]), rng.choice([None, rng.randrange(1 << 32)])
    flags = GREFlag.KEY * (key is not None) | GREFlag.SEQUENCE_NUMBER * (number is not None)
    gre = GRE(flags=flags | rng.choice([0, GREFlag.CHECKSUM]), key=key, sequence_number=number)
    return (outer, gre, *(frame(rng, depth=1) if rng.random() < 0.4 else datagram(rng)))


def frame(rng, depth=0):
    """Return the parts of a random frame."""
    head = [Ethernet(dst=mac(rng, group=rng.random() < 0.3), src=mac(rng))]
    depth_of_tags = rng.choice([0, 0, 1, 2, 3])
    head += [VLAN(pcp=rng.randrange(8), dei=rng.randrange(2), vid=rng.randrange(1, 4095)) for _ in range(depth_of_tags)]
    kind = rng.random()
    if kind < 0.2:
        return [*head, LLC(), SNAP(), *inner(rng)]
    if kind < 0.3:
        # tshark does not dissect what follows these service access points.
        return [*head, LLC(dsap=0x70, ssap=0x71, control=rng.choice([0x03, 0x0305, 0x0802])), rng.randbytes(9)]
    if kind < 0.6 and not depth:
        return [*head, *tunnel(rng)]
    return [*head, *inner(rng)]


def frames(seed, count):
    rng = random.Random(seed)
    made = [Packet.of(*frame(rng)) for _ in range(count)]
    return [packet.padded() if rng.random() < 0.5 else packet for packet in made]


def flatten(tree, found):
    """Collect every field of tshark's JSON tree in the order of the packet."""
    for name, value in tree:
        if isinstance(value, list) and value and isinstance(value[0], tuple):
            flatten(value, found)
        else:
            found[ALIASES.get(name, name)].append(value)
    return found


def number(value):
    return int(value, 16 if value.startswith("0x") else 10)


def expected_fields(packet):
    """Return the values of the fields that tshark should show, by its names, outermost first."""
    found = defaultdict(list)
    before, paired = None, False
    for header in packet:
        if isinstance(header, Ethernet):
            found["eth.dst"].append(header.dst)
            found["eth.src"].append(header.src)
            found["eth.len" if header.length is not None else "eth.type"].append(header.type)
        elif isinstance(header, VLAN):
            service = before.type == S_TAG
            for name, value in (("priority", header.pcp), ("dei", header.dei), ("id", header.vid)):
                found[f"{'ieee8021ad' if service else 'vlan'}.{name}"].append(value)
            paired = service and header.type == S_TAG and not paired
            if service and not paired:
                found["ieee8021ah.etype"].append(header.type)
            elif not service:
                found["vlan.len" if header.length is not None else "vlan.etype"].append(header.type)
        elif isinstance(header, LLC):
            found["llc.dsap"].append(header.dsap)
            found["llc.ssap"].append(header.ssap)
            found["llc.control"].append(header.control)
        elif isinstance(header, SNAP):
            found["llc.oui"].append(header.oui)
            found["llc.type"].append(header.type)
        elif isinstance(header, ARP):
            for name, value in (
                ("hw.type", header.hardware_type), ("proto.type", header.protocol_type),
                ("hw.size", header.hardware_length), ("proto.size", header.protocol_length),
                ("opcode", header.operation), ("src.hw_mac", header.sender_hardware),
                ("src.proto_ipv4", header.sender_protocol), ("dst.hw_mac", header.target_hardware),
                ("dst.proto_ipv4", header.target_protocol),
            ):  # fmt: skip
                found[f"arp.{name}"].append(value)
        elif isinstance(header, GRE):
            found["gre.flags_and_version"].append(header.flags << 12)
            found["gre.proto"].append(header.protocol_type)
            if header.checksum is not None:
                found["gre.checksum"].append(header.checksum)
                found["gre.checksum.status"].append(1)  # good
            if header.key is not None:
                found["gre.key"].append(header.key)
            if header.sequence_number is not None:
                found["gre.sequence_number"].append(header.sequence_number)
        elif isinstance(header, IPv4):
            found["ip.src"].append(header.src)
            found["ip.dst"].append(header.dst)
            found["ip.proto"].append(header.protocol)
        elif isinstance(header, IPv6):
            found["ipv6.src"].append(header.src)
            found["ipv6.dst"].append(header.dst)
            found["ipv6.nxt"].append(header.next_header)
        before = header
    if UDP in packet:
        found["udp.length"].append(packet.udp.length)
    return found


@pytest.mark.slow
def test_fields_of_frames_equal_tshark(tmp_path, need):
    packets = frames(1, 400)
    with PcapngWriter.create(path := tmp_path / "frames.pcapng") as writer:
        interface = writer.add_interface("eth0", linktype=LINKTYPE_ETHERNET)
        for packet in packets:
            writer.write(interface, build(packet), time_ns=0)
    command = [need("tshark"), "-n", "-r", str(path), "-T", "json"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    listed = json.loads(output, object_pairs_hook=lambda pairs: pairs)
    assert len(listed) == len(packets)
    compared = defaultdict(int)
    for packet, entry in zip(packets, listed, strict=True):
        seen = flatten(entry, defaultdict(list))
        parsed = parse(build(packet), 1)
        assert parsed == complete(packet)
        assert findings(parsed) == []
        for name, values in expected_fields(parsed).items():
            got = [each if isinstance(values[0], str) else number(each) for each in seen[name]]
            assert got == values, (name, packet)
            compared[name] += len(values)
    assert min(compared.values()) > 20
    assert len(compared) > 35


@pytest.fixture(scope="module")
def scapy():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing scapy warns about deprecated ciphers
        from scapy.layers import inet, inet6, l2
    from types import SimpleNamespace

    names = ("Ether", "Dot3", "Dot1Q", "Dot1AD", "LLC", "SNAP", "ARP", "GRE")
    return SimpleNamespace(
        **{name: getattr(l2, name) for name in names}, IP=inet.IP, UDP=inet.UDP, IPv6=inet6.IPv6, layers=l2
    )


@pytest.mark.slow
def test_frames_built_by_scapy_are_parsed_and_built_to_the_same_bytes(scapy):
    ether = scapy.Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    length = scapy.Dot3(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    four, six = scapy.IP(src="10.0.0.1", dst="10.0.0.2"), scapy.IPv6(src="fd00::1", dst="fd00::2")
    udp = scapy.UDP(sport=9999, dport=9998) / b"data"
    message = scapy.ARP(op=2, hwsrc="02:00:00:00:00:01", psrc="10.0.0.1", hwdst="02:00:00:00:00:02", pdst="10.0.0.2")
    made = {
        "arp": (ether / message, [Ethernet, ARP]),
        "udp": (ether / four / udp, [Ethernet, IPv4, UDP]),
        "ipv6 in vlan": (ether / scapy.Dot1Q(vlan=7, prio=5) / six / udp, [Ethernet, VLAN, IPv6, UDP]),
        "qinq": (ether / scapy.Dot1AD(vlan=3) / scapy.Dot1Q(vlan=4) / message, [Ethernet, VLAN, VLAN, ARP]),
        "snap": (
            length / scapy.LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / scapy.SNAP(OUI=0, code=0x800) / four / udp,
            [Ethernet, LLC, SNAP, IPv4, UDP],
        ),
        "gre": (ether / four / scapy.GRE() / four / udp, [Ethernet, IPv4, GRE, IPv4, UDP]),
        "gre with options": (
            ether / four / scapy.GRE(chksum_present=1, key_present=1, key=5, seqnum_present=1) / six / udp,
            [Ethernet, IPv4, GRE, IPv6, UDP],
        ),
        "teb": (ether / four / scapy.GRE(proto=0x6558) / ether / message, [Ethernet, IPv4, GRE, Ethernet, ARP]),
        "ipip": (ether / four / four / udp, [Ethernet, IPv4, IPv4, UDP]),
        "6in4": (ether / four / six / udp, [Ethernet, IPv4, IPv6, UDP]),
        "4in6": (ether / six / four / udp, [Ethernet, IPv6, IPv4, UDP]),
    }  # fmt: skip
    for name, (packet, kinds) in made.items():
        data = bytes(packet)
        parsed = parse(data, 1)
        assert [type(header) for header in parsed] == kinds, name
        assert build(parsed) == data, name
        assert findings(parsed) == [], name
        # With None in the derived fields, `build` computes the same bytes.
        bare = [
            header.replace(
                **{field: None for field in header.DERIVED if field not in ("key", "sequence_number", "flags")}
            )
            for header in parsed
        ]
        assert build(*bare, parsed.payload) == data, name


@pytest.mark.slow
def test_scapy_parses_the_same_headers_and_builds_the_same_bytes(scapy):
    verdicts = 0
    for packet in frames(2, 200):
        data = build(packet)
        seen = scapy.Ether(data)
        assert bytes(seen) == data
        layers = {"ARP": ARP, "Dot1Q": VLAN, "LLC": LLC, "SNAP": SNAP, "GRE": GRE}
        for name, kind in layers.items():
            count = sum(type(header) is kind for header in packet)
            if kind is VLAN:
                count -= seen.haslayer(scapy.Dot1AD) and len([1 for each in _chain(seen) if type(each) is scapy.Dot1AD])
            if kind is GRE and packet.get(GRE) is not None:
                verdicts += sum(each.layer == "GRE" and each.verdict is Verdict.GOOD for each in checksums(packet))
            assert sum(type(each) is getattr(scapy, name) for each in _chain(seen)) == count, (name, packet)
    assert verdicts > 10


def _chain(packet):
    while packet:
        yield packet
        packet = packet.payload
