"""`tunlab replay`: the kernel's answers are the same or differ, and recordings that cannot be replayed."""

import json

import pytest

from tests.report.recordings import KERNEL, PEER, framed, recorded
from tunlab.kernel.device.tun import TunDevice
from tunlab.packet import (
    ARP,
    ICMP,
    TCP,
    UDP,
    VLAN,
    DestinationOptions,
    Ethernet,
    HopByHop,
    ICMPv6,
    IPv4,
    IPv6,
    MLDv2Report,
    NeighborSolicitation,
    TCPFlag,
    build,
    ipv6_options,
    reply,
    tcp_options,
)
from tunlab.recorder import LINKTYPE_ETHERNET, PcapngWriter, read_pcapng
from tunlab.traffic import Tun

OPTIONS = [tcp_options.MSS(1460), tcp_options.SACKPermitted(), tcp_options.Timestamps(5, 0), tcp_options.NOP,
           tcp_options.WindowScale(7)]  # fmt: skip


SYN = TCP(src_port=4000, dst_port=80, seq=100, flags=TCPFlag.SYN, options=OPTIONS)
ECHO = (IPv4(src=PEER, dst=KERNEL), ICMP.echo_request(7, 1), b"ping")
KERNEL6, PEER6 = "fd00::1", "fd00::2"
ECHO6 = (IPv6(src=PEER6, dst=KERNEL6), ICMPv6.echo_request(7, 1), b"ping")


def conversation(tun, echo, icmp_class):
    """Exchange TCP, UDP and ICMP packets with a kernel, which accepts, refuses and starts connections."""
    to_kernel = echo[0]
    peer = to_kernel.src
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
    tun.expect(icmp_class)
    tun.inject(to_kernel, TCP(src_port=4001, dst_port=81, flags=TCPFlag.SYN))
    tun.expect(TCP)
    tun.inject(*echo)
    tun.expect(icmp_class)
    tun.connect(peer, 8080)
    ip, tcp = reply(tun.expect(TCP.where(dst_port=8080)))
    tun.inject(ip, tcp.replace(seq=7, flags=TCPFlag.SYN | TCPFlag.ACK))
    tun.expect(TCP)
    tun.ping(peer, count=2)
    tun.expect(icmp_class)
    tun.expect(icmp_class)


@pytest.fixture(scope="module")
def saved_recording(tmp_path_factory):
    """Record the packets of `conversation` over IPv4 and over IPv6, and return the file."""
    file = tmp_path_factory.mktemp("recording") / "x.pcapng"
    with Tun.create([f"{KERNEL}/24", f"{KERNEL6}/64"]) as tun:
        tun.listen(80)
        tun.bind(53)
        conversation(tun, ECHO, ICMP)
        conversation(tun, ECHO6, ICMPv6)
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
    return type(ip)(src=ip.dst, dst=ip.src), type(icmp).echo_reply(icmp.identifier, icmp.sequence_number), payload


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
        "replaying to a new namespace with address 10.1.2.1/24, fd00::1/64, listening on TCP 80, UDP 53",
        f"{len(records)} packets replayed: the answers are the same",
    ]


def test_replay_names_the_packets_that_it_skips(tunlab, tmp_path):
    link = Ethernet(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
    frames = [
        ("in", build(link, ARP(sender_protocol=PEER, target_protocol=KERNEL))),
        ("in", build(link, VLAN(vid=7), *ECHO)),
        ("out", build(link, VLAN(vid=7), IPv6(src=KERNEL6, dst=PEER6), NeighborSolicitation(target=PEER6))),
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
        "    3 out   skipped: vlan 7, IP6 fd00::1 > fd00::2: ICMPv6 neighbor solicitation, who has fd00::2, length 24",
        "    5 in    skipped: 5 bytes, not a frame: Ethernet header needs 14 bytes, got 5 (input ended at offset 5)",
    ]
    assert result.err.splitlines()[20] == "            skipped: 2 more packets"
    assert result.err.splitlines()[-1] == "2 packets replayed, 22 skipped: the answers are the same"


@pytest.mark.slow
def test_replay_adapts_sequence_numbers_of_injected_segments(tunlab, saved_recording):
    result = tunlab("replay", str(saved_recording), "--json")
    outcomes = [json.loads(line) for line in result.out.splitlines()]
    changed = [each["number"] for each in outcomes if each["recorded"]["bytes"] != each["now"]["bytes"]]
    injected = {each["number"] for each in outcomes if each["direction"] == "in"}
    # Over IPv4 and over IPv6: three segments of a connection and the SYN-ACK of another one.
    assert len(injected.intersection(changed)) == 8
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


def test_replay_of_ipv6_with_a_different_answer_prints_the_field_and_exits_1(tunlab, write_recording):
    ip, icmp, payload = reply_of(ECHO6)
    result = tunlab("replay", write_recording([("in", *ECHO6), ("out", ip.replace(dscp=1), icmp, payload)]))
    assert (result.status, result.out.splitlines()[-1].strip()) == (1, "IPv6.dscp: recorded 1, now 0")


def test_replay_accepts_another_flow_label_unless_exact(tunlab, write_recording):
    ip, icmp, payload = reply_of(ECHO6)
    file = write_recording([("in", *ECHO6), ("out", ip.replace(flow_label=0), icmp, payload)])
    assert tunlab("replay", file).status == 0
    result = tunlab("replay", file, "--exact", "--timeout", "0.1")
    assert result.status == 1
    assert "IPv6.flow_label: recorded 0, now " in result.out


def test_replay_of_an_ipv6_frame_with_extension_header_compares_the_answer(tunlab, tmp_path):
    link = Ethernet(dst="02:00:00:00:00:01", src="02:00:00:00:00:02")
    ip, *rest = ECHO6
    file = tmp_path / "frames.pcapng"
    frames = [("in", link, ip, DestinationOptions(), *rest), ("out", link, *reply_of(ECHO6))]
    file.write_bytes(recorded(frames, linktype=LINKTYPE_ETHERNET, name="eth0"))
    result = tunlab("replay", str(file))
    assert (result.status, len(result.out.splitlines())) == (0, 2)


def test_replay_skips_recorded_multicast_listener_reports(tunlab, write_recording):
    alert = HopByHop(options=[ipv6_options.RouterAlert()])
    report = (IPv6(src="fe80::1", dst="ff02::16"), alert, MLDv2Report.of([]))
    result = tunlab("replay", write_recording([("out", *report), ("in", *ECHO6), ("out", *reply_of(ECHO6))]))
    assert (result.status, len(result.out.splitlines())) == (0, 2)
    assert result.err.splitlines()[0].startswith("    1 out   skipped: IP6 fe80::1 > ff02::16: ICMPv6 ")


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


def test_replay_address_option_is_accepted_for_each_ip_version(tunlab, write_recording):
    file = write_recording([(None, *each) for each in (ECHO, reply_of(ECHO), ECHO6, reply_of(ECHO6))])
    result = tunlab("replay", file, "--address", f"{KERNEL}/16", "--address", "FD00:0::1")
    assert (result.status, len(result.out.splitlines())) == (0, 4)
    assert result.err.splitlines()[0] == "replaying to a new namespace with address 10.1.2.1/16, fd00::1/64"


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
