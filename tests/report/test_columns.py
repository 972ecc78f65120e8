"""Columns and arrows of the sequence diagram in the HTML report."""

from tests.report.recordings import KERNEL, PEER, SESSION, framed, recorded
from tunlab.packet import ARP, UDP, VLAN, Ethernet, IPv4, IPv6, Packet, build, parse
from tunlab.recorder import read_pcapng
from tunlab.report.page.arrows import Arrow
from tunlab.report.page.columns import MAX_COLUMNS, find_columns

REQUEST_REPLY_REQUEST = [Arrow(0, (1,)), Arrow(1, (0,)), Arrow(0, (1,))]


def packets_between(*pairs):
    return [parse(build(IPv4(src=src, dst=dst), UDP())) for src, dst in pairs]


def test_find_columns_of_one_tun_returns_columns_test_and_kernel():
    records = list(read_pcapng(recorded(SESSION[:3])))
    assert find_columns(records, [None] * 3) == ([("test", ""), ("kernel", "tun0")], REQUEST_REPLY_REQUEST)


def test_find_columns_of_two_tuns_returns_one_kernel_column_per_tun():
    records = [*read_pcapng(recorded(SESSION[:1])), *read_pcapng(recorded(SESSION[1:2], name="tun1"))]
    ladder = find_columns(records, [None] * 2)
    assert ladder == ([("test", ""), ("kernel", "tun0"), ("kernel", "tun1")], [Arrow(0, (1,)), Arrow(2, (0,))])


def test_find_columns_of_packets_without_direction_returns_ip_addresses():
    records = list(read_pcapng(recorded([(None, *layers) for _, *layers in SESSION[:3]])))
    pairs = [(PEER, KERNEL), (KERNEL, PEER), (PEER, KERNEL)]
    assert find_columns(records, packets_between(*pairs)) == ([(PEER, ""), (KERNEL, "")], REQUEST_REPLY_REQUEST)


def test_find_columns_of_ethernet_frames_returns_ip_addresses_and_no_arrow_for_non_ip():
    records = list(read_pcapng(framed(b"a", b"b")))
    ladder = find_columns(records, [*packets_between((PEER, KERNEL)), None])
    assert ladder == ([(PEER, ""), (KERNEL, "")], [Arrow(0, (1,)), None])


def test_find_columns_of_ethernet_frames_returns_arrows_only_for_arp_and_ip():
    link = Ethernet(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
    arp = Packet.of(link, ARP(sender_protocol=PEER, target_protocol=KERNEL))
    six = Packet.of(link, VLAN(vid=7), IPv6(src="fd00::1", dst="fd00::2"), UDP())
    unknown = Packet.of(link.replace(type=0x88B5), b"payload")
    ladder = find_columns(list(read_pcapng(framed(b"a", b"b", b"c"))), [arp, six, unknown])
    assert ladder.columns == [(PEER, ""), (KERNEL, ""), ("fd00::1", ""), ("fd00::2", "")]
    assert ladder.arrows == [Arrow(0, (1,)), Arrow(2, (3,)), None]


def test_find_columns_of_many_addresses_returns_most_frequent_ones_and_others():
    pairs = [(f"192.0.2.{last}", KERNEL) for last in range(1, MAX_COLUMNS + 3)]
    busy = (f"192.0.2.{MAX_COLUMNS + 2}", KERNEL)
    ladder = find_columns(list(read_pcapng(framed(b""))), packets_between(*pairs, busy))
    assert ladder.columns[-2:] == [(busy[0], ""), ("others", "3 more")]
    assert len(ladder.columns) == MAX_COLUMNS + 1
    assert ladder.arrows[MAX_COLUMNS - 1] == Arrow(MAX_COLUMNS, (1,))
    assert ladder.arrows[-1] == Arrow(MAX_COLUMNS - 1, (1,))


def test_find_columns_without_packets_returns_empty_lists():
    assert find_columns([], []) == ([], [])
