"""Sentences about kernel counters and drop reasons. The names of counters and reasons must exist in this kernel."""

import pytest

from tunlab.kernel.network.counters import read_counters
from tunlab.kernel.network.drop_monitor import read_drop_tracepoint
from tunlab.packet import UDP, IPv4
from tunlab.report import counter_text
from tunlab.report.counter_text import describe_counters, describe_drop_reasons
from tunlab.report.evidence import gather_evidence
from tunlab.report.kernel_report import kernel_report

# Some kernels lack these counters, because they are older or built with other options.
MAY_BE_ABSENT = {"TcpExt.TCPAORequired", "TcpExt.TCPAOBad", "TcpExt.TCPAOKeyNotFound", "TcpExt.BeyondWindow",
                 "TcpExt.TSEcrRejected", "TcpExt.PAWSOldAck"}  # fmt: skip


def test_counters_named_in_sentences_exist_in_the_kernel(recorded_tun):
    named = {name for names, _ in counter_text._EVENTS for name in names}
    assert named - set(read_counters(recorded_tun.netns)) - MAY_BE_ABSENT == set()


def test_drop_reasons_with_a_text_exist_in_the_kernel():
    assert set(counter_text.REASONS) - set(read_drop_tracepoint().reasons.values()) == set()


def test_describe_counters_returns_one_sentence_for_two_counters_of_one_event():
    sentences, rest = describe_counters(
        {"Udp.InCsumErrors": 2, "Udp.InErrors": 3, "Ip.InReceives": 9, "Ip.DefaultTTL": 64}
    )
    assert sentences == [
        "dropped 2 packets: bad UDP checksum (Udp.InCsumErrors, Udp.InErrors)",
        "dropped 1 packet: invalid UDP length, or the socket refused it (Udp.InErrors)",
    ]
    assert rest == {"Ip.InReceives": 9}


def test_describe_counters_says_fragments_wait_only_if_none_was_reassembled():
    sentences = ["keeps 2 packets until the other fragments arrive (Ip.ReasmReqds)"]
    assert describe_counters({"Ip.ReasmReqds": 2}) == (sentences, {})
    assert describe_counters({"Ip.ReasmReqds": 2, "Ip.ReasmOKs": 1}) == ([], {"Ip.ReasmReqds": 2, "Ip.ReasmOKs": 1})
    assert "Ip.ReasmReqds" in describe_counters({"Ip.ReasmReqds": 2, "Ip.ReasmFails": 1})[1]


def test_describe_counters_omits_byte_counts_and_settings():
    assert describe_counters(
        {"IpExt.InOctets": 500, "IcmpMsg.InType8": 1, "Tcp.RtoMin": 200, "IpExt.InNoECTPkts": 4}
    ) == (
        [],
        {},
    )


@pytest.mark.parametrize("names", [names for names, _ in counter_text._EVENTS], ids=lambda names: names[0])
def test_describe_counters_returns_one_sentence_for_each_event(names):
    sentences, rest = describe_counters(dict.fromkeys(names, 1))
    assert len(sentences) == 1
    assert sentences[0].endswith(f"({', '.join(names)})")
    assert rest == {}


def test_kernel_report_omits_drop_reason_with_more_drops_than_packets(recorded_netns, recorded_tun):
    def report(*reasons):
        return "\n".join(kernel_report([recorded_netns], evidence, reasons))

    evidence = gather_evidence([recorded_netns])
    assert report("IP_CSUM", "NOT_SPECIFIED") == ""
    recorded_tun.inject(IPv4(src=recorded_tun.peer, dst=recorded_tun.address, checksum=1), UDP())
    evidence = gather_evidence([recorded_netns])
    shown = report("IP_CSUM", *["CPU_BACKLOG"] * 2)
    assert "IP_CSUM" in shown
    assert "CPU_BACKLOG" not in shown
    recorded_netns.record = None  # Without a capture the number of packets is unknown, so every reason is shown.
    assert "CPU_BACKLOG, 2 times" in report(*["CPU_BACKLOG"] * 2)


def test_describe_drop_reasons_shows_unknown_reason_by_its_name():
    assert describe_drop_reasons({"IP_CSUM": 1, "NEW_ONE": 3}) == [
        "bad IP header checksum (IP_CSUM)",
        "NEW_ONE (NEW_ONE, 3 times)",
    ]
