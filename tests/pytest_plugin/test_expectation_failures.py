"""Tests that fail on purpose, in a real pytest run. The report of each failure must contain certain texts."""

import re
import sys
from textwrap import dedent, indent

import pytest

HEAD = r"""
import threading

import pytest

from tunlab.packet import ICMP, TCP, UDP, IPFlag, IPv4, TCPFlag, build, parse
from tunlab.packet.tcp_options import MSS

SYN, ACK = TCPFlag.SYN, TCPFlag.ACK
LEAKED = []


def to(tun, **fields):
    return IPv4(src=tun.peer, dst=tun.address, **fields)


def ping(tun, *numbers, payload=b"hello"):
    for number in numbers:
        tun.inject(to(tun), ICMP.echo_request(1, number), payload)


def syn(tun, port=80, **fields):
    tun.inject(to(tun), TCP(src_port=40000, dst_port=port, flags=SYN, **fields))


def firewall(tun, *rules, policy="accept"):
    chain = f"type filter hook input priority 0; policy {policy}; " + "".join(f"{rule}; " for rule in rules)
    tun.run(["nft", f"table inet filter {{ chain input {{ {chain}}}\n}}"], check=True)


def another(make_tun, tun):
    return make_tun(netns=tun.netns, ifname="tun1", address="10.1.3.1/24")
"""

FAILURES = {
    "wrong_port": (
        "tun.listen(80); syn(tun); tun.expect(TCP.where(src_port=8080))",
        ["TCP.src_port: wanted 8080, got 80", "20 |            src port     ", "+^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^+-+"],
    ),
    "wrong_flag": (
        "syn(tun); tun.expect(TCP.where(flags=SYN | ACK))",
        ["TCP.flags: wanted SYN|ACK, got RST|ACK", "|     RST|ACK     |", "+^^^^^^^^^^^^^^^^^+", "Flags [R.]"],
    ),
    "wrong_number": (
        "syn(tun, seq=99); tun.expect(TCP.where(ack=99))",
        ["TCP.ack: wanted 99, got 100", "28 |                              ack                              |"],
    ),
    "wrong_option": (
        "tun.listen(80); syn(tun, options=[MSS(900)]); tun.expect(TCP.where(mss=900))",
        ["TCP.mss: wanted 900, got 1460", "40 | options  02 04 05 b4 ", "+" + "^" * 63 + "+"],
    ),
    "wrong_address": (
        "ping(tun, 1); tun.expect(IPv4.where(dst='10.1.2.99'))",
        ["IPv4.dst: wanted 10.1.2.99, got 10.1.2.2", "16 |                              dst  "],
    ),
    "wrong_ttl": (
        "ping(tun, 1); tun.expect(IPv4.where(ttl=range(1, 10)))",
        ["IPv4.ttl: wanted range(1, 10), got 64", "8 |      ttl      |    protocol   |"],
    ),
    "one_octet_off_in_the_payload": (
        "ping(tun, 1, payload=bytes(40)); tun.expect(ICMP.where(payload=bytes(20) + b'!' + bytes(19)))",
        ["ICMP.payload: wanted 40 bytes, got 40: byte 20 differs", "wanted    16  00 00 00 00 21 00", "^^"],
    ),
    "a_payload_too_short": (
        "ping(tun, 1, payload=b'GET'); tun.expect(ICMP.where(payload=b'GET /'))",
        ["wanted 5 bytes, got 3: 2 bytes differ, the first is byte 3", "got        0  47 45 54 -- --"],
    ),
    "another_protocol": (
        "tun.inject(to(tun), UDP(src_port=5, dst_port=7), b'x'); tun.expect(UDP)",
        ["UDP: wanted present, got IPv4/ICMP", "ICMP port unreachable, for UDP to 10.1.2.1 port 7"],
    ),
    "a_bad_checksum": (
        "tun.emit(to(tun, checksum=1), UDP(src_port=5, dst_port=7)); tun.expect(IPv4.where(checksum=0x62ba))",
        ["IPv4.checksum: wanted 0x62ba, got 0x0001", "[bad IPv4 checksum 0x0001, should be 0x"],
    ),
    "a_fragment": (
        "tun.ping(tun.peer, payload=bytes(2000)); tun.expect(IPv4.where(is_fragment=False))",
        ["2 packets arrived, closest match first:", "IPv4.is_fragment: wanted False, got True", "|flags|",
         "+^^^^^^^^^^^^^^^^^^^^^^^^^+", "fragment id "],
    ),
    "nothing_at_all": ("tun.expect(TCP.where(dst_port=80))", ["for TCP(dst_port=80)", "no packet arrived"]),
    "dropped_by_ttl": (
        (
            "tun.netns.set_sysctl('net.ipv4.ip_forward', 1); other = another(make_tun, tun)\n"
            "tun.inject(IPv4(src=tun.peer, dst='10.1.3.2', ttl=1), UDP(src_port=5, dst_port=6))\n"
            "assert other.fence() == []; tun.expect(UDP)"
        ),
        ["ICMP time to live exceeded in transit, for UDP to 10.1.3.2 port 6", "UDP: wanted present, got IPv4/ICMP"],
    ),
    "on_the_wrong_device": (
        (
            "tun.netns.set_sysctl('net.ipv4.ip_forward', 1); other = another(make_tun, tun)\n"
            "tun.inject(IPv4(src=tun.peer, dst='10.1.3.2'), UDP(src_port=5, dst_port=6)); tun.expect(UDP)"
        ),
        ["for UDP()", "no packet arrived",
         "packet 2 matches, but left tun1; the test expected it on tun0"],
    ),
    "a_function": (
        "ping(tun, 1); tun.expect(ICMP, lambda packet: packet.ip.ttl < 10)",
        ["for ICMP() & lambda packet: packet.ip.ttl < 10", "got a packet for which it returns false"],
    ),
    "a_function_of_a_field": (
        "ping(tun, 7); tun.expect(ICMP.where(sequence_number=lambda n: n % 2 == 0))",
        ["ICMP.sequence_number: wanted lambda n: n % 2 == 0, got 7"],
    ),
    "many": (
        "ping(tun, *range(9)); tun.expect(ICMP.where(sequence_number=50))",
        ["9 packets arrived, closest match first:", "  1. ", "seq 8", "  9. ", "seq 0"],
    ),
    "too_late": (
        (
            "timer = threading.Timer(0.375, tun.device.write, [build(to(tun), ICMP.echo_request(1, 1))])\n"
            "timer.start()\ntry:\n    tun.expect(ICMP, timeout=0.25)\nfinally:\n    timer.join()"
        ),
        ["after the timeout of 250 ms", "a matching packet arrived ", "Raise the timeout or find the delay",
         "· matches, but arrived ", " timed out", " ms for ICMP()"],
    ),
    "much_too_late": (
        "try:\n    tun.expect_all([UDP, ICMP], timeout=0.01)\nfinally:\n    ping(tun, 1)",
        ["no other packet arrived", "packet 2 matches, but left tun0 ", " ms after the test stopped watching"],
    ),
    "some_of_several": (
        "ping(tun, 1); syn(tun); tun.expect_all([ICMP.where(type=0), UDP.where(dst_port=9)])",
        ["2 packets in any order: 1 arrived, 1 did not", "1. arrived      ICMP(type=0)",
         "2. missing      UDP(dst_port=9)",
         "1 other packet arrived:", "Flags [R.]"],
    ),
    "several_in_another_order": (
        "ping(tun, 2, 1); tun.expect_all([ICMP.where(sequence_number=n) for n in (1, 2)], ordered=True)",
        ["in this order: 1 arrived, 1 did not; all of them arrived, but in another order"],
    ),
    "one_that_should_not_come": (
        "syn(tun); tun.expect_none(TCP.where(flags=lambda flags: TCPFlag.RST in flags))",
        ["wanted no TCP(flags=lambda flags: TCPFlag.RST in flags), but 1 arrived:", "<-- unwanted"],
    ),
    "no_quiet": ("ping(tun, 1, 2); tun.expect_silence()", ["wanted no packet, but 2 arrived:", "1. ", "2. "]),
    "no_fence": (
        "tun.device.down(); tun.expect_silence()",
        ["fence tun0: the link is down (ENETDOWN). Call tun.device.up(), or avoid the fence by a timeout: `timeout"],
    ),
    "too_few": ("ping(tun, 1); tun.capture(2)", ["s for 2 packets", "1 packet arrived:", "id 1, seq 1"]),
    "nothing_to_read": ("tun.read()", ["s for any packet", "no packet arrived"]),
    "no_datagram": ("tun.emit(b'\\x60 six'); tun.expect(TCP)", ["5 bytes, not an IP packet"]),
    "no_reply_to_a_ping": ("tun.ping(tun.peer).reply(timeout=0.05)", ["for an echo reply from 10.1.2.2"]),
    "strict": (
        "tun.expect() if 0 else ping(make_tun(strict=True), 1)",
        ["strict: the test did not expect, capture or read 1 packet from tun0", "<-- never read"],
    ),
    "dropped_by_a_firewall_rule": (
        ("firewall(tun, 'udp dport 9 counter accept', 'icmp type echo-request counter drop')\n"
        "ping(tun, 1); tun.expect(ICMP)"),
        ["no packet arrived", "firewall: rule 2 of inet filter input dropped 1 packet", "NETFILTER_DROP"],
    ),
    "dropped_by_a_firewalls_policy": (
        "firewall(tun, 'udp dport 9 counter accept', policy='drop'); ping(tun, 1); tun.expect(ICMP)",
        ["firewall: chain inet filter input has the policy drop", "NETFILTER_DROP"],
    ),
    "rejected_by_a_firewall": (
        "firewall(tun, 'icmp type echo-request counter reject'); ping(tun, 1); tun.expect(ICMP.where(type=0))",
        ["firewall: rule 1 of inet filter input rejected 1 packet", "ICMP.type: wanted 0, got 3"],
    ),
    "dropped_by_rp_filter": (
        ("tun.netns.set_sysctl('net.ipv4.conf.all.rp_filter', 1)\n"
        "tun.inject(IPv4(src='203.0.113.9', dst=tun.address), ICMP.echo_request(1, 1)); tun.expect(ICMP)"),
        ["refused by rp_filter: no route to 203.0.113.9", "net.ipv4.conf.all.rp_filter = 1"],
    ),
    "an_ip_checksum_that_is_bad": (
        "tun.inject(to(tun, checksum=1), ICMP.echo_request(1, 1)); tun.expect(ICMP)",
        ["packet 1: IPv4 checksum 0x0001 is bad", "dropped 1 packet: bad IP header checksum"],
    ),
    "an_icmp_checksum_that_is_bad": (
        "tun.inject(to(tun), ICMP(type=8, checksum=7)); tun.expect(ICMP)",
        ["packet 1: ICMP checksum 0x0007 is bad", "dropped 1 packet: bad ICMP checksum"],
    ),
    "a_tcp_checksum_that_is_bad": (
        "tun.listen(80); syn(tun, checksum=7); tun.expect(TCP)",
        ["packet 1: TCP checksum 0x0007 is bad", "dropped 1 packet: bad TCP checksum"],
    ),
    "a_udp_checksum_that_is_bad": (
        "tun.bind(9); tun.inject(to(tun), UDP(src_port=5, dst_port=9, checksum=7)); tun.expect(ICMP)",
        ["packet 1: UDP checksum 0x0007 is bad", "dropped 1 packet: bad UDP checksum"],
    ),
    "a_total_length_that_lies": (
        "tun.inject(to(tun, total_length=500), ICMP.echo_request(1, 1)); tun.expect(ICMP)",
        ["IPv4 total length: the packet is cut short", "dropped 1 packet: shorter than its total length"],
    ),
    "a_header_length_that_cannot_be": (
        "tun.inject(to(tun, ihl=4), ICMP.echo_request(1, 1)); tun.expect(ICMP)",
        ["dropped 1 packet: invalid IP header", "no packet arrived"],
    ),
    "an_unknown_protocol": (
        "tun.inject(to(tun, protocol=253), b'x'); tun.expect(UDP)",
        ["unknown protocol; answered with ICMP 3/2", "UDP: wanted present, got IPv4/ICMP"],
    ),
    "to_somebody_else": (
        ("tun.inject(IPv4(src=tun.peer, dst='192.0.2.1'), ICMP.echo_request(1, 1))\n"
        "tun.expect(ICMP)"),
        ["destination is not local and forwarding is off", "net.ipv4.ip_forward = 0"],
    ),
    "from_a_martian": (
        "tun.inject(IPv4(src='127.0.0.1', dst=tun.address), ICMP.echo_request(1, 1)); tun.expect(ICMP)",
        ["route of 127.0.0.1 > 10.1.2.1 received on tun0: refused: invalid source or destination address"],
    ),
    "a_fragment_alone": (
        "tun.inject(to(tun, flags=IPFlag.MF, protocol=17), bytes(8)); tun.expect(UDP)",
        ["keeps 1 packet until the other fragments arrive (Ip.ReasmReqds)", "fragment id "],
    ),
    "a_full_socket": (
        ("sink = tun.bind(53); sink.setsockopt(1, 8, 2304)\n"
        "for _ in range(20): tun.inject(to(tun), UDP(src_port=1, dst_port=53), bytes(500))\n"
        "tun.expect(UDP)"),
        ["the UDP socket's receive buffer is full (Udp.RcvbufErrors, Udp.InErrors)"],
    ),
    "a_closed_port": (
        "syn(tun, 81); tun.expect(TCP.where(flags=SYN | ACK))",
        ["sent 1 packet with RST", "TCP.flags: wanted SYN|ACK, got RST|ACK"],
    ),
    "counters": (
        "with tun.expect_counters(IpExt__InCsumErrors=1): ping(tun, 1)",
        ["kernel counters changed by other amounts than expected:",
         "IpExt.InCsumErrors: wanted 1, got 0  <<<", "other counters that changed: "],
    ),
    "a_wrong_length": (
        "ping(tun, 1, payload=b'abc'); tun.expect(IPv4.where(total_length=100))",
        ["IPv4.total_length: wanted 100, got 31"],
    ),
    "the_device_is_down": (
        "tun.device.down(); tun.inject(to(tun), ICMP.echo_request(1, 1))",
        ["KernelError", "tun0"],
    ),
    "a_leak": (
        "LEAKED.append(tun.netns.socket())",
        ["test_a_leak left open:", "socket AF_INET SOCK_STREAM", "Close each descriptor and wait for each process"],
    ),
    "equal_packets": (
        "ping(tun, 1); got = tun.expect(ICMP); assert got == parse(build(to(tun), ICMP.echo_reply(1, 1), b'hello'))",
        ["assert IPv4/ICMP == IPv4/ICMP, but for ", "IPv4.src: left 10.1.2.1, right 10.1.2.2"],
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [(), ("-n", "2")], ids=["serial", "parallel"])
def test_report_of_failed_expectation_contains_the_cause(pytester, monkeypatch, need, parallel):
    need("nft")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.setenv("COLUMNS", "100")  # Without COLUMNS, pytest-xdist's workers use 80.
    pytester.makeini("[pytest]\ntunlab_timeout = 0.05\ntunlab_leaks = error")
    tests = "".join(
        f"\n\ndef test_{name}(tun, make_tun):\n{indent(dedent(body), '    ')}\n" for name, (body, _) in FAILURES.items()
    )
    pytester.makepyfile(test_it=HEAD + tests)
    result = pytester.run(sys.executable, "-m", "pytest", "-vv", "-p", "no:cacheprovider", *parallel)
    # The test that leaks a socket passes, but its teardown fails.
    result.assert_outcomes(failed=len(FAILURES) - 1, passed=1, errors=1)
    parts = re.split(r"^_{3,} (?:ERROR at teardown of )?test_(\w+) _{3,}$", result.stdout.str(), flags=re.MULTILINE)
    reports = dict(zip(parts[1::2], parts[2::2], strict=True))
    # Long lines of a report are wrapped, so the texts are also searched in the report as one line.
    unwrapped = {name: report + " ".join(report.split()) for name, report in reports.items()}
    missing = {name: [text for text in wanted if text not in unwrapped[name]] for name, (_, wanted) in FAILURES.items()}
    missing = {name: texts for name, texts in missing.items() if texts}
    assert not missing, missing
