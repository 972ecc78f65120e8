"""`tunlab replay`: the kernel's answers are the same or differ, and recordings that cannot be replayed."""

import json

import pytest

from tests.report.recordings import KERNEL, PEER, framed, recorded
from tunlab.kernel.device.netns_capture import NetnsCapture
from tunlab.kernel.device.tun import TunDevice
from tunlab.kernel.namespace.netns import Netns
from tunlab.packet import ARP, ICMP, TCP, UDP, VLAN, Ethernet, ICMPv6, IPv4, IPv6, TCPFlag, build, reply, tcp_options
from tunlab.recorder import LINKTYPE_ETHERNET, PcapngWriter, read_pcapng
from tunlab.report.evidence import RecordedNetns, gather_evidence, to_pcapng
from tunlab.traffic import Tun

OPTIONS = [tcp_options.MSS(1460), tcp_options.SACKPermitted(), tcp_options.Timestamps(5, 0), tcp_options.NOP,
           tcp_options.WindowScale(7)]  # fmt: skip


SYN = TCP(src_port=4000, dst_port=80, seq=100, flags=TCPFlag.SYN, options=OPTIONS)
ECHO = (IPv4(src=PEER, dst=KERNEL), ICMP.echo_request(7, 1), b"ping")


def conversation(tun):
    """Exchange TCP, UDP and ICMP packets with a kernel, which accepts, refuses and starts connections."""
    tun.listen(80)
    tun.bind(53)
    to_kernel = IPv4(src=PEER, dst=KERNEL)
    tun.inject(to_kernel, SYN)
    segment = tun.expect(TCP)
    timestamp_option = [tcp_options.NOP, tcp_options.NOP, tcp_options.Timestamps(6, segment.tcp.timestamps[0])]
    _, ack = reply(segment)
    ack = ack.replace(options=b"".join(map(bytes, timestamp_option)))
    tun.inject(to_kernel, ack)
    tun.inject(to_kernel, ack.replace(flags=TCPFlag.ACK | TCPFlag.PSH), b"hello")
    tun.expect(TCP)
    tun.inject(to_kernel, ack.replace(seq=ack.seq + 105), b"out of order")
    assert tun.expect(TCP).tcp.sack
    tun.inject(to_kernel, UDP(src_port=9, dst_port=53), b"taken")
    tun.inject(to_kernel, UDP(src_port=9, dst_port=54), b"refused")
    tun.expect(ICMP)
    tun.inject(to_kernel, TCP(src_port=4001, dst_port=81, flags=TCPFlag.SYN))
    tun.expect(TCP)
    tun.inject(*ECHO)
    tun.expect(ICMP)
    tun.connect(PEER, 8080)
    ip, tcp = reply(tun.expect(TCP.where(dst_port=8080)))
    tun.inject(ip, tcp.replace(seq=7, flags=TCPFlag.SYN | TCPFlag.ACK))
    tun.expect(TCP)
    tun.ping(PEER, count=2)
    tun.expect(ICMP)
    tun.expect(ICMP)


@pytest.fixture(scope="module")
def saved_recording(tmp_path_factory):
    """Record the packets of `conversation` and return the file."""
    file = tmp_path_factory.mktemp("recording") / "x.pcapng"
    with Tun.create(f"{KERNEL}/24") as tun:
        conversation(tun)
        with PcapngWriter.create(file) as writer:
            interface = writer.add_interface(tun.ifname)
            for entry in tun.record:
                writer.write(interface, entry.data, time_ns=entry.time_ns, direction=entry.direction)
    return file


@pytest.fixture
def write_recording(tmp_path):
    """Return a function that writes packets to a recording and returns its path."""

    def write(packets, **words):
        file = tmp_path / "y.pcapng"
        file.write_bytes(recorded(packets, **words))
        return str(file)

    return write


def reply_of(request):
    ip, icmp, payload = request
    return IPv4(src=ip.dst, dst=ip.src), ICMP.echo_reply(icmp.identifier, icmp.sequence_number), payload


@pytest.fixture
def record_router(tmp_path):
    """Return a function that records a router with two TUNs while it forwards a packet with the given IPv4 fields."""

    def save(**fields):
        file = tmp_path / "router.pcapng"
        with Netns.create(sysctls={"net.ipv4.ip_forward": "1"}) as netns, NetnsCapture.open(netns) as record:
            first = Tun.create(f"{KERNEL}/24", netns=netns)
            with first, Tun.create("10.1.3.1/24", ifname="tun1", netns=netns) as second:
                ip = IPv4(**{"src": PEER, "dst": "10.1.3.9", **fields})
                first.inject(ip, UDP(src_port=1, dst_port=2), b"for another")
                evidence = gather_evidence([RecordedNetns("kernel", netns, record, [first, second])])
        file.write_bytes(to_pcapng(evidence, comment=""))
        return str(file)

    return save


@pytest.mark.slow
def test_replay_to_the_same_kernel_reports_the_same_answers(tunlab, saved_recording):
    result = tunlab("replay", str(saved_recording))
    lines = result.out.splitlines()
    assert [line for line in lines if "injected" not in line and "same" not in line] == []
    assert result.status == 0
    records = list(read_pcapng(saved_recording))
    assert [line.split()[:2] for line in lines] == [
        [str(number), record.direction] for number, record in enumerate(records, 1)
    ]
    assert result.err.splitlines() == [
        "replaying to a new namespace with address 10.1.2.1/24, listening on TCP 80, UDP 53",
        f"{len(records)} packets replayed: the answers are the same",
    ]


def test_replay_names_the_packets_that_it_skips(tunlab, tmp_path):
    link = Ethernet(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
    six = IPv6(src="fd00::1", dst="fd00::2")
    frames = [
        ("in", build(link, ARP(sender_protocol=PEER, target_protocol=KERNEL))),
        ("in", build(link, VLAN(vid=7), *ECHO)),
        ("out", build(link, VLAN(vid=7), six, ICMPv6.echo_request(1, 1))),
        ("out", build(link, *reply_of(ECHO))),
        *[("in", b"short")] * 20,
    ]
    with PcapngWriter.create(file := tmp_path / "frames.pcapng") as writer:
        interface = writer.add_interface("eth0", linktype=LINKTYPE_ETHERNET)
        for number, (direction, frame) in enumerate(frames):
            writer.write(interface, frame, time_ns=number, direction=direction)
    result = tunlab("replay", str(file))
    assert result.status == 0
    assert [line.split()[:2] for line in result.out.splitlines()] == [["2", "in"], ["4", "out"]]
    assert result.err.splitlines()[:3] == [
        f"    1 in    skipped: ARP who has {KERNEL}? tell {PEER}",
        "    3 out   skipped: vlan 7, IP6 fd00::1 > fd00::2: ICMPv6 echo request, id 1, seq 1, length 8",
        "    5 in    skipped: 5 bytes, not a frame: Ethernet header needs 14 bytes, got 5 (input ended at offset 5)",
    ]
    assert result.err.splitlines()[20] == "            skipped: 2 more packets"


@pytest.mark.slow
def test_replay_adapts_sequence_numbers_of_injected_segments(tunlab, saved_recording):
    result = tunlab("replay", str(saved_recording), "--json")
    outcomes = [json.loads(line) for line in result.out.splitlines()]
    changed = [each["number"] for each in outcomes if each["recorded"]["bytes"] != each["now"]["bytes"]]
    injected = {each["number"] for each in outcomes if each["direction"] == "in"}
    assert len(injected.intersection(changed)) == 4  # three segments of a connection and the SYN-ACK of another one
    assert all(each["same"] and each["differences"] == [] for each in outcomes)
    assert all("bad" not in each["now"]["summary"] for each in outcomes)


@pytest.mark.slow
def test_replay_with_exact_option_reports_different_sequence_numbers(tunlab, saved_recording):
    result = tunlab("replay", str(saved_recording), "--exact", "--timeout", "0.2")
    assert result.status == 1
    assert "TCP.seq: recorded " in result.out


@pytest.mark.slow
def test_replay_with_pace_option_reports_the_same_answers(tunlab, write_recording):
    packets = [("in", *ECHO), ("out", *reply_of(ECHO)), ("in", *ECHO), ("out", *reply_of(ECHO))]
    result = tunlab("replay", write_recording(packets, step=200_000_000), "--pace")
    assert result.status == 0, result


def test_replay_into_a_running_lab_reports_the_same_answers(tunlab, lab, write_recording):
    packets = [("in", *ECHO), ("out", *reply_of(ECHO))]
    assert tunlab("replay", write_recording(packets), lab.name) == (
        0,
        (
            "    1 in   injected: IP 10.1.2.2 > 10.1.2.1: ICMP echo request, id 7, seq 1, length 12\n"
            "    2 out      same: IP 10.1.2.1 > 10.1.2.2: ICMP echo reply, id 7, seq 1, length 12\n"
        ),
        "2 packets replayed: the answers are the same\n",
    )


def test_replay_with_a_different_answer_prints_the_field_and_exits_1(tunlab, write_recording):
    ip, icmp, payload = reply_of(ECHO)
    result = tunlab("replay", write_recording([("in", *ECHO), ("out", ip.replace(ttl=63), icmp, payload)]))
    assert (result.status, result.out.splitlines()[1:]) == (
        1,
        [
            "    2 out  recorded: IP 10.1.2.1 > 10.1.2.2: ICMP echo reply, id 7, seq 1, length 12",
            "         ≠     now: IP 10.1.2.1 > 10.1.2.2: ICMP echo reply, id 7, seq 1, length 12",
            "                     IPv4.ttl: recorded 63, now 64",
        ],
    )
    assert result.err.splitlines()[-1] == "2 packets replayed: 1 of 1 answers differ"


def test_replay_with_a_missing_answer_reports_it_and_exits_1(tunlab, write_recording):
    result = tunlab("replay", write_recording([("in", *ECHO), *[("out", *reply_of(ECHO))] * 2]), "--timeout", "0.1")
    assert (result.status, result.out.splitlines()[2:]) == (
        1,
        [
            "    3 out  recorded: IP 10.1.2.1 > 10.1.2.2: ICMP echo reply, id 7, seq 1, length 12",
            "         ≠     now: nothing",
        ],
    )


def test_replay_with_an_additional_answer_reports_it_and_exits_1(tunlab, write_recording):
    result = tunlab("replay", write_recording([("in", *ECHO)]), "--json")
    assert result.status == 1
    last = json.loads(result.out.splitlines()[-1])
    assert (last["number"], last["direction"], last["recorded"], last["same"]) == (None, "out", None, False)


def test_replay_after_a_missing_answer_still_matches_later_answers(tunlab, write_recording):
    missing = (IPv4(src=KERNEL, dst=PEER), UDP(src_port=9, dst_port=9), b"of a program")
    packets = [("in", *ECHO), ("out", *missing), ("out", *reply_of(ECHO))]
    result = tunlab("replay", write_recording(packets), "--timeout", "0.1")
    assert result.status == 1
    assert "≠     now: nothing" in result.out
    assert result.out.splitlines()[-1].startswith("    3 out      same: ")


def test_replay_injects_a_recorded_bad_checksum_unchanged(tunlab, write_recording):
    bad = (IPv4(src=PEER, dst=KERNEL), ICMP(checksum=1), b"ping")
    status, out, err = tunlab("replay", write_recording([("in", *bad)]))
    assert (status, len(out.splitlines())) == (0, 1)
    assert "[bad ICMP checksum 0x0001, should be 0x192f]" in out
    assert err.splitlines()[-1] == "1 packet replayed: no answer from tun0, as recorded"


@pytest.mark.parametrize(
    ("fields", "seen"),
    [
        ({}, "packet 1 was forwarded to tun1 as packet 2"),
        ({"dst": "10.1.2.9"}, "packet 2 is a router's ICMP message (redirect)"),
        ({"ttl": 1}, "packet 2 is a router's ICMP message (TTL exceeded in transit)"),
        ({"dst": "192.0.2.1"}, "packet 2 is a router's ICMP message (network unreachable)"),
    ],
    ids=["passed on", "passed back", "TTL", "no route"],
)
def test_replay_of_a_router_recording_exits_65(tunlab, record_router, fields, seen):
    file = record_router(**fields)
    result = tunlab("replay", file)
    assert (result.status, result.out) == (65, "")
    assert result.err.startswith(f"tunlab: {file}: {seen}")
    assert "the recorded kernel was a router or firewall" in result.err


def test_replay_of_a_router_recording_into_a_running_lab_exits_0(tunlab, lab, record_router):
    result = tunlab("replay", record_router(), lab.name, "--interface", "tun0")
    assert (result.status, result.err) == (0, "1 packet replayed: no answer from tun0, as recorded\n")


def test_replay_of_a_nat_router_recording_prints_an_error(tunlab, tmp_path):
    file = tmp_path / "nat.pcapng"
    with PcapngWriter.create(file) as writer:
        inside, outside = writer.add_interface("tun0"), writer.add_interface("tun1")
        before = build(IPv4(src=PEER, dst="192.0.2.1", ttl=9), UDP(src_port=1, dst_port=2), b"x")
        after = build(IPv4(src="10.1.3.1", dst="192.0.2.1", ttl=8), UDP(src_port=77, dst_port=2), b"x")
        writer.write(inside, before, time_ns=0, direction="in")
        writer.write(outside, after, time_ns=0, direction="out")
    assert "was forwarded to tun1" in tunlab("replay", str(file)).err


def test_replay_ignores_recorded_interfaces_of_other_nodes(tunlab, tmp_path):
    file = tmp_path / "lab.pcapng"
    with PcapngWriter.create(file) as writer:
        host, others = writer.add_interface("host:tun0"), writer.add_interface("router:eth0")
        writer.write(host, build(*ECHO), time_ns=0, direction="in")
        writer.write(others, build(ECHO[0].replace(ttl=63), *ECHO[1:]), time_ns=0, direction="out")
        writer.write(host, build(*reply_of(ECHO)), time_ns=0, direction="out")
    assert tunlab("replay", str(file)).status == 0


def test_replay_of_recording_without_injected_packets_exits_65(tunlab, write_recording):
    file = write_recording([("out", *ECHO)])
    result = tunlab("replay", file)
    assert result.status == 65
    assert result.err.startswith(f'tunlab: {file}: no packet has the direction "in"')


def test_replay_with_address_option_takes_packet_directions_from_that_address(tunlab, write_recording):
    file = write_recording(
        [(None, *ECHO), (None, *reply_of(ECHO)), (None, IPv4(src="192.0.2.1", dst="192.0.2.2"), UDP())]
    )
    assert tunlab("replay", file).status == 65
    result = tunlab("replay", file, "--address", KERNEL)
    assert (result.status, len(result.out.splitlines())) == (0, 2)


def test_replay_of_a_packet_truncated_by_snaplen_exits_65(tunlab, tmp_path):
    file = tmp_path / "cut.pcapng"
    with PcapngWriter.create(file) as writer:
        writer.write(writer.add_interface("tun0", snaplen=24), build(*ECHO), time_ns=0, direction="in")
    result = tunlab("replay", str(file))
    assert (result.status, result.err) == (
        65,
        (f"tunlab: {file}: packet 1 was truncated: 24 of its 32 bytes were recorded. Record whole packets.\n"),
    )


def test_replay_of_two_recorded_interfaces_needs_the_interface_option(tunlab, tmp_path):
    file = tmp_path / "two.pcapng"
    with PcapngWriter.create(file) as writer:
        for name in ("tun0", "tun1"):
            writer.write(writer.add_interface(name), build(*ECHO), time_ns=0, direction="in")
    result = tunlab("replay", str(file))
    assert result.status == 65
    assert "several interfaces (tun0, tun1). Choose one with --interface" in result.err
    assert tunlab("replay", str(file), "-i", "tun1").out.count("injected") == 1


@pytest.mark.parametrize("address", ["nonsense", "10.1.2.300", "10.1.2.1/33"])
def test_replay_with_invalid_address_option_prints_an_error(tunlab, write_recording, address):
    result = tunlab("replay", write_recording([("in", *ECHO)]), "--address", address)
    assert result.status != 0
    assert address in result.err
    assert "Traceback" not in result.err


def test_replay_of_a_truncated_recording_injects_complete_packets_then_exits_65(tunlab, tmp_path):
    file = tmp_path / "early.pcapng"
    file.write_bytes(recorded([("in", *ECHO), ("out", *reply_of(ECHO)), ("in", *ECHO)])[:-20])
    result = tunlab("replay", str(file))
    assert (result.status, len(result.out.splitlines())) == (65, 2)
    assert result.err.splitlines()[-1].startswith(f"tunlab: {file}: the pcapng file ends inside")


def test_replay_of_missing_file_exits_71(tunlab, tmp_path):
    result = tunlab("replay", str(tmp_path / "absent"))
    assert result.status == 71
    assert "No such file" in result.err


def test_replay_into_a_lab_whose_tun_another_program_has_open_exits_73(tunlab, lab, write_recording):
    with lab.netns() as netns, TunDevice.attach(netns, "tun0"):
        result = tunlab("replay", write_recording([("in", *ECHO)]), "lab")
    assert result.status == 73
    assert "another program has tun0 in lab 'lab' open" in result.err


def test_replay_of_an_ethernet_recording_injects_its_ip_packets(tunlab, tmp_path):
    file = tmp_path / "frames.pcapng"
    file.write_bytes(framed(build(*ECHO), build(*reply_of(ECHO))))
    assert tunlab("replay", str(file), "--address", KERNEL).status == 0
