"""Writing pcapng files, checked with Wireshark's programs, and extracting IPv4 packets from frames."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunlab.errors import MalformedError, PacketError
from tunlab.packet import UDP, IPv6, build
from tunlab.recorder import (
    LINKTYPE_ETHERNET,
    LINKTYPE_IPV4,
    LINKTYPE_IPV6,
    LINKTYPE_LINUX_SLL,
    LINKTYPE_LINUX_SLL2,
    LINKTYPE_LOOP,
    LINKTYPE_NULL,
    LINKTYPE_RAW,
    MAX_PACKET_SIZE,
    PcapngWriter,
    RecordedInterface,
    RecordedPacket,
    extract_ip,
    parse_record,
    read_pcapng,
)

# A UDP datagram from 10.0.0.1 port 1 to 10.0.0.2 port 9: the IPv4 packet, and an Ethernet frame without padding.
DATAGRAM = bytes.fromhex("450000210001000040110000 0a000001 0a000002 0001000900 0d0000") + b"hello"
FRAME = bytes.fromhex("020000000002 020000000001 0800") + DATAGRAM
NOW = 1_700_000_000_123_456_789


def run(*command):
    """Return a program's output; fail the test if the program is missing or fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tshark(path, *fields):
    """Return the values of `fields` for each packet."""
    options = [word for field in fields for word in ("-e", field)]
    out = run("tshark", "-n", "-r", path, "-T", "fields", "-E", "separator=|", *options)
    return [tuple(line.split("|")) for line in out.splitlines()]


def two_interfaces(path):
    """Write a file with every feature of the writer, and return it with its packets."""
    with PcapngWriter.create(path, comment="test_the_kernel_answers") as writer:
        tun = writer.add_interface("tun0")
        veth = writer.add_interface("Größe0", linktype=LINKTYPE_ETHERNET, snaplen=40)
        writer.write(tun, DATAGRAM, time_ns=NOW, direction="in", comment="did not match: ttl 64, wanted 63")
        writer.write(veth, FRAME, time_ns=NOW + 1, direction="out", comment="zwei — two", dropped=3)
        writer.write(tun, DATAGRAM[:30], time_ns=NOW + 2, wire_length=1500)
        writer.statistics(tun, time_ns=NOW + 3, received=70_000, dropped=5)
    on_tun, on_veth = RecordedInterface(0, "tun0", 101, 0, 10**9), RecordedInterface(1, "Größe0", 1, 40, 10**9)
    return [
        RecordedPacket(on_tun, NOW, DATAGRAM, 33, "in", "did not match: ttl 64, wanted 63"),
        RecordedPacket(on_veth, NOW + 1, FRAME[:40], 47, "out", "zwei — two", 3),
        RecordedPacket(on_tun, NOW + 2, DATAGRAM[:30], 1500),
    ]


# ---- written files, as Wireshark's programs read them -------------------------------------------------------------


def test_tshark_reads_written_packets(tmp_path):
    two_interfaces(path := tmp_path / "a.pcapng")
    assert tshark(path, "frame.interface_name", "frame.time_epoch", "frame.len", "frame.cap_len", "ip.dst") == [
        ("tun0", "1700000000.123456789", "33", "33", "10.0.0.2"),
        ("Größe0", "1700000000.123456790", "47", "40", "10.0.0.2"),
        ("tun0", "1700000000.123456791", "1500", "30", "10.0.0.2"),
    ]
    assert tshark(path, "frame.packet_flags_direction", "frame.drop_count", "frame.comment") == [
        ("0x00000001", "", "did not match: ttl 64, wanted 63"),
        ("0x00000002", "3", "zwei — two"),
        ("", "", ""),
    ]


def test_tshark_reads_comments_interfaces_and_statistics(tmp_path):
    two_interfaces(path := tmp_path / "a.pcapng")
    output = run("tshark", "-X", "read_format:MIME Files Format", "-r", path, "-V")
    system = os.uname()
    for text in (
        "Comment = test_the_kernel_answers",
        f"OS Description = {system.sysname} {system.release}",
        "User Application = tunlab",
        "Timestamp Resolution = 10^-9 (nanoseconds)",
        "Number of Received Packets = 70000",
        "Number of Packets Dropped by OS = 5",
    ):
        assert f"Option: {text}" in output
    assert "Section Length: -1" in output  # The section's length is unknown (-1), because the section grows.
    assert output.count("Option: End of Options") == 6  # Every block of the file has options, except one packet block.
    assert "Expert Info" not in output


def test_capinfos_reports_strict_time_order(tmp_path):
    two_interfaces(path := tmp_path / "a.pcapng")
    report = run("capinfos", path)
    assert "Strict time order:   True" in report
    assert "Number of interfaces in file: 2" in report


@pytest.mark.parametrize(("form", "tick"), [("pcap", 1000), ("nsecpcap", 1), ("pcapng", 1)])
def test_packets_rewritten_by_editcap_are_read_back(tmp_path, form, tick):
    # Classic pcap has a single interface, no directions and no comments.
    with PcapngWriter.create(tmp_path / "a.pcapng") as writer:
        tun = writer.add_interface("tun0")
        for n in range(3):
            data = DATAGRAM[: 33 - n]
            writer.write(tun, data, time_ns=NOW + n * 10**9, direction="out", comment=f"no {n}", wire_length=33)
    run("editcap", "-F", form, tmp_path / "a.pcapng", tmp_path / "b")
    records = list(read_pcapng(tmp_path / "b"))
    assert [(r.data, r.wire_length) for r in records] == [(DATAGRAM[: 33 - n], 33) for n in range(3)]
    assert [r.time_ns for r in records] == [(NOW + n * 10**9) // tick * tick for n in range(3)]
    assert {r.interface.linktype for r in records} == {LINKTYPE_RAW}
    if form == "pcapng":
        assert [(r.interface.name, r.direction, r.comment) for r in records] == [
            ("tun0", "out", f"no {n}") for n in range(3)
        ]


def test_packets_merged_by_mergecap_are_read_back(tmp_path):
    written = two_interfaces(tmp_path / "a.pcapng")
    with PcapngWriter.create(tmp_path / "b.pcapng") as writer:
        writer.write(writer.add_interface("tun7"), DATAGRAM, time_ns=NOW - 1)
    run("mergecap", "-w", tmp_path / "c.pcapng", tmp_path / "a.pcapng", tmp_path / "b.pcapng")
    records = list(read_pcapng(tmp_path / "c.pcapng"))
    assert [(r.interface.name, r.time_ns) for r in records] == [("tun7", NOW - 1)] + [
        (r.interface.name, r.time_ns) for r in written
    ]
    assert [(r.data, r.wire_length, r.direction, r.comment, r.dropped) for r in records[1:]] == [
        (r.data, r.wire_length, r.direction, r.comment, r.dropped) for r in written
    ]


# ---- files that are written and read back ---------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
packets = st.tuples(
    st.integers(0, 2), st.binary(max_size=70), st.integers(0, 2**64 - 1), st.sampled_from(["in", "out", None]), texts,
    st.integers(0, 2**32 - 71), st.none() | st.integers(0, 2**64 - 1),
)  # fmt: skip


@given(
    st.lists(st.tuples(texts, st.integers(0, 65535), st.integers(0, 2**32 - 1)), min_size=3, max_size=3),
    st.lists(packets, max_size=5),
)
def test_written_packets_are_read_back(interfaces, packets):
    writer = PcapngWriter(file := io.BytesIO())
    for name, linktype, snaplen in interfaces:
        writer.add_interface(name, linktype=linktype, snaplen=snaplen)
    expected = []
    for index, data, time_ns, direction, comment, more, dropped in packets:
        wire_length = len(data) + more
        writer.write(
            index, data, time_ns=time_ns, direction=direction, comment=comment, wire_length=wire_length,
            dropped=dropped,
        )  # fmt: skip
        interface = RecordedInterface(index, *interfaces[index], 10**9)
        kept = data[: interface.snaplen] if interface.snaplen else data
        expected.append(RecordedPacket(interface, time_ns, kept, wire_length, direction, comment, dropped))
    assert list(read_pcapng(file.getvalue())) == expected


def test_create_opens_a_file_whose_packets_can_be_read_back(tmp_path):
    written = two_interfaces(path := tmp_path / "a.pcapng")
    assert list(read_pcapng(path)) == list(read_pcapng(str(path))) == list(read_pcapng(path.read_bytes())) == written
    with path.open("rb") as file:
        assert list(read_pcapng(file)) == written
        assert not file.closed


def test_packets_in_pipe_are_read_while_written():
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as source, os.fdopen(writing, "wb", buffering=0) as sink:
        writer = PcapngWriter(sink)
        tun = writer.add_interface("tun0")
        records = read_pcapng(source)
        for n in range(3):
            writer.write(tun, DATAGRAM, time_ns=n)
            assert next(records).time_ns == n
        assert not sink.closed


def test_write_to_buffered_file_flushes_each_packet(tmp_path):
    with (tmp_path / "buffered").open("wb", buffering=1 << 20) as file:
        writer = PcapngWriter(file)
        writer.write(writer.add_interface("tun0"), DATAGRAM, time_ns=NOW)
        assert [r.data for r in read_pcapng(file.name)] == [DATAGRAM]


def test_killed_writer_process_loses_no_packet(tmp_path):
    script = """
import os, signal, sys
from tunlab.recorder import PcapngWriter
with PcapngWriter.create(sys.argv[1]) as writer:
    tun = writer.add_interface("tun0")
    for n in range(50):
        writer.write(tun, bytes(n), time_ns=n)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    path = tmp_path / "killed.pcapng"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", script, path], cwd=root).returncode == -signal.SIGKILL
    assert [r.data for r in read_pcapng(path)] == [bytes(n) for n in range(50)]
    assert len(tshark(path, "frame.number")) == 50


def test_interface_name_that_is_not_utf8_is_escaped():
    writer = PcapngWriter(file := io.BytesIO())
    writer.write(writer.add_interface(os.fsdecode(b"t\xff")), b"", time_ns=0)
    assert next(read_pcapng(file.getvalue())).interface.name == r"t\udcff"


# ---- values that the writer cannot encode --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "field", "sentence"),
    [
        ({"interface": 1}, "interface_id", "from 0 to 0. Give a number returned by add_interface"),
        ({"interface": -1}, "interface_id", "from 0 to 0. Give a number returned by add_interface"),
        ({"time_ns": -1}, "time_ns", "an integer from 0"),
        ({"time_ns": 1 << 64}, "time_ns", f"to {2**64 - 1}"),
        ({"time_ns": 0.5}, "time_ns", "an integer"),
        ({"wire_length": 32}, "original_packet_length", "from 33"),
        ({"wire_length": 1 << 32}, "original_packet_length", f"to {2**32 - 1}"),
        ({"direction": "inbound"}, "direction", 'not a direction. Give "in", "out" or None.'),
        ({"dropped": -1}, "dropped", "from 0"),
        ({"comment": "x" * 65_536}, "option_length", "to 65535. Shorten the text"),
        ({"data": bytes(MAX_PACKET_SIZE + 1)}, "captured_packet_length", "to 262144. Set a snaplen"),
    ],
)
def test_write_of_unencodable_value_raises_and_writes_nothing(arguments, field, sentence):
    writer = PcapngWriter(file := io.BytesIO())
    writer.add_interface("tun0")
    before = file.getvalue()
    with pytest.raises(MalformedError) as caught:
        writer.write(**({"interface": 0, "data": DATAGRAM, "time_ns": NOW} | arguments))
    assert (caught.value.field, caught.value.exit_code) == (field, 65)
    assert sentence in str(caught.value)
    assert file.getvalue() == before


def test_write_before_add_interface_raises():
    writer = PcapngWriter(io.BytesIO())
    with pytest.raises(MalformedError) as caught:
        writer.write(0, DATAGRAM, time_ns=NOW)
    assert "Call add_interface first." in str(caught.value)


def test_largest_packet_is_read_by_tshark(tmp_path):
    with PcapngWriter.create(path := tmp_path / "a") as writer:
        writer.write(writer.add_interface("tun0"), bytes(MAX_PACKET_SIZE), time_ns=0)
    assert tshark(path, "frame.len") == [(str(MAX_PACKET_SIZE),)]


@pytest.mark.parametrize(("linktype", "snaplen"), [(-1, 0), (65_536, 0), (1, -1), (1, 1 << 32)])
def test_add_interface_with_unencodable_value_raises(linktype, snaplen):
    writer = PcapngWriter(io.BytesIO())
    with pytest.raises(MalformedError):
        writer.add_interface("tun0", linktype=linktype, snaplen=snaplen)


# ---- extraction of the IPv4 packet from a frame ------------------------------------------------------------------

MACS = FRAME[:12]
CARRIERS = {
    "raw": (LINKTYPE_RAW, DATAGRAM),
    "ipv4": (LINKTYPE_IPV4, DATAGRAM),
    "ethernet": (LINKTYPE_ETHERNET, FRAME),
    "padded": (LINKTYPE_ETHERNET, FRAME + bytes(60 - len(FRAME))),
    "802.1Q": (LINKTYPE_ETHERNET, MACS + b"\x81\x00\x00\x05\x08\x00" + DATAGRAM + bytes(9)),
    "802.1ad": (LINKTYPE_ETHERNET, MACS + b"\x88\xa8\x00\x05\x81\x00\x00\x06\x08\x00" + DATAGRAM),
    "before 802.1ad": (LINKTYPE_ETHERNET, MACS + b"\x91\x00\x00\x05\x08\x00" + DATAGRAM),
    "null": (LINKTYPE_NULL, b"\x02\0\0\0" + DATAGRAM),
    "null, swapped": (LINKTYPE_NULL, b"\0\0\0\x02" + DATAGRAM),
    "loop": (LINKTYPE_LOOP, b"\0\0\0\x02" + DATAGRAM),
    "sll": (LINKTYPE_LINUX_SLL, bytes.fromhex("0000 0001 0006 020000000001 0000 0800") + DATAGRAM),
    "sll2": (LINKTYPE_LINUX_SLL2, bytes.fromhex("0800 0000 00000001 0001 00 06 020000000001 0000") + DATAGRAM),
}


@pytest.mark.parametrize("carrier", CARRIERS)
def test_extract_ip_agrees_with_tshark(tmp_path, carrier):
    linktype, data = CARRIERS[carrier]
    with PcapngWriter.create(path := tmp_path / "a") as writer:
        writer.write(writer.add_interface("x", linktype=linktype), data, time_ns=0)
    assert tshark(path, "ip.src", "udp.dstport", "data.data") == [("10.0.0.1", "9", b"hello".hex())]
    (record,) = read_pcapng(path)
    assert extract_ip(record) == DATAGRAM
    packet = parse_record(record)
    assert (packet.ip.src, packet.udp.dst_port, packet.payload) == ("10.0.0.1", 9, b"hello")
    assert (build(packet), packet.time) == (data, 0)


@pytest.mark.parametrize(
    ("linktype", "data", "expected"),
    [
        (LINKTYPE_RAW, b"", None),
        # IP version 5: packets with a wrong version are kept, because a test may send them.
        (LINKTYPE_RAW, b"\x55" + DATAGRAM[1:], b"\x55" + DATAGRAM[1:]),
        (12, DATAGRAM, DATAGRAM),
        (LINKTYPE_NULL, b"\x63\0\0\0" + DATAGRAM, None),
        (LINKTYPE_NULL, b"\x02\0\0\0", None),
        (LINKTYPE_ETHERNET, MACS + b"\x08\x06" + DATAGRAM, None),
        (LINKTYPE_ETHERNET, MACS + b"\x08\x00", None),
        (LINKTYPE_ETHERNET, MACS + b"\x81\x00\x00", None),
        (LINKTYPE_ETHERNET, b"", None),
        (LINKTYPE_ETHERNET, FRAME[:20], DATAGRAM[:6]),
        (LINKTYPE_ETHERNET, MACS + b"\x08\x00\x45\0\0\x09" + bytes(16), b"\x45\0\0\x09" + bytes(16)),
        (LINKTYPE_ETHERNET, FRAME + bytes(30), DATAGRAM + bytes(30)),  # The frame is too long to have padding.
        (LINKTYPE_LINUX_SLL, bytes(10), None),
        (147, DATAGRAM, None),
    ],
)
def test_extract_ip_returns_malformed_packet_but_none_without_ip(linktype, data, expected):
    assert extract_ip(RecordedPacket(RecordedInterface(0, "", linktype), 0, data, len(data))) == expected


@pytest.mark.parametrize("linktype", [LINKTYPE_RAW, LINKTYPE_IPV6, LINKTYPE_ETHERNET, LINKTYPE_NULL])
def test_extract_ip_returns_ipv6_packet(linktype):
    packet = build(IPv6(src="fd00::1", dst="fd00::2"), UDP(1, 9), b"hello")
    head = {LINKTYPE_ETHERNET: MACS + b"\x86\xdd", LINKTYPE_NULL: b"\x1e\0\0\0"}.get(linktype, b"")
    record = RecordedPacket(RecordedInterface(0, "", linktype), None, head + packet, len(head + packet))
    assert extract_ip(record) == packet
    assert (parse_record(record).ip.src, parse_record(record).time) == ("fd00::1", None)


def test_parse_record_with_unknown_link_type_raises():
    with pytest.raises(PacketError, match=r"^link type 147 is not known. Give one of 0, 1, 12, 101, "):
        parse_record(RecordedPacket(RecordedInterface(0, "", 147), 0, DATAGRAM, len(DATAGRAM)))
