"""Explanations of failed `assert` statements that compare packets, in real pytest runs."""

import sys

import pytest

HEAD = """
    from tunlab.packet import ICMP, TCP, IPv4, Packet, TCPFlag, build, parse

    IP = IPv4(src="10.1.2.3", dst="10.1.2.1")
    ONE = build(IP, TCP(src_port=1, dst_port=2, flags=TCPFlag.ACK), b"abc")
    TWO = build(IP, TCP(src_port=1, dst_port=2, flags=TCPFlag.SYN), b"abd")

    def test_it():
"""


@pytest.fixture
def lines(pytester, monkeypatch):
    """Return a function that runs a failing assert statement and returns pytest's explanation of it."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)

    def lines(statement, *arguments, head=HEAD):
        pytester.makepyfile(head + f"        {statement}\n")
        result = pytester.run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments)
        result.assert_outcomes(failed=1)
        # pytest leaves out "AssertionError: " if the line would be too wide.
        return [line[1:].strip().removeprefix("AssertionError: ") for line in result.outlines if line[:2] == "E "]

    return lines


@pytest.mark.parametrize(
    "statement", ["assert parse(ONE) == parse(TWO)", "assert ONE == TWO"], ids=["packets", "datagrams"]
)
def test_failed_assert_of_equal_packets_lists_differing_fields_and_header_diagram(lines, statement):
    shown = lines(statement, "-vv")
    assert shown[0] == ("assert IPv4/TCP == IPv4/TCP, but for TCP.flags, TCP.payload, TCP.checksum")
    assert shown[1] == "TCP.flags: left ACK, right SYN"
    assert "left      0  61 62 63                                         abc" in shown
    assert any("|      flags      |" in line for line in shown)
    assert any("+-+-+-+-+-+-+-+^^^^^^^^^^^^^^^^^+-+-" in line for line in shown)


def test_failed_assert_of_equal_packets_without_verbose_lists_differing_fields_first(lines, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    shown = lines("assert parse(ONE) == parse(TWO)")
    assert shown[1] == "TCP.flags: left ACK, right SYN"
    assert any("truncated" in line for line in shown)


def test_failed_assert_of_equal_headers_explains_computed_fields(lines):
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
        ("assert parse(ONE) == ONE", "one side is a packet, the other is bytes. Compare bytes(packet)."),
        ("assert parse(ONE) != parse(ONE)", "all fields are equal"),
        ("assert parse(ONE) in {1: 2}", "assert Packet("),
        ("assert 1 in [parse(ONE)]", "assert 1 in ["),
    ],
)
def test_failed_assert_of_another_comparison_has_expected_explanation(lines, statement, said):
    assert any(said in line for line in lines(statement))


def test_failed_assert_of_equal_bytes_does_not_import_tunlab_packet(lines):
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
def test_failed_assert_that_packet_equals_bytes_suggests_comparing_bytes(lines, statement):
    shown = lines(statement, "-vv")
    assert shown[0] == "assert IPv4/TCP == IPv4/TCP, but for TCP.flags, TCP.payload, TCP.checksum"
    assert shown[1] == "one side is a packet, the other is bytes. Compare bytes(packet)."
    assert shown[2] == "TCP.flags: left ACK, right SYN"


def test_failed_assert_of_equal_packet_lists_explains_first_difference(lines):
    shown = lines("assert [parse(ONE), parse(ONE)] == [parse(ONE), parse(TWO)]", "-vv")
    assert shown[0] == (
        "assert 2 packets == 2 packets, at [1]: IPv4/TCP == IPv4/TCP, but for TCP.flags, TCP.payload, TCP.checksum"
    )
    assert shown[1] == "TCP.flags: left ACK, right SYN"


def test_failed_assert_of_equal_packet_lists_shows_extra_packets(lines):
    shown = lines("assert [parse(ONE)] == [parse(ONE), parse(TWO)]", "-vv")
    assert shown[:2] == ["assert 1 packet == 2 packets", "only in the right side:"]
    assert shown[2].startswith("[1]: IP 10.1.2.3.1 > 10.1.2.1.2: Flags [S]")


PINGS = """
    from tunlab.packet import ICMP, IPv4, parse

    def test_it(tun):
        tun.inject(IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(1, 1), b"hello world" * 3)
        got = tun.expect(ICMP.where(type=0))
        wanted = b"hello world" * 2 + b"hello+world"
"""


@pytest.mark.parametrize("sides", ["got.payload == wanted", "wanted == got.payload"])
def test_failed_assert_of_payload_from_a_tun_shows_differing_bytes(lines, sides):
    shown = lines(f"assert {sides}", head=PINGS)
    assert shown[0] == "assert payload: left 33 bytes, right 33: byte 27 differs"
    ours = "left" if sides.startswith("got") else "right"
    line = next(line for line in shown if line.startswith(ours))
    assert line.split()[1:13] == ["16", "20", "77", "6f", "72", "6c", "64", "68", "65", "6c", "6c", "6f"]
    assert "^^" in shown


def test_failed_assert_of_other_bytes_has_explanation_of_pytest(lines):
    shown = lines('assert wanted == wanted.replace(b"+", b" ") + b"!"', head=PINGS)
    assert any("At index 27 diff" in line for line in shown)


def test_failed_assert_of_short_payload_has_explanation_of_pytest(lines):
    head = PINGS.replace(" * 3", "")
    assert any("At index 5 diff" in line for line in lines('assert got.payload == b"hello+world"', head=head))


def test_failed_assert_of_payload_from_another_test_has_explanation_of_pytest(pytester, run):
    pytester.makepyfile(
        PINGS + '\n    def test_after():\n        assert b"hello world" * 3 == b"hello world" * 2 + b"hello+world"\n'
    )
    result = run()
    result.assert_outcomes(passed=1, failed=1)
    assert "At index 27 diff" in result.stdout.str()


def test_failed_assert_of_packet_in_list_shows_each_packet_and_the_closest_match(lines):
    shown = lines("assert parse(ONE) in [parse(build(IP, ICMP.echo_request(1, 1))), parse(TWO)]", "-vv")
    assert shown[0] == "assert IP 10.1.2.3.1 > 10.1.2.1.2: Flags [.], seq 0:3, ack 0, win 65535, length 3 in 2 packets"
    assert shown[1] == "[0]: IP 10.1.2.3 > 10.1.2.1: ICMP echo request, id 1, seq 1, length 8"
    assert shown[2].startswith("[1]: IP 10.1.2.3.1 > 10.1.2.1.2: Flags [S]")
    assert shown[3] == "closest match is [1]: IPv4/TCP == IPv4/TCP, but for TCP.flags, TCP.payload, TCP.checksum"
    assert shown[4] == "TCP.flags: left ACK, right SYN"


def test_failed_assert_of_packet_not_in_list_names_the_equal_element(lines):
    shown = lines("assert parse(ONE) not in (parse(TWO), parse(ONE))")
    assert shown[0].endswith("length 3 not in 2 packets")
    assert shown[1] == "it is equal to [1]"


def test_failed_assert_of_packet_in_empty_list_shows_zero_packets(lines):
    assert lines("assert parse(ONE) in []")[0].endswith("length 3 in 0 packets")
