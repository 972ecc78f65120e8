"""The HTML report's sequence diagram between the nodes of a lab, made from a pcapng recording alone."""

import io

import pytest

from tests.report.test_fields import ARP_REQUEST
from tests.report.test_ladder import PING, evidence, observation
from tunlab.recorder import LINKTYPE_ETHERNET, LINKTYPE_RAW, PcapngWriter, read_pcapng
from tunlab.report.evidence import to_pcapng
from tunlab.report.ladder import ladder_rows
from tunlab.report.page.arrows import Arrow
from tunlab.report.page.data import decode_records
from tunlab.report.page.lab_columns import MAX_COLUMNS, have_nodes

TO_ROUTER = bytes(6) + b"\2\0\0\0\1\1\x08\x00" + PING
TO_SERVER = bytes(6) + b"\2\0\0\0\2\1\x08\x00" + PING  # the frame after the router, with other Ethernet addresses
ARP = b"\xff" * 6 + b"\2\0\0\0\1\1\x08\x06" + ARP_REQUEST


def between(*observations, interfaces=()):
    """Return a pcapng file of packets, each a tuple (device, direction, bytes), 1 µs apart.

    Packets of a device named `tun…` have no link header.
    """
    file = io.BytesIO()
    writer, numbers = PcapngWriter(file), {}
    for device in (*interfaces, *(device for device, _, _ in observations)):
        if device not in numbers:
            linktype = LINKTYPE_RAW if ":tun" in device else LINKTYPE_ETHERNET
            numbers[device] = writer.add_interface(device, linktype=linktype)
    for time, (device, direction, data) in enumerate(observations):
        writer.write(numbers[device], data, time_ns=time * 1000, direction=direction)
    return file.getvalue()


def decode(*observations, interfaces=()):
    """Return the column titles, arrows and packet rows that the HTML report shows for these packets."""
    decoded = decode_records(list(read_pcapng(between(*observations, interfaces=interfaces))))
    return [title for title, _ in decoded.ladder.columns], decoded.ladder.arrows, decoded.rows


def test_lab_diagram_of_packet_dropped_by_router_has_arrow_to_router():
    columns, arrows, rows = decode(("client:eth0", "out", TO_ROUTER), ("router:eth0", "in", TO_ROUTER))
    assert columns == ["client", "router"]
    assert arrows == [Arrow(0, (1,), (1,)), None]
    assert rows == [0]


def test_lab_diagram_of_routed_packet_has_one_arrow_per_link():
    columns, arrows, rows = decode(
        ("client:eth0", "out", TO_ROUTER), ("router:eth0", "in", TO_ROUTER),
        ("router:lan0", "out", TO_SERVER), ("server:eth0", "in", TO_SERVER),
    )  # fmt: skip
    assert columns == ["client", "router", "server"]
    assert [arrows[row] for row in rows] == [Arrow(0, (1,), (1,)), Arrow(1, (2,), (3,))]


def test_lab_diagram_has_no_column_for_a_switch():
    columns, arrows, rows = decode(
        ("a:eth0", "out", ARP), ("switch:eth0", "in", ARP), ("switch:eth1", "out", ARP), ("b:eth0", "in", ARP),
        ("switch:eth2", "out", ARP), ("c:eth0", "in", ARP),
    )  # fmt: skip
    assert columns == ["a", "b", "c"]
    assert arrows[0] == Arrow(0, (1, 2), received=(3, 5), forwarded=(1, 2, 4))
    assert rows == [0]


def test_lab_diagram_of_packet_sent_by_switch_has_row_without_arrow():
    own = bytes(12) + b"\x08\x00" + PING
    columns, arrows, rows = decode(
        ("a:eth0", "out", ARP), ("switch:eth0", "in", ARP), ("switch:eth1", "out", ARP), ("switch:eth1", "out", own)
    )
    assert columns == ["a"]
    assert arrows == [Arrow(0, (), forwarded=(1, 2)), None, None, None]
    assert rows == [0, 3]


@pytest.mark.parametrize(
    ("observation", "columns", "arrow"),
    [
        (("router:lan0", "out", TO_SERVER), ["router"], Arrow(0, ())),
        (("server:eth0", "in", TO_SERVER), ["server"], Arrow(-1, (0,))),
        (("server:lo", "in", TO_SERVER), ["server"], Arrow(0, (0,))),
        (("stack:tun0", "in", PING), ["test", "stack"], Arrow(0, (1,))),
        (("stack:tun0", "out", PING), ["test", "stack"], Arrow(1, (0,))),
    ],
    ids=["not received", "unknown sender", "over lo", "injected", "to the test"],
)
def test_lab_diagram_of_packet_recorded_once_takes_arrow_from_device_and_direction(observation, columns, arrow):
    assert decode(observation) == (columns, [arrow], [0])


def test_lab_diagram_of_packet_sent_twice_has_two_arrows():
    twice = [("client:eth0", "out", ARP), ("router:eth0", "in", ARP)] * 2
    assert decode(*twice)[1:] == ([Arrow(0, (1,), (1,)), None, Arrow(0, (1,), (3,)), None], [0, 2])


def test_lab_diagram_columns_are_in_interface_order_without_idle_nodes():
    named = ("client:eth0", "router:eth0", "server:eth0", "idle:eth0")
    observation = ("server:eth0", "out", TO_SERVER), ("client:eth0", "in", TO_SERVER)
    assert decode(*observation, interfaces=named)[0] == ["client", "server"]


def test_lab_diagram_of_many_nodes_has_columns_for_the_busiest_and_for_others():
    busy = [(f"n{number}:eth0", "out", TO_SERVER) for number in range(MAX_COLUMNS)] * 2
    columns, arrows, _ = decode(*[(f"idle{number}:eth0", "out", ARP) for number in range(3)], *busy)
    assert columns == [*(f"n{number}" for number in range(MAX_COLUMNS)), "others"]
    assert arrows[0] == Arrow(MAX_COLUMNS, ())


@pytest.mark.parametrize(
    ("name", "direction"), [("tun0", "in"), ("a:eth0", None), (r"C:\Device one", "in"), ("", "in")]
)
def test_have_nodes_is_false_for_interface_without_node_or_direction(name, direction):
    assert not have_nodes(list(read_pcapng(between((name, direction, TO_SERVER)))))


def test_have_nodes_is_false_for_empty_recording():
    assert not have_nodes([])


def test_lab_diagram_has_the_same_arrows_in_html_page_and_terminal():
    passed = [
        ("client", "eth0", "out"), ("link1", "port0", "in"), ("link1", "port1", "out"), ("router", "eth0", "in"),
        ("router", "lan0", "out"), ("server", "eth0", "in"), ("server", "lo", "in"), ("stack", "tun0", "in"),
        ("stack", "tun0", "out"), ("server", "eth0", "out"), ("client", "eth0", "in"),
    ]  # fmt: skip
    ends = ("client", "router", "server", "stack")
    whole = evidence(
        *(
            observation(node, direction, PING if number < 4 else PING[:-number], time=number // 2,
                    on_link=ifname != "tun0",
                     ifname=ifname, several_nodes=True)
            for number, (node, ifname, direction) in enumerate(passed)
        ),
        endpoints=ends,
    )  # fmt: skip
    decoded = decode_records(list(read_pcapng(to_pcapng(whole, comment="x"))))
    names = dict(enumerate(title for title, _ in decoded.ladder.columns))
    arrows = [
        (number + 1, names.get(arrow.origin, ""), names.get(target, ""))
        for number, arrow in enumerate(decoded.ladder.arrows)
        if arrow is not None
        for target in arrow.targets or [None]
    ]
    assert arrows == [(row.number, row.origin, row.target) for row in ladder_rows(whole)]
    assert list(names.values()) == ["test", *ends]
