"""Tests of claims in the documentation: about raw sockets, curl, ping, scapy, and programs that tunlab starts."""

import re
import socket
import sys
import warnings

import pytest

from tunlab.kernel.device.packet_socket import PacketSocket
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.packet import ICMP, TCP, IPv4, TCPFlag, build, findings, parse, reply

SYN_ACK = TCPFlag.SYN | TCPFlag.ACK


class TestRawSocketAndTun:
    """Tests that send a SYN to a listening socket, through a raw socket and through a TUN device."""

    def test_raw_socket_connection_is_reset_by_the_kernel_of_the_client(self, make_netns):
        client, host = make_netns(), make_netns()
        with Rtnl(client) as client_rtnl, Rtnl(host) as host_rtnl:
            client_rtnl.add_veth("eth0", "eth0", peer_netns=host)
            for rtnl, address in ((client_rtnl, "10.1.2.1/24"), (host_rtnl, "10.1.2.2/24")):
                rtnl.add_address(rtnl.link("eth0").index, address)
                rtnl.set_link(rtnl.link("eth0").index, up=True)
        segment = build(IPv4(src="10.1.2.1", dst="10.1.2.2"), TCP(src_port=40000, dst_port=80, flags=TCPFlag.SYN))
        with (
            host.socket() as server,
            client.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw,
            PacketSocket(client, "eth0") as capture,
        ):
            server.bind(("10.1.2.2", 80))
            server.listen()
            raw.sendto(segment[20:], ("10.1.2.2", 0))
            seen = []
            while not any(TCPFlag.RST in packet.tcp.flags for packet in seen):
                assert capture.wait(20), f"no reset arrived; seen: {seen}"
                frames = [frame.data for frame in capture.recv_all()]
                seen += [parse(data[14:]) for data in frames if data[12:14] == b"\x08\x00"]
        flags = [packet.tcp.flags for packet in seen]
        assert flags == [TCPFlag.SYN, SYN_ACK, TCPFlag.RST]
        reset = seen[2]
        # The client's kernel sent this reset, not the test.
        assert (reset.ip.src, reset.tcp.src_port) == ("10.1.2.1", 40000)

    def test_connection_over_a_tun_has_no_reset(self, tun):
        listener = tun.listen(80)
        tun.inject(IPv4(src=tun.peer, dst=tun.address), TCP(src_port=40000, dst_port=80, flags=TCPFlag.SYN))
        answer = tun.expect(TCP.where(flags=SYN_ACK))
        tun.inject(*reply(answer))
        accepted, _ = listener.accept()  # This call would fail if a reset had closed the connection.
        accepted.close()
        flags = [entry.packet.tcp.flags for entry in tun.record]
        assert flags == [TCPFlag.SYN, SYN_ACK, TCPFlag.ACK]


class TestRealPrograms:
    def test_curl_fetches_page_from_injected_packets(self, tun, need):
        curl = tun.popen([need("curl"), "--silent", "--show-error", "http://10.1.2.3/"], stdout=-1, stderr=-1)
        page = b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n"
        here = IPv4.where(dst="10.1.2.3")

        syn = tun.expect(here, TCP.where(dst_port=80, flags=TCPFlag.SYN))
        ip, tcp = reply(syn)
        tun.inject(ip, tcp.replace(seq=1000, flags=SYN_ACK))
        tun.expect(here, TCP.where(flags=TCPFlag.ACK, ack=1001))
        request = tun.expect(here, TCP.where(payload=lambda payload: payload.startswith(b"GET / HTTP/")))
        assert b"\r\nHost: 10.1.2.3\r\n" in request.payload
        ip, tcp = reply(request)
        tun.inject(ip, tcp.replace(flags=TCPFlag.PSH | TCPFlag.ACK | TCPFlag.FIN), page)
        end = tun.expect(here, TCP.where(flags=lambda flags: TCPFlag.FIN in flags))
        assert end.tcp.ack == 1001 + len(page) + 1
        tun.inject(*reply(end))

        output, errors = curl.communicate(timeout=20)
        assert (curl.returncode, output, errors) == (0, b"hello\n", b"")
        assert all(findings(entry.packet) == [] for entry in tun.record)

    def test_ping_options_and_output_match_parsed_packets(self, tun, need):
        ping = tun.popen(
            [need("ping"), "-c", "1", "-s", "100", "-t", "9", "-Q", "0x28", "10.1.2.3"], stdout=-1, text=True
        )
        request = tun.expect(ICMP.where(type=8))
        assert (request.ip.ttl, request.ip.dscp, len(request.payload), request.ip.total_length) == (9, 10, 100, 128)
        ip, icmp = reply(request)
        tun.inject(ip.replace(ttl=33), icmp, request.payload)
        shown = ping.communicate(timeout=20)[0]
        assert re.search(r"108 bytes from 10\.1\.2\.3: icmp_seq=1 ttl=33 ", shown)


@pytest.fixture(scope="module")
def inet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing scapy warns about deprecated ciphers
        from scapy.layers import inet
    return inet


@pytest.mark.slow
class TestScapy:
    def test_scapy_packet_is_injected_and_answered(self, tun, inet):
        sent = inet.IP(src=tun.peer, dst=tun.address, ttl=7) / inet.ICMP(id=3, seq=4) / b"from scapy"
        data = tun.inject(sent)
        assert (parse(data).ip.ttl, parse(data).payload, findings(data)) == (7, b"from scapy", [])
        answer = tun.expect(ICMP.where(type=0, identifier=3, sequence_number=4))
        assert answer.payload == b"from scapy"
        assert inet.IP(bytes(answer))[inet.ICMP].seq == 4

    def test_scapy_and_tunlab_parse_kernel_segment_equally(self, tun, inet):
        tun.listen(80)
        tun.inject(
            inet.IP(src=tun.peer, dst=tun.address) / inet.TCP(sport=4000, dport=80, seq=9, options=[("MSS", 1400)])
        )
        ours = tun.expect(TCP.where(flags=SYN_ACK))
        theirs = inet.IP(bytes(ours))
        assert (theirs[inet.TCP].ack, theirs[inet.TCP].seq) == (ours.tcp.ack, ours.tcp.seq)
        assert dict(theirs[inet.TCP].options)["MSS"] == ours.tcp.mss
        assert ours.tcp.ack == 10


@pytest.mark.slow
def test_tun_fixture_does_not_start_programs(pytester, need):
    pytester.makepyfile(
        """
        from tunlab.packet import ICMP, IPv4

        def test_x(tun):
            tun.inject(IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(1, 1))
            tun.expect(ICMP.where(type=0))
        """
    )
    trace = pytester.path / "trace"
    command = [need("strace"), "-f", "-o", str(trace), "-e", "trace=execve", sys.executable, "-m", "pytest"]
    pytester.run(*command, "-p", "no:cacheprovider").assert_outcomes(passed=1)
    executed = re.findall(r'execve\("([^"]*)"', trace.read_text())
    assert executed
    assert set(executed) == {sys.executable}
