"""The ladder's columns."""

from tests.report.recordings import KERNEL, PEER, SESSION, framed, recorded
from tunlab.packet import UDP, IPv4, build, parse
from tunlab.recorder import read_pcapng
from tunlab.report.page.arrows import Arrow
from tunlab.report.page.columns import MOST, find_columns

TO_AND_FRO = [Arrow(0, (1,)), Arrow(1, (0,)), Arrow(0, (1,))]


def packets_between(*pairs):
    return [parse(build(IPv4(src=src, dst=dst), UDP())) for src, dst in pairs]


def test_of_a_tun_the_test_is_left_and_the_kernel_right():
    records = list(read_pcapng(recorded(SESSION[:3])))
    assert find_columns(records, [None] * 3) == ([("test", ""), ("kernel", "tun0")], TO_AND_FRO)


def test_each_tun_has_its_column():
    records = [*read_pcapng(recorded(SESSION[:1])), *read_pcapng(recorded(SESSION[1:2], name="tun1"))]
    drawn = find_columns(records, [None] * 2)
    assert drawn == ([("test", ""), ("kernel", "tun0"), ("kernel", "tun1")], [Arrow(0, (1,)), Arrow(2, (0,))])


def test_without_directions_the_addresses_are_the_ends():
    records = list(read_pcapng(recorded([(None, *layers) for _, *layers in SESSION[:3]])))
    pairs = [(PEER, KERNEL), (KERNEL, PEER), (PEER, KERNEL)]
    assert find_columns(records, packets_between(*pairs)) == ([(PEER, ""), (KERNEL, "")], TO_AND_FRO)


def test_of_ethernet_the_addresses_are_the_ends_and_what_has_none_has_no_step():
    records = list(read_pcapng(framed(b"a", b"b")))
    drawn = find_columns(records, [*packets_between((PEER, KERNEL)), None])
    assert drawn == ([(PEER, ""), (KERNEL, "")], [Arrow(0, (1,)), None])


def test_of_many_addresses_those_with_most_packets_have_a_column():
    pairs = [(f"192.0.2.{last}", KERNEL) for last in range(1, MOST + 3)]
    busy = (f"192.0.2.{MOST + 2}", KERNEL)
    drawn = find_columns(list(read_pcapng(framed(b""))), packets_between(*pairs, busy))
    assert drawn.columns[-2:] == [(busy[0], ""), ("others", "3 more")]
    assert len(drawn.columns) == MOST + 1
    assert drawn.arrows[MOST - 1] == Arrow(MOST, (1,))
    assert drawn.arrows[-1] == Arrow(MOST - 1, (1,))


def test_no_packet_has_no_end():
    assert find_columns([], []) == ([], [])
