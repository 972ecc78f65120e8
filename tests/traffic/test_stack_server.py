"""`tun.serve`: a stack as the host behind a TUN, with real sockets at the other side."""

import threading

import pytest

from examples.tcp.stack import Stack
from tunlab import DeviceError, KernelError
from tunlab.packet import TCP
from tunlab.traffic import stack_server


def test_kernel_socket_talks_to_served_stack(tun):
    with tun.serve(Stack(tun.peer)):
        client = tun.connect(tun.peer, 7)
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
    comments = {entry.comment for entry in tun.record if entry.packet is not None and TCP in entry.packet}
    assert comments == {"received by the stack", "sent by the stack"}


def test_expect_inside_serve_raises_and_works_after_it(tun):
    with tun.serve(Stack(tun.peer)), pytest.raises(KernelError, match=r"a stack receives its packets \(EBUSY\)\. Read"):
        tun.expect(TCP)
    tun.connect(tun.peer, 7)
    tun.expect(TCP)


def test_error_of_served_stack_is_raised_at_the_end_of_the_block(tun, monkeypatch):
    monkeypatch.setattr(Stack, "receive", lambda *_: {}["state"])
    client = tun.socket()
    client.settimeout(0.1)
    with pytest.raises(KeyError, match="state") as caught, tun.serve(Stack(tun.peer)):
        client.connect((tun.peer, 7))
    assert isinstance(caught.value.__cause__, TimeoutError)


def test_served_stack_that_hangs_is_reported(tun, monkeypatch):
    released = []

    def poll(*_):
        while not released:
            pass
        return []

    monkeypatch.setattr(stack_server, "_STOP_TIMEOUT", 0.05)
    monkeypatch.setattr(Stack, "poll", poll)
    with (
        pytest.raises(DeviceError, match=r"Stack hangs: a call of it has not returned for 0.05 s"),
        tun.serve(Stack(tun.peer)),
    ):
        pass
    (thread,) = [each for each in threading.enumerate() if each.name == "tunlab-stack"]
    released.append(True)
    thread.join()
