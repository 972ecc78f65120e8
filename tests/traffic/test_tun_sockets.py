"""Sockets and programs in the namespace of a Tun; the test is their peer."""

import errno
import socket

import pytest

from tunlab.errors import KernelError
from tunlab.packet import ICMP, IGMP, UDP, IPv4, TCPFlag, findings, reply
from tunlab.traffic import Tun

PEER = "10.1.2.77"


class TestSockets:
    def test_listen_after_handshake_sends_and_receives_data(self, tun):
        listener = tun.listen(80)
        peer = tun.tcp(80, src=PEER).handshake()
        peer.send(b"GET /")
        accepted, address = listener.accept()
        with accepted:
            assert address == peer.local
            assert accepted.recv(100) == b"GET /"
            accepted.sendall(b"200 OK")
            peer.expect(payload=b"200 OK")

    def test_connect_sends_syn_without_waiting_for_reply(self, tun):
        peer = tun.tcp(listen=80, src="10.1.2.3")
        client = tun.connect("10.1.2.3", 80, src_port=5555)
        peer.expect(flags=TCPFlag.SYN)
        assert peer.remote == (tun.address, 5555)
        peer.handshake()
        client.sendall(b"hello")
        peer.expect(payload=b"hello")

    def test_bind_receives_and_sends_udp(self, tun):
        receiver = tun.bind(5000)
        tun.inject(IPv4(src=PEER, dst=tun.address), UDP(src_port=9, dst_port=5000), b"hi")
        assert receiver.recvfrom(10) == (b"hi", (PEER, 9))
        receiver.sendto(b"yo", (PEER, 9))
        assert tun.expect(UDP).payload == b"yo"

    def test_bind_to_multicast_group_sends_igmp_report(self, tun):
        receiver = tun.bind(5000)
        group = socket.inet_aton("239.1.2.3") + socket.inet_aton(tun.address)
        receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        report = tun.expect(IGMP)
        assert report.igmp.version == 3
        assert [record.group for record in report.igmp.records] == ["239.1.2.3"]
        assert findings(report) == []

    def test_bind_to_port_in_use_raises(self, tun):
        tun.bind(5000)
        with pytest.raises(KernelError, match="bind to port 5000") as caught:
            tun.bind(5000)
        assert caught.value.errno == errno.EADDRINUSE

    @pytest.mark.parametrize(
        ("attempt", "message"),
        [
            (lambda tun: tun.connect("8.8.8.8", 80), "ENETUNREACH"),
            (lambda tun: tun.connect("example.org", 80), "'example.org'"),
            (lambda tun: tun.connect("10.1.2.3", 99999), "99999 is not a 16-bit number"),
            (lambda tun: tun.listen(-1), "-1 is not a 16-bit number"),
            (lambda tun: tun.listen(80, address="10.9.9.9"), "EADDRNOTAVAIL"),
            (lambda tun: (tun.listen(80), tun.listen(80)), "EADDRINUSE"),
            (lambda tun: tun.ping("10.1.2.255"), r"it is a broadcast address \(EACCES\)\. Ping one host"),
            (lambda tun: tun.emit(b""), r"there are 0 bytes to send \(EINVAL\)\. Send at least one byte."),
        ],
    )
    def test_error_of_socket_method_with_invalid_argument_names_the_remedy(self, tun, attempt, message):
        with pytest.raises(KernelError, match=message) as caught:
            attempt(tun)
        assert str(caught.value).endswith(".")  # only a message with a remedy ends with a period

    def test_close_closes_sockets(self):
        with Tun.create() as tun:
            sockets = [tun.listen(80), tun.bind(80), tun.connect("10.1.2.3", 1), tun.socket()]
        assert {each.fileno() for each in sockets} == {-1}


class TestPrograms:
    def test_popen_ping_receives_injected_echo_reply(self, tun):
        ping = tun.popen(["ping", "-c", "1", "-p", "abcd", "10.1.2.3"], stdout=-1, text=True)
        request = tun.expect(ICMP.where(type=8), IPv4.where(dst="10.1.2.3"))
        assert request.payload.endswith(b"\xab\xcd" * 20)
        tun.inject(*reply(request), request.payload)
        assert "1 received" in ping.communicate(timeout=20)[0]
        assert ping.returncode == 0

    def test_run_program_sees_devices_of_the_namespace(self, tun):
        shown = tun.run(["cat", "/proc/self/net/dev"], capture_output=True, text=True, check=True).stdout
        assert [line.split(":")[0].strip() for line in shown.splitlines()[2:]] == ["lo", "tun0"]

    def test_error_of_run_names_the_missing_program(self, tun):
        with pytest.raises(KernelError, match="no program 'no-such-program'"):
            tun.run(["no-such-program"])

    def test_close_kills_programs(self):
        with Tun.create() as tun:
            started = [tun.popen(["sleep", "1000"]) for _ in range(3)]
            tun.popen(["python3", "-c", "import os, time; os.fork(); time.sleep(1000)"])
        assert [program.returncode for program in started] == [-9, -9, -9]
