"""A bare `assert a == b`, by real pytest runs: packets by their fields, everything else as pytest has it."""

import sys

import pytest

HEAD = """
    from tunlab.packet import ICMP, TCP, IPv4, Packet, TCPFlag, build, parse

    IP = IPv4(src="10.1.2.3", dst="10.1.2.1")
    ONE = build(IP, TCP(src_port=1, dst_port=2), b"abc")
    TWO = build(IP, TCP(src_port=1, dst_port=2, flags=TCPFlag.SYN), b"abd")

    def test_it():
"""


@pytest.fixture
def lines(pytester, monkeypatch):
    """`lines(statement)`: what pytest says of its failure, in a process of its own."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)

    def lines(statement, *arguments, head=HEAD):
        pytester.makepyfile(head + f"        {statement}\n")
        result = pytester.run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments)
        result.assert_outcomes(failed=1)
        # Where the line would be too wide, pytest leaves the error's name off.
        return [line[1:].strip().removeprefix("AssertionError: ") for line in result.outlines if line[:2] == "E "]

    return lines


@pytest.mark.parametrize(
    "statement", ["assert parse(ONE) == parse(TWO)", "assert ONE == TWO"], ids=["packets", "datagrams"]
)
def test_packets_and_datagrams_by_their_fields_and_in_full_a_box(lines, statement):
    shown = lines(statement, "-vv")
    assert shown[0] == ("assert IPv4/TCP == IPv4/TCP, but for TCP.flags, TCP.payload, TCP.checksum")
    assert shown[1] == "TCP.flags: left 0, right SYN"
    assert "left      0  61 62 63                                         abc" in shown
    assert any("|     flags     |" in line for line in shown)
    assert any("+-+-+-+-+-+-+-+-+^^^^^^^^^^^^^^^+-+-" in line for line in shown)


def test_cut_to_a_few_lines_the_fields_are_what_stands_there(lines, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    shown = lines("assert parse(ONE) == parse(TWO)")
    assert shown[1] == "TCP.flags: left 0, right SYN"
    assert any("truncated" in line for line in shown)


def test_headers(lines):
    shown = lines("assert parse(ONE).tcp == TCP(src_port=9, dst_port=2)", "-vv")
    assert shown[0].startswith("assert TCP == TCP, but for TCP.src_port, ")
    assert "None is computed when the packet is built: compare complete(packet), or bytes(packet)" in shown


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ('assert b"Everybody is here today" == b"Everybody was here today"', "At index 10 diff"),
        ('assert b"short" == b"shirt"', "At index 2 diff"),
        ("assert [1, 2] == [1, 3]", "At index 1 diff"),
        ("assert IP == TCP()", "assert IPv4("),
        ("assert parse(ONE) == ONE", "one is a packet, the other is octets: compare bytes(packet)"),
        ("assert parse(ONE) != parse(ONE)", "they are the same in every field"),
        ("assert parse(ONE) in {1: 2}", "assert Packet("),
        ("assert 1 in [parse(ONE)]", "assert 1 in ["),
    ],
)
def test_what_are_no_two_packets_is_left_to_pytest_or_said(lines, statement, said):
    assert any(said in line for line in lines(statement))


def test_a_run_that_uses_no_packets_loads_none(lines):
    head = """
    import sys

    def test_it():
        try:
            assert bytes(30) == bytes(31)
        except AssertionError:
            pass
"""
    shown = lines('assert [each for each in sys.modules if each.startswith("tunlab.packet")] == ["none"]', head=head)
    assert shown[0] == "assert [] == ['none']"


@pytest.mark.parametrize("statement", ["assert parse(ONE) == TWO", "assert ONE == parse(TWO)"])
def test_a_packet_and_octets_by_their_fields_and_that_they_are_never_equal(lines, statement):
    shown = lines(statement, "-vv")
    assert shown[0] == "assert IPv4/TCP == IPv4/TCP, but for TCP.flags, TCP.payload, TCP.checksum"
    assert shown[1] == "one is a packet, the other is octets: compare bytes(packet)"
    assert shown[2] == "TCP.flags: left 0, right SYN"


def test_lists_by_the_first_packet_that_differs(lines):
    shown = lines("assert [parse(ONE), parse(ONE)] == [parse(ONE), parse(TWO)]", "-vv")
    assert shown[0] == (
        "assert 2 packets == 2 packets, at [1]: IPv4/TCP == IPv4/TCP, but for TCP.flags, TCP.payload, TCP.checksum"
    )
    assert shown[1] == "TCP.flags: left 0, right SYN"


def test_lists_of_another_length_by_what_one_alone_has(lines):
    shown = lines("assert [parse(ONE)] == [parse(ONE), parse(TWO)]", "-vv")
    assert shown[:2] == ["assert 1 packet == 2 packets", "those that only the right side has:"]
    assert shown[2].startswith("[1]: IP 10.1.2.3.1 > 10.1.2.1.2: Flags [S]")


PINGS = """
    from tunlab.packet import ICMP, IPv4, parse

    def test_it(tun):
        tun.inject(IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(1, 1), b"hello world" * 3)
        got = tun.expect(ICMP.where(type=0))
        wanted = b"hello world" * 2 + b"hello+world"
"""


@pytest.mark.parametrize("sides", ["got.payload == wanted", "wanted == got.payload"])
def test_a_payload_of_this_test_by_the_octets_that_differ(lines, sides):
    shown = lines(f"assert {sides}", head=PINGS)
    assert shown[0] == "assert payload: left 33 octets, right 33: octet 27 differs"
    ours = "left" if sides.startswith("got") else "right"
    line = next(line for line in shown if line.startswith(ours))
    assert line.split()[1:13] == ["16", "20", "77", "6f", "72", "6c", "64", "68", "65", "6c", "6c", "6f"]
    assert "^^" in shown


def test_octets_that_are_no_payload_of_this_test_are_left_to_pytest(lines):
    shown = lines('assert wanted == wanted.replace(b"+", b" ") + b"!"', head=PINGS)
    assert any("At index 27 diff" in line for line in shown)


def test_a_short_payload_is_left_to_pytest(lines):
    head = PINGS.replace(" * 3", "")
    assert any("At index 5 diff" in line for line in lines('assert got.payload == b"hello+world"', head=head))


def test_a_payload_of_another_test_is_left_to_pytest(pytester, run):
    pytester.makepyfile(
        PINGS + '\n    def test_after():\n        assert b"hello world" * 3 == b"hello world" * 2 + b"hello+world"\n'
    )
    result = run()
    result.assert_outcomes(passed=1, failed=1)
    assert "At index 27 diff" in result.stdout.str()


def test_in_a_list_by_its_packets_and_the_nearest_of_them(lines):
    shown = lines("assert parse(ONE) in [parse(build(IP, ICMP.echo_request(1, 1))), parse(TWO)]", "-vv")
    assert shown[0] == "assert IP 10.1.2.3.1 > 10.1.2.1.2: Flags [none], seq 0:3, win 65535, length 3 in 2 packets"
    assert shown[1] == "[0]: IP 10.1.2.3 > 10.1.2.1: ICMP echo request, id 1, seq 1, length 8"
    assert shown[2].startswith("[1]: IP 10.1.2.3.1 > 10.1.2.1.2: Flags [S]")
    assert shown[3] == "[1] is the nearest: IPv4/TCP == IPv4/TCP, but for TCP.flags, TCP.payload, TCP.checksum"
    assert shown[4] == "TCP.flags: left 0, right SYN"


def test_not_in_a_list_by_which_of_them_it_is(lines):
    shown = lines("assert parse(ONE) not in (parse(TWO), parse(ONE))")
    assert shown[0].endswith("length 3 not in 2 packets")
    assert shown[1] == "it is [1]"


def test_in_nothing(lines):
    assert lines("assert parse(ONE) in []")[0].endswith("length 3 in 0 packets")
