"""The words for counters and reasons: of this kernel's, and each thing said once."""

import pytest

from tunlab.kernel.network.counters import read_counters
from tunlab.kernel.network.drop_monitor import read_drop_tracepoint
from tunlab.packet import UDP, IPv4
from tunlab.report import counter_text
from tunlab.report.counter_text import describe_counters, describe_drop_reasons
from tunlab.report.evidence import gather_evidence
from tunlab.report.kernel_report import kernel_report

# Of a kernel with another configuration, or another age.
MAY_BE_ABSENT = {"TcpExt.TCPAORequired", "TcpExt.TCPAOBad", "TcpExt.TCPAOKeyNotFound", "TcpExt.BeyondWindow",
                 "TcpExt.TSEcrRejected", "TcpExt.PAWSOldAck"}  # fmt: skip


def test_every_counter_that_has_words_is_there(recorded_tun):
    named = {name for names, _ in counter_text._EVENTS for name in names}
    assert named - set(read_counters(recorded_tun.netns)) - MAY_BE_ABSENT == set()


def test_every_reason_that_has_words_is_one():
    assert set(counter_text.REASONS) - set(read_drop_tracepoint().reasons.values()) == set()


def test_what_moves_together_is_told_as_one_and_the_rest_alone():
    said, rest = describe_counters({"Udp.InCsumErrors": 2, "Udp.InErrors": 3, "Ip.InReceives": 9, "Ip.DefaultTTL": 64})
    assert said == [
        "dropped 2 datagrams: bad UDP checksum (Udp.InCsumErrors, Udp.InErrors)",
        "dropped 1 datagram: its UDP length cannot be, or the socket did not take it (Udp.InErrors)",
    ]
    assert rest == {"Ip.InReceives": 9}


def test_fragments_wait_only_where_none_was_put_together_or_given_up():
    said = ["keeps 2 datagrams: a fragment that waits for the rest (Ip.ReasmReqds)"]
    assert describe_counters({"Ip.ReasmReqds": 2}) == (said, {})
    assert describe_counters({"Ip.ReasmReqds": 2, "Ip.ReasmOKs": 1}) == ([], {"Ip.ReasmReqds": 2, "Ip.ReasmOKs": 1})
    assert "Ip.ReasmReqds" in describe_counters({"Ip.ReasmReqds": 2, "Ip.ReasmFails": 1})[1]


def test_what_is_of_no_use_is_left_out():
    assert describe_counters(
        {"IpExt.InOctets": 500, "IcmpMsg.InType8": 1, "Tcp.RtoMin": 200, "IpExt.InNoECTPkts": 4}
    ) == (
        [],
        {},
    )


@pytest.mark.parametrize("names", [names for names, _ in counter_text._EVENTS], ids=lambda names: names[0])
def test_each_can_be_reached(names):
    said, rest = describe_counters(dict.fromkeys(names, 1))
    assert len(said) == 1
    assert said[0].endswith(f"({', '.join(names)})")
    assert rest == {}


def test_reasons_that_are_more_than_the_packets_are_a_strangers(recorded_netns, recorded_tun):
    def said(*reasons):
        return "\n".join(kernel_report([recorded_netns], evidence, reasons))

    evidence = gather_evidence([recorded_netns])
    assert said("IP_CSUM", "NOT_SPECIFIED") == ""
    recorded_tun.inject(IPv4(src=recorded_tun.peer, dst=recorded_tun.address, checksum=1), UDP())
    evidence = gather_evidence([recorded_netns])
    shown = said("IP_CSUM", *["CPU_BACKLOG"] * 2)
    assert "IP_CSUM" in shown
    assert "CPU_BACKLOG" not in shown
    recorded_netns.record = None  # nobody knows how many there were
    assert "CPU_BACKLOG, 2 times" in said(*["CPU_BACKLOG"] * 2)


def test_reasons_with_and_without_words():
    assert describe_drop_reasons({"IP_CSUM": 1, "NEW_ONE": 3}) == [
        "bad IP header checksum (IP_CSUM)",
        "NEW_ONE (NEW_ONE, 3 times)",
    ]
