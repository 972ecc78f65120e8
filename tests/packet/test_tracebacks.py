"""Errors in what the user gives: pytest shows the user's line last, and no frame of tunlab."""

import pytest

MISTAKES = {
    "TCP(dst_port=70000)": "MalformedError: TCP.dst_port is 70000",
    "TCP(dport=80)": "TypeError: TCP has no field 'dport'. Did you mean dst_port?",
    "TCP().replace(seq=-1)": "MalformedError: TCP.seq is -1",
    "TCP.where(dst_port=70000)": "MalformedError: TCP.dst_port is 70000",
    "TCP.where(dport=80)": "TypeError: TCP has no field 'dport'. Did you mean dst_port?",
    "TCP(options=[tcp_options.MSS(70000)])": "MalformedError: TCP.options is *",
    "IPv4(src='10.0.0.1', dst='10.0.0.300')": "MalformedError: IPv4.dst is '10.0.0.300'",
    "IGMP.query('224.1.1.1', sources=['nobody'])": "MalformedError: address is 'nobody'",
    "ICMP.unreachable(4, mtu=70000)": "MalformedError: ICMP.mtu is 70000",
    "build(IPv4(src='10.0.0.1', dst='10.0.0.2'))": "MalformedError: IPv4.protocol is None",
    "build(TCP())": "PacketError: a packet begins with an IP or link-layer header",
    "bytes(tcp_options.MSS(70000))": "MalformedError: MSS is MSS(size=70000)",
    "parse(b'E')": "TruncatedError: IPv4 header needs 20 bytes, got 1",
    "parse('E')": "MalformedError: data is 'E': not bytes. Give bytes",
    "parse(bytes(20))": "MalformedError: IPv4.version at offset 0 is 0",
    "reply(Packet.of(IPv4(src='10.0.0.1', dst='10.0.0.2', protocol=99)))": "PacketError: reply() cannot answer",
}


def test_traceback_of_user_errors_ends_at_the_users_line(pytester):
    lines = [f"def test_{at}():\n    {line}" for at, line in enumerate(MISTAKES)]
    pytester.makepyfile("\n".join(["from tunlab.packet import *", *lines]))
    result = pytester.runpytest("--tb=short", "-p", "no:tunlab")
    result.assert_outcomes(failed=len(MISTAKES))
    result.stdout.no_fnmatch_line("*tunlab/packet*")
    result.stdout.no_fnmatch_line("*hidden*")
    for line, error in MISTAKES.items():
        result.stdout.fnmatch_lines([f"    {line.replace('[', '[[]')}", f"E   *{error}*"])


@pytest.mark.parametrize("method", ["inject", "emit"])
def test_traceback_of_injected_header_without_payload_ends_at_the_users_line(pytester, method):
    pytester.makepyfile(
        f"""
        from tunlab.packet import IPv4

        def test_send(tun):
            tun.{method}(IPv4(src=tun.peer, dst=tun.address))
        """
    )
    result = pytester.runpytest("--tb=short")
    result.stdout.fnmatch_lines([f"    tun.{method}*", "E   *MalformedError: IPv4.protocol is None*"])
    result.stdout.no_fnmatch_line("*tunlab/packet*")
    result.stdout.no_fnmatch_line("*tunlab/traffic*")
