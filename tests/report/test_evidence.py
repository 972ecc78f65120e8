"""Tests of `gather_evidence`, which joins captured packets with what the test did, and of the pcapng file with them."""

import socket
import subprocess

import pytest

from tests.report.test_ladder import PING, observation
from tunlab.kernel.device.netns_capture import NetnsCapture
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.link_events import wait_until_running
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.packet import ICMP, UDP, IPv4, build, findings
from tunlab.recorder import read_pcapng
from tunlab.report.evidence import Evidence, RecordedNetns, gather_evidence, loss_sentences, to_pcapng
from tunlab.report.ladder import draw_ladder
from tunlab.traffic import Tun


def echo(tun, number=1):
    return IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(1, number), b"payload"


def seen(evidence):
    return [(each.device, each.direction, each.comment.split(" at ")[0]) for each in evidence.observations]


class TestGatherEvidence:
    def test_gather_evidence_returns_each_packet_once_with_its_comment(self, recorded_netns, recorded_tun):
        recorded_tun.inject(*echo(recorded_tun))
        recorded_tun.expect(ICMP)
        recorded_tun.inject(*echo(recorded_tun, 2))
        evidence = gather_evidence([recorded_netns])
        assert seen(evidence) == [
            ("tun0", "in", "injected"),
            ("tun0", "out", "matched expectation 1"),
            ("tun0", "in", "injected"),
            ("tun0", "out", "not read by the test"),
        ]
        assert "test_evidence.py:" in evidence.observations[0].comment
        assert [each.time for each in evidence.observations] == sorted(each.time for each in evidence.observations)

    def test_gather_evidence_with_identical_packets_keeps_their_comments_in_order(self, recorded_netns, recorded_tun):
        recorded_tun.inject(*echo(recorded_tun))
        recorded_tun.inject(*echo(recorded_tun))
        lines = [each.comment for each in gather_evidence([recorded_netns]).observations if each.direction == "in"]
        assert lines == sorted(lines, key=lambda line: int(line.rpartition(":")[2]))
        assert len(set(lines)) == 2

    def test_gather_evidence_includes_packet_written_directly_to_the_device(self, recorded_netns, recorded_tun):
        recorded_tun.device.write(b"\x45" + bytes(19))
        assert [
            (each.direction, each.packet is not None) for each in gather_evidence([recorded_netns]).observations
        ] == [("in", True)]

    def test_gather_evidence_without_capture_returns_packets_recorded_by_tun(self, recorded_netns, recorded_tun):
        recorded_tun.inject(*echo(recorded_tun))
        recorded_netns.record = None
        assert seen(gather_evidence([recorded_netns])) == [
            ("tun0", "in", "injected"),
            ("tun0", "out", "not read by the test"),
        ]

    @pytest.mark.slow
    def test_gather_evidence_with_full_capture_buffer_takes_packets_from_tun(self, recorded_netns, recorded_tun):
        payload = b"x" * 1400
        for number in range(15_000):
            recorded_tun.inject(
                IPv4(src=recorded_tun.peer, dst=recorded_tun.address, identification=number), UDP(1, 2), payload
            )
            if not number % 500:
                recorded_tun.capture()
        evidence = gather_evidence([recorded_netns])
        assert len([each for each in evidence.observations if each.direction == "in"]) == 15_000
        assert recorded_netns.record.dropped > 0
        assert (evidence.lost, evidence.notes) == ({}, [])

    @pytest.mark.slow
    def test_gather_evidence_counts_and_marks_lost_packets(self, recorded_netns, recorded_tun):
        first, last = IPv4(src=recorded_tun.peer, dst="10.9.9.9", protocol=253), echo(recorded_tun)
        recorded_tun.inject(first, b"first")
        data = build(first, bytes(60_000))
        for _ in range(700):
            recorded_tun.device.write(data)  # not `inject`, whose packets the Tun records
        recorded_tun.capture()  # `capture` also empties the packet capture's buffer.
        recorded_tun.inject(*last)
        recorded_tun.expect(ICMP)
        evidence = gather_evidence([recorded_netns])
        lost = evidence.lost["kernel"]
        assert lost == recorded_netns.record.dropped == 703 - len(evidence.observations)
        assert evidence.observations[-1].comment.startswith("matched expectation 1")
        (gap,) = [each for each in evidence.observations if each.lost]
        assert gap.lost == lost
        assert [(each.time, each.text) for each in evidence.notes] == [
            (gap.time, f"kernel: {lost} packets are missing here")
        ]
        assert f"– kernel: {lost} packets are missing here" in "\n".join(draw_ladder(evidence))
        (sentence,) = loss_sentences(evidence)
        assert sentence.startswith(f"kernel: {lost} packets were not recorded")
        data = to_pcapng(evidence, comment="a test")
        assert sentence.encode() in data
        assert [each.dropped for each in read_pcapng(data) if each.dropped is not None] == [lost]

    def test_gather_evidence_with_small_capture_buffer_loses_no_packet(self, recorded_netns, recorded_tun):
        """Send more packets than fit the capture buffer that an unprivileged user gets: none is lost."""
        recorded_netns.record._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 106_496)
        for number in range(600):
            recorded_tun.inject(*echo(recorded_tun, number))
            recorded_tun.expect(ICMP)
        evidence = gather_evidence([recorded_netns])
        assert recorded_netns.record.dropped == 0
        assert [each.recorded for each in evidence.observations] == [True] * 1200

    def test_capture_buffer_is_emptied_before_a_program_runs(self, recorded_netns, recorded_tun, need):
        recorded_netns.record._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 106_496)
        for number in range(300):
            recorded_tun.device.write(build(*echo(recorded_tun, number)))
        recorded_netns.netns.run(
            [need("ping"), "-c", "1", "-p", "deadbeef", "127.0.0.1"], check=True, capture_output=True
        )
        assert any(bytes.fromhex("deadbeef") in each.frame for each in gather_evidence([recorded_netns]).observations)

    @pytest.mark.slow
    def test_gather_evidence_adds_a_note_for_packets_lost_at_the_end(self, recorded_netns, recorded_tun):
        data = build(IPv4(src=recorded_tun.peer, dst="10.9.9.9", protocol=253), bytes(60_000))
        for _ in range(600):
            recorded_tun.device.write(data)
        recorded_tun.inject(*echo(recorded_tun))  # The full capture buffer loses this packet, but the Tun records it.
        recorded_tun.expect(ICMP)
        evidence = gather_evidence([recorded_netns])
        assert [each.comment[:8] for each in evidence.observations[-3:]] == ["", "injected", "matched "]
        assert evidence.lost["kernel"] == recorded_netns.record.dropped - 2
        (note,) = evidence.notes
        assert note.time > evidence.observations[-3].time
        assert note.text == f"kernel: {evidence.lost['kernel']} packets are missing from here on"

    def test_gather_evidence_of_closed_tun_returns_each_packet_once(self, recorded_netns, recorded_tun):
        with Tun.create("192.0.2.1/24", netns=recorded_netns.netns, ifname="tun1") as other:
            other.inject(*echo(other))
            other.expect(ICMP)
        recorded_netns.tuns.append(other)
        assert seen(gather_evidence([recorded_netns])) == [
            ("tun1", "in", "injected"),
            ("tun1", "out", "matched expectation 1"),
        ]

    def test_second_call_of_gather_evidence_adds_new_packets(self, recorded_netns, recorded_tun):
        recorded_tun.inject(*echo(recorded_tun))
        assert seen(gather_evidence([recorded_netns])) == [
            ("tun0", "in", "injected"),
            ("tun0", "out", "not read by the test"),
        ]
        recorded_tun.expect(ICMP)
        recorded_tun.inject(*echo(recorded_tun, 2))
        assert [comment for *_, comment in seen(gather_evidence([recorded_netns]))] == [
            "injected", "matched expectation 1", "injected", "not read by the test",
        ]  # fmt: skip

    def test_gather_evidence_includes_packets_on_loopback_device(self, recorded_netns):
        recorded_netns.netns.run(["ping", "-c", "1", "127.0.0.1"], check=True, capture_output=True)
        assert [(each.device, each.on_link) for each in gather_evidence([recorded_netns]).observations] == [
            ("lo", True),
            ("lo", True),
        ]

    def test_gather_evidence_completes_offloaded_checksum(self):
        with (
            Netns.create() as one, Netns.create() as other,
            NetnsCapture.open(one) as here, NetnsCapture.open(other) as there,
        ):  # fmt: skip
            connect_with_veth(one, other)
            with one.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"hello", ("10.7.7.2", 9))
            evidence = gather_evidence([RecordedNetns("one", one, here), RecordedNetns("other", other, there)])
        sent = [
            each for each in evidence.observations if each.packet is not None and isinstance(each.packet.transport, UDP)
        ]
        assert [(each.device, each.direction) for each in sent] == [("one:left", "out"), ("other:right", "in")]
        assert [findings(each.packet) for each in sent] == [[], []]
        assert sent[0].frame == sent[1].frame


class TestToPcapng:
    def test_to_pcapng_keeps_comments_names_directions_and_times(self, recorded_netns, recorded_tun):
        recorded_tun.inject(*echo(recorded_tun))
        recorded_tun.expect(ICMP)
        recorded_netns.netns.run(["ping", "-c", "1", "127.0.0.1"], check=True, capture_output=True)
        evidence = gather_evidence([recorded_netns])
        records = list(read_pcapng(to_pcapng(evidence, comment="a test: failed")))
        assert [(r.interface.name, r.interface.linktype) for r in records] == [("tun0", 101)] * 2 + [("lo", 1)] * 2
        assert [r.time_ns for r in records] == [each.time for each in evidence.observations]
        assert [r.comment for r in records] == [each.comment for each in evidence.observations]
        assert [r.direction for r in records[:2]] == ["in", "out"]

    def test_file_of_to_pcapng_is_decoded_equally_by_tshark(self, recorded_netns, recorded_tun, need, tmp_path):
        recorded_tun.inject(*echo(recorded_tun))
        recorded_tun.expect(ICMP)
        recorded_tun.inject(IPv4(src=recorded_tun.peer, dst=recorded_tun.address), UDP(src_port=7, dst_port=9), b"x")
        evidence = gather_evidence([recorded_netns])
        file = tmp_path / "x.pcapng"
        file.write_bytes(to_pcapng(evidence, comment="tests/test_x.py::test_y: failed"))
        fields = ["frame.interface_name", "ip.src", "ip.dst", "ip.id", "frame.comment", "ip.len"]
        options = [option for field in fields for option in ("-e", field)]
        # An ICMP error quotes a second IP header. "occurrence=f" makes tshark print only the first header's fields.
        command = [need("tshark"), "-r", file, "-T", "fields", "-E", "occurrence=f", *options]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        ours = [
            [each.device, each.packet.ip.src, each.packet.ip.dst, f"{each.packet.ip.identification:#06x}",
             each.comment, str(each.packet.ip.total_length)]
            for each in evidence.observations
        ]  # fmt: skip
        assert [line.split("\t") for line in lines] == ours
        info = subprocess.run([need("capinfos"), file], capture_output=True, text=True, check=True).stdout
        assert "tests/test_x.py::test_y: failed" in info
        assert "nanosecond" in info

    def test_interfaces_in_file_of_to_pcapng_are_in_order_of_endpoints(self):
        sent = [
            observation(node, "out", PING, on_link=True, ifname=ifname, several_nodes=True)
            for node, ifname in (("switch", "eth0"), ("server", "eth0"), ("router", "lan0"), ("router", "eth0"))
        ]
        data = to_pcapng(Evidence(sent, ["router", "server", "stack"], True, {}, ["stack:tun0"]), comment="")
        numbers = {record.interface.index: record.interface.name for record in read_pcapng(data)}
        assert numbers == {0: "router:lan0", 1: "router:eth0", 2: "server:eth0", 4: "switch:eth0"}

    def test_to_pcapng_lists_tun_without_packets_as_interface(self, recorded_netns):
        data = to_pcapng(gather_evidence([recorded_netns]), comment="no packets")
        assert list(read_pcapng(data)) == []
        assert b"tun0" in data


def connect_with_veth(one, other):
    with Tun.create("", netns=one) as tun:
        tun.device.rtnl.add_veth("left", "right", peer_netns=other)
        index = tun.device.rtnl.link_index("left")
        tun.device.rtnl.add_address(index, "10.7.7.1/24")
        tun.device.rtnl.set_link(index, up=True)
        address = tun.device.rtnl.link(index).hardware_address
    with Rtnl(other) as rtnl, Rtnl(one) as here:
        other_index = rtnl.link_index("right")
        rtnl.add_address(other_index, "10.7.7.2/24")
        rtnl.set_link(other_index, up=True)
        here.add_neighbour(index, "10.7.7.2", rtnl.link(other_index).hardware_address)
        rtnl.add_neighbour(other_index, "10.7.7.1", address)
        assert wait_until_running(here, index, 5.0)
