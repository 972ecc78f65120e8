"""The ladder, a sequence diagram in text: its arrows, omitted rows and width."""

import pytest
from msgspec.structs import replace

from tunlab.packet import ICMP, TCP, VLAN, Ethernet, ICMPv6, IPv4, IPv6, TCPFlag, build, parse
from tunlab.report.annotation import Annotation
from tunlab.report.evidence import Evidence, Note, Observation
from tunlab.report.ladder import WIDTH, draw_ladder, ladder_rows

SYN = build(IPv4(src="10.1.2.2", dst="10.1.2.1"), TCP(src_port=40000, dst_port=80, flags=TCPFlag.SYN))
PING = build(IPv4(src="10.0.1.1", dst="10.0.2.2"), ICMP.echo_request(1, 1), b"x" * 8)
ARP = bytes.fromhex(
    "ffffffffffff0200000000010806"  # Ethernet header: to broadcast, type ARP
    "0001080006040001"  # ARP request for IPv4 over Ethernet
    "0200000000010a000101"
    "0000000000000a000102"
)


def observation(
    node, direction, data, *, time=0, on_link=False, ifname="tun0", note="", decisive=False, several_nodes=False
):
    frame = bytes(12) + b"\x08\x00" + data if on_link and data is not ARP else data
    linktype = 1 if on_link else 101
    device = f"{node}:{ifname}" if several_nodes else ifname
    return Observation(
        node,
        device,
        ifname,
        on_link,
        linktype,
        time,
        direction,
        frame,
        parse(frame, link_type=linktype),
        Annotation(note, decisive),
    )


def evidence(*observations, endpoints=("kernel",), test_is_endpoint=True):
    return Evidence(list(observations), list(endpoints), test_is_endpoint, {}, [])


def test_ladder_of_a_tun_has_arrows_between_test_and_kernel():
    lines = draw_ladder(
        evidence(
            observation("kernel", "in", SYN, note="injected at test_x.py:5"),
            observation("kernel", "out", SYN, time=1_500_000),
        )
    )
    assert lines == [
        "        ms   test     kernel",
        "  1     0.000  ├────────▶│  IP 10.1.2.2.40000 > 10.1.2.1.80: Flags [S], seq 0, win 65535, length 0",
        "               │         │  · injected at test_x.py:5",
        "  2     1.500  │◀────────┤  IP 10.1.2.2.40000 > 10.1.2.1.80: Flags [S], seq 0, win 65535, length 0",
    ]


def test_ladder_without_packets_is_empty():
    assert draw_ladder(evidence()) == []


class TestBetweenNodes:
    endpoints = ("client", "router", "server")

    def draw(self, *observations):
        return draw_ladder(evidence(*observations, endpoints=self.endpoints, test_is_endpoint=False))

    def observe(self, node, direction, data=PING, time=0):
        return observation(node, direction, data, time=time, on_link=True, ifname="eth0", several_nodes=True)

    def test_ladder_of_packet_sent_and_received_has_one_arrow(self):
        lines = self.draw(self.observe("client", "out"), self.observe("router", "in", time=1000))
        assert len(lines) == 2
        assert "├────────▶│" in lines[1]

    def test_ladder_of_packet_through_switch_has_arrow_from_sender_to_receiver(self):
        observations = (
            self.observe("client", "out"), self.observe("link1", "in", time=1), self.observe("link1", "out", time=2),
            self.observe("server", "in", time=3),
        )  # fmt: skip
        found = ladder_rows(evidence(*observations, endpoints=self.endpoints, test_is_endpoint=False))
        assert [(row.number, row.origin, row.target) for row in found] == [(1, "client", "server")]

    def test_ladder_of_broadcast_packet_has_one_arrow_per_receiver(self):
        observations = (
            self.observe("client", "out", ARP),
            self.observe("router", "in", ARP, 1),
            self.observe("server", "in", ARP, 2),
        )
        found = ladder_rows(evidence(*observations, endpoints=self.endpoints, test_is_endpoint=False))
        assert [(row.origin, row.target) for row in found] == [("client", "router"), ("client", "server")]

    def test_ladder_of_packet_sent_twice_has_two_arrows(self):
        twice = [("client", "out"), ("router", "in")] * 2
        observations = [self.observe(node, direction, time=time) for time, (node, direction) in enumerate(twice)]
        found = ladder_rows(evidence(*observations, endpoints=self.endpoints, test_is_endpoint=False))
        assert [(row.number, row.origin, row.target) for row in found] == [
            (1, "client", "router"),
            (3, "client", "router"),
        ]

    def test_ladder_marks_packet_that_was_not_received(self):
        lines = self.draw(self.observe("router", "out"))
        assert "├───✗" in lines[1]
        assert "not received" in " ".join(" ".join(lines).replace("│", " ").split())

    def test_ladder_of_packet_from_unknown_sender_has_arrow_head_only(self):
        assert "▶  IP 10.0.1.1" in self.draw(self.observe("server", "in"))[1]

    def test_ladder_has_summary_of_ipv6_packet_in_a_vlan(self):
        frame = build(
            Ethernet(dst="02:00:00:00:00:02", src="02:00:00:00:00:01"),
            VLAN(vid=7),
            IPv6(src="fd00::1", dst="fd00::2"),
            ICMPv6.echo_request(1, 2),
        )
        seen = replace(self.observe("client", "out", ARP), frame=frame, packet=parse(frame, link_type=1))
        assert "vlan 7, IP6 fd00::1 > fd00::2: ICMPv6 echo request, id 1, seq 2" in "\n".join(self.draw(seen))

    def test_ladder_says_why_a_frame_cannot_be_parsed(self):
        seen = replace(self.observe("client", "out", ARP), frame=b"short", packet=None)
        assert "5 bytes, not a frame: Ethernet header needs 14 bytes" in " ".join(self.draw(seen))

    def test_ladder_has_summary_of_arp_request(self):
        assert "ARP who has 10.0.1.2? tell 10.0.1.1" in "\n".join(self.draw(self.observe("client", "out", ARP)))


def test_ladder_shows_packet_on_loopback_as_circle():
    lines = draw_ladder(evidence(observation("kernel", "in", PING, on_link=True, ifname="lo"), test_is_endpoint=False))
    assert "↻" in lines[1]


def test_ladder_of_two_tuns_names_the_device_of_each_packet():
    first, second = (observation("kernel", "out", PING, ifname=name) for name in ("tun0", "tun1"))
    text = "\n".join(draw_ladder(evidence(first, second)))
    assert "tun0: IP" in text
    assert "tun1: IP" in text


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
def test_ladder_lines_are_at_most_100_columns(count):
    endpoints = [f"a-node-with-a-long-name-{number}" for number in range(count)]
    each = [
        observation(end, "out", PING, on_link=True, ifname="eth0", several_nodes=True, note="x" * 150)
        for end in endpoints
    ]
    lines = draw_ladder(evidence(*each, observation(endpoints[0], "in", SYN), endpoints=endpoints))
    assert max(map(len, lines)) <= WIDTH


def test_ladder_of_100_packets_omits_rows_in_the_middle():
    lines = draw_ladder(evidence(*(observation("kernel", "in", PING, time=number) for number in range(100))))
    assert [line for line in lines if "…" in line] == ["      … 40 more packets in the recording …"]
    assert len(lines) == 1 + 20 + 1 + 40


class TestLongLadder:
    @staticmethod
    def drawn(decisive, count=200, **options):
        each = [observation("kernel", "in", PING, time=number, decisive=number in decisive) for number in range(count)]
        return draw_ladder(evidence(*each), **options)

    @staticmethod
    def numbers(lines):
        return [int(line.split()[0]) for line in lines[1:] if line.split()[0].isdigit()]

    def test_ladder_of_many_packets_keeps_rows_around_packet_that_failed_the_test(self):
        lines = self.drawn({100})
        assert self.numbers(lines) == [*range(1, 21), *range(98, 105), *range(161, 201)]
        assert [line for line in lines if "…" in line] == [
            "      … 77 more packets in the recording …",
            "      … 56 more packets in the recording …",
        ]

    def test_ladder_of_many_packets_that_failed_the_test_keeps_rows_around_first_and_last(self):
        lines = self.drawn(range(50, 150))
        assert self.numbers(lines) == [*range(1, 21), *range(48, 56), *range(147, 154), *range(161, 201)]

    def test_ladder_with_one_omitted_packet_uses_the_singular(self):
        assert "      … 1 more packet in the recording …" in self.drawn((), count=61)

    def test_ladder_with_since_argument_omits_packets_up_to_that_time(self):
        lines = self.drawn((), count=30, since=27)
        assert lines[1] == "      … 28 packets shown above …"
        assert self.numbers(lines) == [29, 30]


class TestNotes:
    packets = tuple(observation("kernel", "in", PING, time=1_000_000 * number) for number in range(3))

    def test_ladder_notes_are_between_packets_in_order_of_time(self):
        recorded = evidence(*self.packets)
        recorded.notes = [Note(1_500_000, "x.py:5 waited 50 ms for ICMP(type=3)"), Note(9_000_000, "late " * 20)]
        lines = draw_ladder(recorded)
        assert [line[:5].strip() for line in lines] == ["", "1", "2", "", "3", "", ""]
        assert lines[3] == "        1.500  │         │  – x.py:5 waited 50 ms for ICMP(type=3)"
        assert lines[5].startswith("        9.000  │         │  – late late")
        assert lines[6].startswith("               │         │      late")

    def test_ladder_notes_with_many_columns_have_their_own_lines(self):
        endpoints = [f"a-node-with-a-long-name-{number}" for number in range(9)]
        recorded = evidence(*(observation(end, "out", PING, on_link=True) for end in endpoints), endpoints=endpoints)
        recorded.notes = [Note(5, "timed out")]
        assert draw_ladder(recorded)[-1].strip() == "– timed out"

    def test_ladder_with_since_argument_omits_earlier_notes(self):
        recorded = evidence(*self.packets)
        recorded.notes = [Note(500_000, "one"), Note(1_500_000, "two")]
        assert [line for line in draw_ladder(recorded, since=1_000_000) if "–" in line] == [
            "        1.500  │         │  – two",
        ]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_ladder_in_narrow_terminal_fits_its_width(count):
    endpoints = [f"node-{number}" for number in range(count)]
    each = [observation(end, "out", PING, on_link=True, several_nodes=True, note="x" * 150) for end in endpoints]
    recorded = evidence(*each, observation(endpoints[0], "in", SYN), endpoints=endpoints)
    recorded.notes = [Note(0, "y" * 150)]
    assert max(map(len, draw_ladder(recorded, width=80))) <= 80


def test_ladder_of_10000_packets_has_a_wider_number_column():
    lines = draw_ladder(evidence(*(observation("kernel", "in", PING, time=number) for number in range(10_000))))
    assert lines[-1].startswith("10000     0.010  ├────────▶│  IP")
    assert lines[1].startswith("    1     0.000  ├────────▶│  IP")
