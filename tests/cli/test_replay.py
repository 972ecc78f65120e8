"""`tunlab replay`: what a kernel did once, it does again."""

import json

import pytest
from msgspec.structs import replace

from tests.report.recordings import KERNEL, PEER, framed, recorded
from tunlab.kernel.namespace_record import NamespaceRecord
from tunlab.kernel.netns import Netns
from tunlab.kernel.tun import TunDevice
from tunlab.packet import ICMP, TCP, UDP, IPv4, TCPFlag, build, reply, tcp_options
from tunlab.recorder import PcapngWriter, read_pcapng
from tunlab.report.evidence import RecordedNetns, gather_evidence, to_pcapng
from tunlab.traffic import Tun

OPTIONS = [tcp_options.MSS(1460), tcp_options.SACKPermitted(), tcp_options.Timestamps(5, 0), tcp_options.NOP,
           tcp_options.WindowScale(7)]  # fmt: skip
SYN = TCP(src_port=4000, dst_port=80, seq=100, flags=TCPFlag.SYN, options=OPTIONS)
ECHO = (IPv4(src=PEER, dst=KERNEL), ICMP.echo_request(7, 1), b"ping")


def conversation(tun):
    """A handshake, data, a closed port of either kind, an echo, and what the kernel begins by itself."""
    tun.listen(80)
    tun.bind(53)
    to_kernel = IPv4(src=PEER, dst=KERNEL)
    tun.inject(to_kernel, SYN)
    came = tun.expect(TCP)
    clock = [tcp_options.NOP, tcp_options.NOP, tcp_options.Timestamps(6, came.tcp.timestamps[0])]
    _, ack = reply(came)
    ack = replace(ack, options=b"".join(map(bytes, clock)))
    tun.inject(to_kernel, ack)
    tun.inject(to_kernel, replace(ack, flags=TCPFlag.ACK | TCPFlag.PSH), b"hello")
    tun.expect(TCP)
    tun.inject(to_kernel, replace(ack, seq=ack.seq + 105), b"out of order")
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
    tun.inject(ip, replace(tcp, seq=7, flags=TCPFlag.SYN | TCPFlag.ACK))
    tun.expect(TCP)
    tun.ping(PEER, count=2)
    tun.expect(ICMP)
    tun.expect(ICMP)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The conversation as a real kernel had it."""
    file = tmp_path_factory.mktemp("recording") / "x.pcapng"
    with Tun.create(f"{KERNEL}/24") as tun:
        conversation(tun)
        with PcapngWriter.create(file) as writer:
            interface = writer.add_interface(tun.ifname)
            for entry in tun.record:
                writer.write(interface, entry.octets, time_ns=entry.time_ns, direction=entry.direction)
    return file


@pytest.fixture
def written(tmp_path):
    """`written(packets)`: the path of a recording of them."""

    def write(packets, **words):
        file = tmp_path / "y.pcapng"
        file.write_bytes(recorded(packets, **words))
        return str(file)

    return write


class TestTheSame:
    @pytest.mark.slow
    def test_a_kernel_does_the_same_again(self, tunlab, saved):
        said = tunlab("replay", str(saved))
        lines = said.out.splitlines()
        assert [line for line in lines if "injected" not in line and "same" not in line] == []
        assert said.status == 0
        records = list(read_pcapng(saved))
        assert [line.split()[:2] for line in lines] == [
            [str(number), record.direction] for number, record in enumerate(records, 1)
        ]
        assert said.err.splitlines() == [
            "a kernel with the address 10.1.2.1/24, listening on TCP 80, UDP 53",
            f"{len(records)} packets replayed: the same came out",
        ]

    @pytest.mark.slow
    def test_what_is_injected_follows_the_kernels_own_numbers(self, tunlab, saved):
        said = tunlab("replay", str(saved), "--json")
        outcomes = [json.loads(line) for line in said.out.splitlines()]
        changed = [each["number"] for each in outcomes if each["recorded"]["octets"] != each["now"]["octets"]]
        injected = {each["number"] for each in outcomes if each["direction"] == "in"}
        assert len(injected.intersection(changed)) == 4  # three segments of one connection, a SYN-ACK of the other
        assert all(each["same"] and each["differences"] == [] for each in outcomes)
        assert all("bad" not in each["now"]["summary"] for each in outcomes)

    @pytest.mark.slow
    def test_exactly_the_same_it_is_not(self, tunlab, saved):
        said = tunlab("replay", str(saved), "--exact", "--timeout", "0.2")
        assert said.status == 1
        assert "TCP.seq: recorded " in said.out

    @pytest.mark.slow
    def test_at_the_recorded_pace_too(self, tunlab, written):
        packets = [("in", *ECHO), ("out", *reply_of(ECHO)), ("in", *ECHO), ("out", *reply_of(ECHO))]
        said = tunlab("replay", written(packets, step=200_000_000), "--pace")
        assert said.status == 0, said

    def test_in_a_lab_that_is_up(self, tunlab, lab, written):
        packets = [("in", *ECHO), ("out", *reply_of(ECHO))]
        assert tunlab("replay", written(packets), lab.name) == (
            0,
            (
                "    1 in   injected: IP 10.1.2.2 > 10.1.2.1: ICMP echo request, id 7, seq 1, length 12\n"
                "    2 out      same: IP 10.1.2.1 > 10.1.2.2: ICMP echo reply, id 7, seq 1, length 12\n"
            ),
            "2 packets replayed: the same came out\n",
        )


def reply_of(request):
    ip, icmp, payload = request
    return IPv4(src=ip.dst, dst=ip.src), ICMP.echo_reply(icmp.identifier, icmp.sequence_number), payload


class TestDifferent:
    def test_the_fields_that_differ_are_told(self, tunlab, written):
        ip, icmp, payload = reply_of(ECHO)
        said = tunlab("replay", written([("in", *ECHO), ("out", replace(ip, ttl=63), icmp, payload)]))
        assert (said.status, said.out.splitlines()[1:]) == (
            1,
            [
                "    2 out  recorded: IP 10.1.2.1 > 10.1.2.2: ICMP echo reply, id 7, seq 1, length 12",
                "         ≠     now: IP 10.1.2.1 > 10.1.2.2: ICMP echo reply, id 7, seq 1, length 12",
                "                     IPv4.ttl: recorded 63, now 64",
            ],
        )
        assert said.err.splitlines()[-1] == "2 packets replayed: 1 of 1 that came out differ"

    def test_what_does_not_come_is_told(self, tunlab, written):
        said = tunlab("replay", written([("in", *ECHO), *[("out", *reply_of(ECHO))] * 2]), "--timeout", "0.1")
        assert (said.status, said.out.splitlines()[2:]) == (
            1,
            [
                "    3 out  recorded: IP 10.1.2.1 > 10.1.2.2: ICMP echo reply, id 7, seq 1, length 12",
                "         ≠     now: nothing",
            ],
        )

    def test_what_was_not_recorded_is_told(self, tunlab, written):
        said = tunlab("replay", written([("in", *ECHO)]), "--json")
        assert said.status == 1
        last = json.loads(said.out.splitlines()[-1])
        assert (last["number"], last["direction"], last["recorded"], last["same"]) == (None, "out", None, False)

    def test_one_that_is_missing_does_not_shift_the_rest(self, tunlab, written):
        missing = (IPv4(src=KERNEL, dst=PEER), UDP(src_port=9, dst_port=9), b"of a program")
        packets = [("in", *ECHO), ("out", *missing), ("out", *reply_of(ECHO))]
        said = tunlab("replay", written(packets), "--timeout", "0.1")
        assert said.status == 1
        assert "≠     now: nothing" in said.out
        assert said.out.splitlines()[-1].startswith("    3 out      same: ")

    def test_a_bad_checksum_stays_as_bad_as_it_was(self, tunlab, written):
        bad = (IPv4(src=PEER, dst=KERNEL), ICMP(checksum=1), b"ping")
        status, out, err = tunlab("replay", written([("in", *bad)]))
        assert (status, len(out.splitlines())) == (0, 1)
        assert "[bad ICMP checksum 0x0001, should be 0x192f]" in out
        assert err.splitlines()[-1] == "1 packet replayed: nothing came out of tun0, then and now"


class TestOfARouter:
    """A kernel with one TUN cannot be what the recorded one was: better no answer than a false one."""

    @pytest.fixture
    def router(self, tmp_path):
        """`router(**fields)`: the recording of a real one that was given a datagram for beyond tun1, or for `dst`."""

        def save(**fields):
            file = tmp_path / "router.pcapng"
            with Netns.create(sysctls={"net.ipv4.ip_forward": "1"}) as netns, NamespaceRecord.open(netns) as record:
                first = Tun.create(f"{KERNEL}/24", netns=netns)
                with first, Tun.create("10.1.3.1/24", ifname="tun1", netns=netns) as second:
                    ip = IPv4(**{"src": PEER, "dst": "10.1.3.9", **fields})
                    first.inject(ip, UDP(src_port=1, dst_port=2), b"for another")
                    evidence = gather_evidence([RecordedNetns("kernel", netns, record, [first, second])])
            file.write_bytes(to_pcapng(evidence, comment=""))
            return str(file)

        return save

    @pytest.mark.parametrize(
        ("fields", "seen"),
        [
            ({}, "packet 1 was not for this kernel: it was passed on, by tun1 as 2"),
            ({"dst": "10.1.2.9"}, "packet 2 tells its sender of a better way"),
            ({"ttl": 1}, "packet 2 tells its sender that the TTL ran out on the way"),
            ({"dst": "192.0.2.1"}, "packet 2 tells its sender that it knows no way to a network"),
        ],
        ids=["passed on", "passed back", "TTL", "no route"],
    )
    def test_it_is_said_that_it_cannot_be_played(self, tunlab, router, fields, seen):
        file = router(**fields)
        said = tunlab("replay", file)
        assert (said.status, said.out) == (65, "")
        assert said.err.startswith(f"tunlab: {file}: {seen}")
        assert "only what one kernel with one TUN answers can be replayed" in said.err

    def test_a_lab_may_be_what_it_was(self, tunlab, lab, router):
        said = tunlab("replay", router(), lab.name, "--interface", "tun0")
        assert (said.status, said.err) == (0, "1 packet replayed: nothing came out of tun0, then and now\n")

    def test_one_that_is_translated_is_known_too(self, tunlab, tmp_path):
        file = tmp_path / "nat.pcapng"
        with PcapngWriter.create(file) as writer:
            inside, outside = writer.add_interface("tun0"), writer.add_interface("tun1")
            before = build(IPv4(src=PEER, dst="192.0.2.1", ttl=9), UDP(src_port=1, dst_port=2), b"x")
            after = build(IPv4(src="10.1.3.1", dst="192.0.2.1", ttl=8), UDP(src_port=77, dst_port=2), b"x")
            writer.write(inside, before, time_ns=0, direction="in")
            writer.write(outside, after, time_ns=0, direction="out")
        assert "it was passed on, by tun1" in tunlab("replay", str(file)).err

    def test_another_namespace_of_the_recording_is_not_it(self, tunlab, tmp_path):
        file = tmp_path / "lab.pcapng"
        with PcapngWriter.create(file) as writer:
            ours, others = writer.add_interface("host:tun0"), writer.add_interface("router:eth0")
            writer.write(ours, build(*ECHO), time_ns=0, direction="in")
            writer.write(others, build(replace(ECHO[0], ttl=63), *ECHO[1:]), time_ns=0, direction="out")
            writer.write(ours, build(*reply_of(ECHO)), time_ns=0, direction="out")
        assert tunlab("replay", str(file)).status == 0


class TestRefused:
    def test_nothing_to_inject(self, tunlab, written):
        file = written([("out", *ECHO)])
        said = tunlab("replay", file)
        assert said.status == 65
        assert said.err.startswith(f'tunlab: {file}: no packet has the direction "in"')

    def test_without_directions_the_address_tells_them(self, tunlab, written):
        file = written([(None, *ECHO), (None, *reply_of(ECHO)), (None, IPv4(src="192.0.2.1", dst="192.0.2.2"), UDP())])
        assert tunlab("replay", file).status == 65
        said = tunlab("replay", file, "--address", KERNEL)
        assert (said.status, len(said.out.splitlines())) == (0, 2)

    def test_a_packet_that_was_cut(self, tunlab, tmp_path):
        file = tmp_path / "cut.pcapng"
        with PcapngWriter.create(file) as writer:
            writer.write(writer.add_interface("tun0", snaplen=24), build(*ECHO), time_ns=0, direction="in")
        said = tunlab("replay", str(file))
        assert (said.status, said.err) == (
            65,
            (
                f"tunlab: {file}: packet 1 was cut when it was recorded: it had 32 octets, and 24 were kept;"
                " record it whole\n"
            ),
        )

    def test_several_interfaces_and_no_choice(self, tunlab, tmp_path):
        file = tmp_path / "two.pcapng"
        with PcapngWriter.create(file) as writer:
            for name in ("tun0", "tun1"):
                writer.write(writer.add_interface(name), build(*ECHO), time_ns=0, direction="in")
        said = tunlab("replay", str(file))
        assert said.status == 65
        assert "choose one by --interface: tun0, tun1" in said.err
        assert tunlab("replay", str(file), "-i", "tun1").out.count("injected") == 1

    @pytest.mark.parametrize("address", ["nonsense", "10.1.2.300", "10.1.2.1/33"])
    def test_an_address_that_is_none(self, tunlab, written, address):
        said = tunlab("replay", written([("in", *ECHO)]), "--address", address)
        assert said.status != 0
        assert address in said.err
        assert "Traceback" not in said.err

    def test_a_recording_that_ends_early_is_played_as_far_as_it_goes(self, tunlab, tmp_path):
        file = tmp_path / "early.pcapng"
        file.write_bytes(recorded([("in", *ECHO), ("out", *reply_of(ECHO)), ("in", *ECHO)])[:-20])
        said = tunlab("replay", str(file))
        assert (said.status, len(said.out.splitlines())) == (65, 2)
        assert said.err.splitlines()[-1].startswith(f"tunlab: {file}: the pcapng file ends inside")

    def test_a_file_that_is_not_there(self, tunlab, tmp_path):
        said = tunlab("replay", str(tmp_path / "absent"))
        assert said.status == 71
        assert "No such file" in said.err

    def test_a_lab_whose_tun_somebody_reads(self, tunlab, lab, written):
        with lab.netns() as netns, TunDevice.attach(netns, "tun0"):
            said = tunlab("replay", written([("in", *ECHO)]), "lab")
        assert said.status == 73
        assert "another program is attached to tun0 in lab 'lab'" in said.err

    def test_ethernet_is_played_by_its_datagrams(self, tunlab, tmp_path):
        file = tmp_path / "frames.pcapng"
        file.write_bytes(framed(build(*ECHO), build(*reply_of(ECHO))))
        assert tunlab("replay", str(file), "--address", KERNEL).status == 0
