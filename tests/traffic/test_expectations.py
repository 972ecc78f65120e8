"""Expecting: what is given back, and what a miss tells of each packet that came."""

import pytest

from tunlab.errors import ExpectationError
from tunlab.packet import ICMP, TCP, UDP, IPv4, TCPFlag, parse
from tunlab.packet.tcp_options import MSS


def echo(tun, number=1, payload=b"hello"):
    return IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(7, number), payload


def syn(tun, port=80, **fields):
    return IPv4(src=tun.peer, dst=tun.address), TCP(src_port=40000, dst_port=port, flags=TCPFlag.SYN, **fields)


def miss(expect, *wanted, **settings):
    with pytest.raises(ExpectationError) as caught:
        expect(*wanted, timeout=0.01, **settings)
    # The line that a busy machine adds is no part of this: see test_timing.py.
    lines = [line for line in str(caught.value).splitlines() if not line.startswith("(timeout ")]
    return caught.value, "\n".join(lines)


class TestOne:
    def test_a_captured_value_is_used_in_what_comes_later(self, tun):
        tun.listen(80)
        tun.inject(*syn(tun, seq=1000))
        reply = tun.expect(TCP.where(src_port=80, flags=TCPFlag.SYN | TCPFlag.ACK))
        isn = reply.tcp.seq
        ack = TCP(src_port=40000, dst_port=80, seq=1001, ack=isn + 1 & 0xFFFFFFFF, flags=TCPFlag.ACK | TCPFlag.PSH)
        tun.inject(IPv4(src=tun.peer, dst=tun.address), ack, b"data")
        answer = tun.expect(TCP.where(seq=isn + 1 & 0xFFFFFFFF, ack=lambda number: number == 1001 + len(b"data")))
        assert answer.tcp.flags == TCPFlag.ACK

    def test_a_wrong_flag_is_marked_in_the_header_as_the_rfc_draws_it(self, tun):
        tun.inject(*syn(tun))
        error, text = miss(tun.expect, TCP.where(src_port=80, flags=TCPFlag.SYN | TCPFlag.ACK))
        lines = text.splitlines()
        assert lines[0].startswith("waited ")
        assert "s for TCP(src_port=80, flags=SYN|ACK)" in lines[0]
        assert lines[1] == "1 packet arrived:"
        assert lines[2].startswith("  1. +")
        assert lines[2].endswith(
            f" ms  IP {tun.address}.80 > {tun.peer}.40000: Flags [R.], seq 0, ack 1, win 0, length 0"
        )
        assert lines[3:5] == ["     TCP.flags: wanted SYN|ACK, got RST|ACK", "     TCP, as it came:"]
        flags = next(number for number, line in enumerate(lines) if "|     flags     |" in line)
        assert lines[flags].strip().startswith("32 | offset|  rsvd |     flags     |")
        assert "|    RST|ACK    |" in lines[flags + 1]
        assert "+-+-+-+-+-+-+-+-+^^^^^^^^^^^^^^^+-+-" in lines[flags + 2]
        assert text.count("^^") == text.count("^" * 15) * 7
        assert len(error.seen) == error.count == 1

    def test_a_payload_is_laid_beside_what_was_wanted(self, tun):
        tun.inject(*echo(tun, payload=bytes(range(40))))
        wanted = bytes(range(20)) + b"\xff" + bytes(range(21, 40))
        _, text = miss(tun.expect, ICMP.where(payload=wanted))
        lines = [line.strip() for line in text.splitlines()]
        assert "for ICMP(payload=40 octets 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f …)" in lines[0]
        assert lines[3:] == [
            "ICMP.payload: wanted 40 octets, got 40: octet 20 differs",
            "wanted    16  10 11 12 13 ff 15 16 17 18 19 1a 1b 1c 1d 1e 1f  ................",
            "got       16  10 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f  ................",
            "^^",
        ]

    def test_another_protocol_is_named(self, tun):
        tun.inject(IPv4(src=tun.peer, dst=tun.address), UDP(src_port=5, dst_port=7), b"x")
        _, text = miss(tun.expect, UDP.where(src_port=7))
        assert "ICMP port unreachable, for UDP to 10.1.2.1 port 7" in text
        assert text.endswith("UDP: wanted present, got IPv4/ICMP")

    def test_the_nearest_first_five_explained_every_one_listed(self, tun):
        for number in range(8):
            tun.inject(*echo(tun, number))
        tun.inject(*syn(tun))
        error, text = miss(tun.expect, ICMP.where(type=0, sequence_number=77))
        lines = text.splitlines()
        assert lines[1] == "9 packets arrived, closest match first:"
        ranks = [line for line in lines if line[:5].strip().rstrip(".").isdigit() and "IP 10" in line]
        assert [line.split("seq ")[1].split(",")[0] for line in ranks] == ["7", "6", "5", "4", "3", "2", "1", "0", "0"]
        assert text.count("     ICMP.sequence_number: wanted 77, got") == 5
        assert text.count("   <-- ICMP.sequence_number: wanted 77, got ") == 3
        assert "   <-- ICMP: wanted present, got IPv4/TCP" in lines[-1]
        assert text.count("0 1 2 3 4 5 6 7 8 9") == 3  # of one ruler
        assert error.count == 9

    def test_of_a_great_many_a_hundred_have_a_line_and_the_rest_is_counted(self, tun):
        for number in range(130):
            tun.inject(*echo(tun, number))
        error, text = miss(tun.expect, ICMP.where(sequence_number=999))
        assert error.count == 130
        assert "130 packets arrived, closest match first:" in text
        assert "\n  100. +" in text
        assert "\n  101. +" not in text
        assert text.endswith("\n  and 30 more")

    def test_functions_are_shown_as_they_are_written(self, tun):
        tun.inject(*echo(tun))
        _, text = miss(tun.expect, ICMP.where(sequence_number=lambda n: n > 5), lambda packet: packet.ip.ttl < 10)
        assert "for ICMP(sequence_number=lambda n: n > 5) & lambda packet: packet.ip.ttl < 10\n" in text
        assert "ICMP.sequence_number: wanted lambda n: n > 5, got 1" in text
        tun.inject(*echo(tun))
        _, text = miss(tun.expect, ICMP, lambda packet: packet.ip.ttl < 10)
        assert text.endswith("packet: wanted lambda packet: packet.ip.ttl < 10, got one of which it is not true")

    def test_a_function_that_asks_for_a_header_that_is_not_there_is_not_true(self, tun):
        tun.inject(*echo(tun))
        _, text = miss(tun.expect, lambda packet: packet.tcp.seq == 1)
        assert text.endswith("got one that does not have it: the packet has no TCP header; it has IPv4, ICMP")
        tun.inject(*echo(tun))
        tun.inject(*syn(tun))
        assert tun.expect(lambda packet: packet.tcp.ack == 1)

    def test_any_other_error_of_a_function_is_the_tests_own(self, tun):
        tun.inject(*echo(tun))
        with pytest.raises(ZeroDivisionError):
            tun.expect(lambda packet: packet.ip.ttl // 0)

    def test_a_view_is_marked_where_it_stands_on_the_wire(self, tun):
        tun.listen(80)
        tun.inject(*syn(tun, options=[MSS(500)]))
        _, text = miss(tun.expect, TCP.where(mss=500))
        assert "options  02 04 05 b4" in text
        assert "\n     TCP.mss: wanted 500, got 1460\n     TCP, as it came:\n" in text
        assert "+" + "^" * 63 + "+" in text

    def test_what_is_no_packet_comes_last(self, tun):
        tun.emit(b"\x60 no IPv4")
        tun.inject(*echo(tun))
        _, text = miss(tun.expect, TCP)
        assert text.index("ICMP echo reply") < text.index("9 octets, no IPv4 datagram")

    def test_the_recordings_path_is_said_once_it_is_known(self, tun):
        error, text = miss(tun.expect, TCP)
        assert "recorded" not in text
        error.recording = "/x/a.pcapng"
        assert str(error).endswith("\nrecorded in /x/a.pcapng")

    def test_a_function_is_asked_once_of_each_packet(self, tun):
        asked = []
        for number in (1, 2):
            tun.inject(*echo(tun, number))
        miss(tun.expect, lambda packet: asked.append(packet.icmp.sequence_number))
        assert asked == [1, 2]


class TestAll:
    def test_the_packets_come_back_in_the_order_of_the_expectations(self, tun):
        for number in (3, 1, 2):
            tun.inject(*echo(tun, number))
        wanted = [ICMP.where(sequence_number=number) for number in (1, 2, 3)]
        assert [packet.icmp.sequence_number for packet in tun.expect_all(wanted)] == [1, 2, 3]
        tun.expect_silence()

    def test_each_packet_meets_one_and_the_first_that_fits_may_give_way(self, tun):
        """Taken as they come, the first would go to `ICMP` and leave nothing for the second expectation."""
        for number in (2, 1):
            tun.inject(*echo(tun, number))
        any_one, second = tun.expect_all([ICMP, ICMP.where(sequence_number=2)])
        assert (any_one.icmp.sequence_number, second.icmp.sequence_number) == (1, 2)

    def test_several_conditions_on_one_packet_are_a_tuple(self, tun):
        for number in (1, 2):
            tun.inject(*echo(tun, number))
        (packet,) = tun.expect_all([(IPv4.where(ttl=64), lambda packet: packet.icmp.sequence_number == 2)])
        assert packet.icmp.sequence_number == 2

    def test_others_are_passed_over_and_what_comes_behind_stays_unread(self, tun):
        for number in (9, 1, 2, 3):
            tun.inject(*echo(tun, number))
        tun.expect_all([ICMP.where(sequence_number=2), ICMP.where(sequence_number=1)])
        comments = [each.comment.partition(" at ")[0] for each in tun.record if each.direction == "out"]
        assert comments == ["passed over", "matched expectation 2", "matched expectation 1", ""]
        assert [packet.icmp.sequence_number for packet in tun.capture()] == [3]
        tun.inject(*echo(tun))
        tun.expect(ICMP)
        assert tun.record[-1].comment.startswith("matched expectation 3 at test_expectations.py:")

    def test_of_nothing_all_has_come(self, tun):
        tun.inject(*echo(tun))
        assert tun.expect_all([]) == []
        assert len(tun.capture()) == 1

    def test_a_miss_says_which_were_met_by_what_which_were_not_and_what_else_came(self, tun):
        for number in (1, 2):
            tun.inject(*echo(tun, number))
        tun.inject(*syn(tun))
        tun.emit(b"\x60 no IPv4")
        wanted = [ICMP.where(sequence_number=2), (TCP.where(flags=TCPFlag.SYN), IPv4), ICMP]
        error, text = miss(tun.expect_all, wanted)
        lines = text.splitlines()
        assert "s for 3 packets, in any order: 2 came, 1 did not" in lines[0]
        assert lines[1] == "  1. came     ICMP(sequence_number=2)"
        assert "IP 10.1.2.1 > 10.1.2.2: ICMP echo reply, id 7, seq 2" in lines[2]
        assert lines[3] == "  2. missing  TCP(flags=SYN) & IPv4()"
        assert lines[4] == "  3. came     ICMP()"
        assert "seq 1, length" in lines[5]
        assert lines[6] == "2 other packets arrived, closest match first:"
        assert "     TCP.flags: wanted SYN, got RST|ACK" in lines
        assert "9 octets, no IPv4 datagram" in lines[-1]
        assert len(error.progress) == 3

    def test_a_miss_of_all_with_nothing_beside(self, tun):
        _, text = miss(tun.expect_all, [TCP, UDP])
        assert text.splitlines()[1:] == ["  1. missing  TCP()", "  2. missing  UDP()", "no other packet arrived"]

    def test_in_order_others_may_come_between(self, tun):
        for number in (1, 9, 2):
            tun.inject(*echo(tun, number))
        wanted = [ICMP.where(sequence_number=number) for number in (1, 2)]
        assert len(tun.expect_all(wanted, ordered=True)) == 2

    def test_in_another_order_is_said_so(self, tun):
        for number in (2, 1):
            tun.inject(*echo(tun, number))
        wanted = [ICMP.where(sequence_number=number) for number in (1, 2, (1, 2)[0])]
        _, text = miss(tun.expect_all, wanted[:2], ordered=True)
        assert "2 packets, in this order: 1 came, 1 did not; all of them came, but in another order" in text
        for number in (2, 1):
            tun.inject(*echo(tun, number))
        _, text = miss(tun.expect_all, [UDP, *wanted], ordered=True)
        assert "another order" not in text
        assert [line.split()[1] for line in text.splitlines()[1:5]] == ["missing", "later", "later", "later"]

    def test_what_is_no_expectation_is_refused_before_anything_is_read(self, tun):
        tun.inject(*echo(tun))
        with pytest.raises(TypeError, match="no expectation"):
            tun.expect_all([ICMP, 5])
        assert len(tun.capture()) == 1


def test_an_expectation_keeps_the_packet_errors_of_its_own_making(tun):
    """A function that builds or parses may fail by a PacketError as well: that is no packet it is true of."""
    tun.inject(*echo(tun))
    _, text = miss(tun.expect, lambda packet: parse(packet.payload))
    assert "got one that does not have it: IPv4.version at offset 0 is 6" in text


class TestThePacketThatMatters:
    """By its comment a page of the recording knows which packet to open on."""

    def comments(self, tun):
        """Of each packet what was said of it last."""
        return [each.comment.rpartition("; ")[2] for each in tun.record if each.direction == "out"]

    def test_the_nearest_is_said_to_be(self, tun):
        for number in (1, 5, 2):
            tun.inject(*echo(tun, number))
        tun.inject(*syn(tun))
        miss(tun.expect, ICMP.where(sequence_number=lambda n: n == 77, type=0))
        sent = [each.comment for each in tun.record if each.direction == "out"]
        assert ["; the nearest to what was wanted; " in each for each in sent] == [False, False, True, False]
        assert self.comments(tun)[2] == "ICMP.sequence_number: wanted lambda n: n == 77, got 2"

    def test_what_should_not_have_come_is_said_to_be(self, tun):
        tun.inject(*echo(tun, 1))
        tun.inject(*syn(tun))
        with pytest.raises(ExpectationError):
            tun.expect_none(TCP)
        assert self.comments(tun) == ["", "not wanted"]
