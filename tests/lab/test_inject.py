"""Injection into a persistent lab's TUN, directly or through the process that is attached to it."""

import errno
import os
import select
import socket
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.lab.labs import ECHO_REQUEST
from tunlab.errors import KernelError, LabError, MalformedError
from tunlab.kernel.device.tun import TunDevice
from tunlab.lab.tun.inject import inject
from tunlab.lab.tun.inject_server import InjectServer, request_inject
from tunlab.lab.tun.reader import Reader
from tunlab.packet import parse


class TestInject:
    def test_inject_with_no_program_on_the_tun_returns_the_kernels_reply(self, persistent_lab):
        (reply,) = inject(persistent_lab, [ECHO_REQUEST])
        assert parse(reply).icmp.type == 0

    def test_inject_of_several_datagrams_with_one_non_ip_injects_none(self, persistent_lab):
        with Reader(persistent_lab) as reader:
            with pytest.raises(MalformedError):
                inject(persistent_lab, [ECHO_REQUEST, b"\x00"])
            assert reader.take() == []

    def test_inject_while_another_program_has_the_tun_open_raises_lab_error(self, persistent_lab):
        with (
            persistent_lab.netns() as netns,
            TunDevice.attach(netns, "tun0"),
            pytest.raises(LabError, match="tunlab inject --to-reader"),
        ):
            inject(persistent_lab, [ECHO_REQUEST])


class TestInjectServer:
    def test_inject_request_raises_the_write_error_of_the_server(self, tmp_path):
        error_numbers = iter([None, errno.EIO])
        server = InjectServer(tmp_path, "tun0")
        written = []

        def write(data):
            written.append(data)
            if number := next(error_numbers):
                raise KernelError(number, "write")

        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(request_inject, tmp_path, "tun0", b"one")
            select.select([server], [], [])
            assert list(server.serve(write)) == [b"one"]
            assert first.result() is True
            second = pool.submit(request_inject, tmp_path, "tun0", b"x" * 65_535)
            select.select([server], [], [])
            assert list(server.serve(write)) == []
            with pytest.raises(KernelError) as caught:
                second.result()
        assert caught.value.errno == errno.EIO
        assert written == [b"one", b"x" * 65_535]
        server.close()
        assert request_inject(tmp_path, "tun0", b"late") is False

    def test_inject_server_replaces_the_socket_file_of_a_killed_process(self, tmp_path):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unused:
            directory = os.open(tmp_path, os.O_RDONLY)
            unused.bind(f"/proc/self/fd/{directory}/tun0.inject")
            os.close(directory)
        assert request_inject(tmp_path, "tun0", b"no server") is False
        server = InjectServer(tmp_path, "tun0")
        assert stat.S_IMODE((tmp_path / "tun0.inject").stat().st_mode) == 0o600
        server.close()
        assert list(tmp_path.iterdir()) == []
