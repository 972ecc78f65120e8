"""Tests of `tun.expect` and `tun.expect_all`: the packets they return, and the packets that their errors list."""

import pytest

from tunlab.errors import ExpectationError
from tunlab.packet import ICMP, TCP, UDP, IPv4, TCPFlag, parse
from tunlab.packet.tcp_options import MSS


def echo(tun, number=1, payload=b"hello"):
    return IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(7, number), payload


def syn(tun, port=80, **fields):
    return IPv4(src=tun.peer, dst=tun.address), TCP(src_port=40000, dst_port=port, flags=TCPFlag.SYN, **fields)


def fail(expect, *wanted, **settings):
    with pytest.raises(ExpectationError) as caught:
        expect(*wanted, timeout=0.01, **settings)
    # On a busy machine the error has one more line, with the timeout's margin; test_deadlines.py tests that line.
    lines = [line for line in str(caught.value).splitlines() if not line.startswith("(timeout ")]
    return caught.value, "\n".join(lines)


class TestExpect:
    def test_expect_accepts_a_condition_with_a_value_of_an_earlier_packet(self, tun):
        tun.listen(80)
        tun.inject(*syn(tun, seq=1000))
        reply = tun.expect(TCP.where(src_port=80, flags=TCPFlag.SYN | TCPFlag.ACK))
        isn = reply.tcp.seq
        ack = TCP(src_port=40000, dst_port=80, seq=1001, ack=isn + 1 & 0xFFFFFFFF, flags=TCPFlag.ACK | TCPFlag.PSH)
        tun.inject(IPv4(src=tun.peer, dst=tun.address), ack, b"data")
        answer = tun.expect(TCP.where(seq=isn + 1 & 0xFFFFFFFF, ack=lambda number: number == 1001 + len(b"data")))
        assert answer.tcp.flags == TCPFlag.ACK

    def test_error_of_expect_marks_wrong_flag_in_header_diagram(self, tun):
        tun.inject(*syn(tun))
        error, text = fail(tun.expect, TCP.where(src_port=80, flags=TCPFlag.SYN | TCPFlag.ACK))
        lines = text.splitlines()
        assert lines[0].startswith("waited ")
        assert "s for TCP(src_port=80, flags=SYN|ACK)" in lines[0]
        assert lines[1] == "1 packet arrived:"
        assert lines[2].startswith(("  1. +", "  1. -"))
        assert lines[2].endswith(
            f" ms  IP {tun.address}.80 > {tun.peer}.40000: Flags [R.], seq 0, ack 1, win 0, length 0"
        )
        assert lines[3:5] == ["     TCP.flags: wanted SYN|ACK, got RST|ACK", "     TCP as received:"]
        flags = next(number for number, line in enumerate(lines) if "|      flags      |" in line)
        assert lines[flags].strip().startswith("32 | offset| rsvd|      flags      |")
        assert "|     RST|ACK     |" in lines[flags + 1]
        assert "+-+-+-+-+-+-+-+^^^^^^^^^^^^^^^^^+-+-" in lines[flags + 2]
        assert text.count("^^") == text.count("^" * 17) * 8
        assert len(error.seen) == error.count == 1

    def test_error_of_expect_compares_payload_bytes(self, tun):
        tun.inject(*echo(tun, payload=bytes(range(40))))
        wanted = bytes(range(20)) + b"\xff" + bytes(range(21, 40))
        _, text = fail(tun.expect, ICMP.where(payload=wanted))
        lines = [line.strip() for line in text.splitlines()]
        assert "for ICMP(payload=40 bytes 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f …)" in lines[0]
        assert lines[3:] == [
            "ICMP.payload: wanted 40 bytes, got 40: byte 20 differs",
            "wanted    16  10 11 12 13 ff 15 16 17 18 19 1a 1b 1c 1d 1e 1f  ................",
            "got       16  10 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f  ................",
            "^^",
        ]

    def test_error_of_expect_names_protocol_of_other_packet(self, tun):
        tun.inject(IPv4(src=tun.peer, dst=tun.address), UDP(src_port=5, dst_port=7), b"x")
        _, text = fail(tun.expect, UDP.where(src_port=7))
        assert "ICMP port unreachable, for UDP to 10.1.2.1 port 7" in text
        assert text.endswith("UDP: wanted present, got IPv4/ICMP")

    def test_error_of_expect_sorts_packets_by_similarity_and_explains_five(self, tun):
        for number in range(8):
            tun.inject(*echo(tun, number))
        tun.inject(*syn(tun))
        error, text = fail(tun.expect, ICMP.where(type=0, sequence_number=77))
        lines = text.splitlines()
        assert lines[1] == "9 packets arrived, closest match first:"
        ranks = [line for line in lines if line[:5].strip().rstrip(".").isdigit() and "IP 10" in line]
        assert [line.split("seq ")[1].split(",")[0] for line in ranks] == ["7", "6", "5", "4", "3", "2", "1", "0", "0"]
        assert text.count("     ICMP.sequence_number: wanted 77, got") == 5
        assert text.count("   <-- ICMP.sequence_number: wanted 77, got ") == 3
        assert "   <-- ICMP: wanted present, got IPv4/TCP" in lines[-1]
        # The bit ruler above a header diagram has the digits 0 to 9 three times, so the text has one diagram.
        assert text.count("0 1 2 3 4 5 6 7 8 9") == 3
        assert error.count == 9

    def test_error_of_expect_lists_at_most_100_packets(self, tun):
        for number in range(130):
            tun.inject(*echo(tun, number))
        error, text = fail(tun.expect, ICMP.where(sequence_number=999))
        assert error.count == 130
        assert "130 packets arrived, closest match first:" in text
        assert "\n  100. " in text
        assert "\n  101. +" not in text
        assert text.endswith("\n  and 30 more")

    def test_error_of_expect_shows_source_code_of_a_lambda(self, tun):
        tun.inject(*echo(tun))
        _, text = fail(tun.expect, ICMP.where(sequence_number=lambda n: n > 5), lambda packet: packet.ip.ttl < 10)
        assert "for ICMP(sequence_number=lambda n: n > 5) & lambda packet: packet.ip.ttl < 10\n" in text
        assert "ICMP.sequence_number: wanted lambda n: n > 5, got 1" in text
        tun.inject(*echo(tun))
        _, text = fail(tun.expect, ICMP, lambda packet: packet.ip.ttl < 10)
        assert text.endswith(
            "packet: wanted lambda packet: packet.ip.ttl < 10, got a packet for which it returns false"
        )

    def test_expectation_function_that_accesses_a_missing_header_counts_as_false(self, tun):
        tun.inject(*echo(tun))
        _, text = fail(tun.expect, lambda packet: packet.tcp.seq == 1)
        assert text.endswith(
            "got a packet for which it raises PacketError: the packet has no TCP header; it has IPv4, ICMP"
        )
        tun.inject(*echo(tun))
        tun.inject(*syn(tun))
        assert tun.expect(lambda packet: packet.tcp.ack == 1)

    def test_exception_in_an_expectation_function_propagates(self, tun):
        tun.inject(*echo(tun))
        with pytest.raises(ZeroDivisionError):
            tun.expect(lambda packet: packet.ip.ttl // 0)

    def test_error_of_expect_with_wrong_mss_marks_tcp_options_in_diagram(self, tun):
        tun.listen(80)
        tun.inject(*syn(tun, options=[MSS(500)]))
        _, text = fail(tun.expect, TCP.where(mss=500))
        assert "options  02 04 05 b4" in text
        assert "\n     TCP.mss: wanted 500, got 1460\n     TCP as received:\n" in text
        assert "+" + "^" * 63 + "+" in text

    def test_error_of_expect_lists_non_ip_packet_last(self, tun):
        tun.emit(b"\x60 not IPv4")
        tun.inject(*echo(tun))
        _, text = fail(tun.expect, TCP)
        assert text.index("ICMP echo reply") < text.index("bytes, not an IP packet")

    def test_error_of_expect_names_the_path_of_the_recording(self, tun):
        error, text = fail(tun.expect, TCP)
        assert "recorded" not in text
        error.recording = "/x/a.pcapng"
        assert str(error).endswith("\nrecorded in /x/a.pcapng")

    def test_expect_calls_an_expectation_function_once_per_packet(self, tun):
        checked = []
        for number in (1, 2):
            tun.inject(*echo(tun, number))
        fail(tun.expect, lambda packet: checked.append(packet.icmp.sequence_number))
        assert checked == [1, 2]


class TestExpectAll:
    def test_expect_all_returns_packets_in_order_of_expectations(self, tun):
        for number in (3, 1, 2):
            tun.inject(*echo(tun, number))
        wanted = [ICMP.where(sequence_number=number) for number in (1, 2, 3)]
        assert [packet.icmp.sequence_number for packet in tun.expect_all(wanted)] == [1, 2, 3]
        tun.expect_silence()

    def test_expect_all_reassigns_a_packet_that_matches_two_expectations(self, tun):
        """Without reassignment, the first packet stays with `ICMP`, and the second expectation gets none."""
        for number in (2, 1):
            tun.inject(*echo(tun, number))
        any_one, second = tun.expect_all([ICMP, ICMP.where(sequence_number=2)])
        assert (any_one.icmp.sequence_number, second.icmp.sequence_number) == (1, 2)

    def test_expect_all_with_a_tuple_combines_its_conditions(self, tun):
        for number in (1, 2):
            tun.inject(*echo(tun, number))
        (packet,) = tun.expect_all([(IPv4.where(ttl=64), lambda packet: packet.icmp.sequence_number == 2)])
        assert packet.icmp.sequence_number == 2

    def test_expect_all_skips_other_packets_and_leaves_later_ones_unread(self, tun):
        for number in (9, 1, 2, 3):
            tun.inject(*echo(tun, number))
        tun.expect_all([ICMP.where(sequence_number=2), ICMP.where(sequence_number=1)])
        comments = [each.comment.partition(" at ")[0] for each in tun.record if each.direction == "out"]
        assert comments == ["skipped", "matched expectation 2", "matched expectation 1", ""]
        assert [packet.icmp.sequence_number for packet in tun.capture()] == [3]
        tun.inject(*echo(tun))
        tun.expect(ICMP)
        assert tun.record[-1].comment.startswith("matched expectation 3 at test_expectations.py:")

    def test_expect_all_with_an_empty_list_consumes_no_packet(self, tun):
        tun.inject(*echo(tun))
        assert tun.expect_all([]) == []
        assert len(tun.capture()) == 1

    def test_error_of_expect_all_lists_arrived_missing_and_other_packets(self, tun):
        for number in (1, 2):
            tun.inject(*echo(tun, number))
        tun.inject(*syn(tun))
        tun.emit(b"\x60 not IPv4")
        wanted = [ICMP.where(sequence_number=2), (TCP.where(flags=TCPFlag.SYN), IPv4), ICMP]
        error, text = fail(tun.expect_all, wanted)
        lines = text.splitlines()
        assert "s for 3 packets in any order: 2 arrived, 1 did not" in lines[0]
        assert lines[1] == "  1. arrived      ICMP(sequence_number=2)"
        assert "IP 10.1.2.1 > 10.1.2.2: ICMP echo reply, id 7, seq 2" in lines[2]
        assert lines[3] == "  2. missing      TCP(flags=SYN) & IPv4()"
        assert lines[4] == "  3. arrived      ICMP()"
        assert "seq 1, length" in lines[5]
        assert lines[6] == "2 other packets arrived, closest match first:"
        assert "     TCP.flags: wanted SYN, got RST|ACK" in lines
        assert "bytes, not an IP packet" in lines[-1]
        assert len(error.progress) == 3

    def test_error_of_expect_all_without_packets_lists_each_expectation_as_missing(self, tun):
        _, text = fail(tun.expect_all, [TCP, UDP])
        assert text.splitlines()[1:] == [
            "  1. missing      TCP()",
            "  2. missing      UDP()",
            "no other packet arrived",
        ]

    def test_expect_all_in_order_ignores_other_packets_in_between(self, tun):
        for number in (1, 9, 2):
            tun.inject(*echo(tun, number))
        wanted = [ICMP.where(sequence_number=number) for number in (1, 2)]
        assert len(tun.expect_all(wanted, ordered=True)) == 2

    def test_error_of_expect_all_in_order_says_if_packets_arrived_in_another_order(self, tun):
        for number in (2, 1):
            tun.inject(*echo(tun, number))
        wanted = [ICMP.where(sequence_number=number) for number in (1, 2, 1)]
        _, text = fail(tun.expect_all, wanted[:2], ordered=True)
        assert "2 packets in this order: 1 arrived, 1 did not; all of them arrived, but in another order" in text
        for number in (2, 1):
            tun.inject(*echo(tun, number))
        _, text = fail(tun.expect_all, [UDP, *wanted], ordered=True)
        assert "another order" not in text
        assert [line.split()[1] for line in text.splitlines()[1:5]] == ["missing", "not", "not", "not"]

    def test_expect_all_with_invalid_expectation_raises_and_consumes_no_packet(self, tun):
        tun.inject(*echo(tun))
        with pytest.raises(TypeError, match="is not an expectation"):
            tun.expect_all([ICMP, 5])
        assert len(tun.capture()) == 1


def test_expectation_function_that_raises_packet_error_counts_as_false(tun):
    """Expect a packet by a function that parses the payload, which raises PacketError."""
    tun.inject(*echo(tun))
    _, text = fail(tun.expect, lambda packet: parse(packet.payload))
    assert "got a packet for which it raises PacketError: IPv6 header needs 40 bytes, got 5" in text


class TestDecisivePacket:
    """Tests of the mark on the packet that made a test fail; the HTML report selects this packet first."""

    def comments(self, tun):
        """Return the last part of the comment of each packet that the kernel sent."""
        return [each.comment.rpartition("; ")[2] for each in tun.record if each.direction == "out"]

    def test_failed_expect_marks_the_closest_match_with_its_differences(self, tun):
        for number in (1, 5, 2):
            tun.inject(*echo(tun, number))
        tun.inject(*syn(tun))
        fail(tun.expect, ICMP.where(sequence_number=lambda n: n == 77, type=0))
        sent = [each.comment for each in tun.record if each.direction == "out"]
        assert ["; closest match; " in each for each in sent] == [False, False, True, False]
        assert self.comments(tun)[2] == "ICMP.sequence_number: wanted lambda n: n == 77, got 2"

    def test_failed_expect_none_marks_the_unwanted_packet(self, tun):
        tun.inject(*echo(tun, 1))
        tun.inject(*syn(tun))
        with pytest.raises(ExpectationError):
            tun.expect_none(TCP)
        assert self.comments(tun) == ["", "unwanted"]


def test_expect_packet_that_the_test_injected_says_so(tun):
    tun.inject(IPv4(src=tun.peer, dst=tun.address), TCP(src_port=4000, dst_port=80, flags=TCPFlag.SYN))
    with pytest.raises(ExpectationError) as caught:
        tun.expect(TCP.where(dst_port=80, flags=TCPFlag.SYN), timeout=0)
    assert caught.value.injected.startswith("test_expectations.py:")
    said = (
        f"\nthe packet injected at {caught.value.injected} is as wanted, but goes in the other direction. Expect what"
    )
    assert said in str(caught.value)


def test_expect_any_tcp_after_injected_tcp_does_not_mention_it(tun):
    tun.inject(IPv4(src=tun.peer, dst="192.0.2.1"), TCP(src_port=4000, dst_port=80, flags=TCPFlag.SYN))
    with pytest.raises(ExpectationError) as caught:
        tun.expect(TCP, timeout=0)
    assert caught.value.injected == ""
