"""Devices under test that crash, exit, hang, flood, start daemons, never come up or send garbage."""

import re
import sys

import pytest

from tests.dut import devices
from tunlab import DeviceError, ExpectationError, KernelError
from tunlab.kernel.process import process_start_time
from tunlab.packet import ICMP, TCP, IPv4
from tunlab.traffic.ports import object_port

HERE = "fd:tests.dut.devices:"


def echo_request(dut):
    return IPv4(src=dut.peer, dst=dut.address), ICMP.echo_request(7, 1)


def inject_many(dut):
    for _ in range(1_000_000):
        dut.inject(*echo_request(dut))


def python(code):
    """Return a program under test that runs Python code."""
    return f"{sys.executable} -c '{code}' {{ifname}}"


class TestEnd:
    """Programs that end during a test."""

    def test_expect_device_that_crashes_names_signal_and_output(self, make_dut):
        dut = make_dut(HERE + "abort_at_first_packet")
        dut.inject(*echo_request(dut))
        with pytest.raises(DeviceError) as caught:
            dut.expect(ICMP, timeout=60)
        assert str(caught.value).startswith(
            f"{HERE}abort_at_first_packet was killed by SIGABRT. Keep the program running until the test ends.\n"
            "the end of its output:\n  assertion failed: rcv_nxt <= seq"
        )

    def test_expect_device_that_exits_names_status(self, make_dut):
        dut = make_dut(HERE + "exit_at_first_packet")
        dut.inject(*echo_request(dut))
        with pytest.raises(DeviceError, match="exited with status 3"):
            dut.expect(ICMP, timeout=60)
        with pytest.raises(DeviceError, match="exited with status 3"):
            dut.inject(*echo_request(dut))

    def test_expect_program_on_its_tun_that_exits_names_status(self, make_dut):
        opens = "import sys; from examples.tcp.__main__ import open_device as o; import os; os.read(o(sys.argv[1]), 9)"
        dut = make_dut(python(opens + "; sys.exit(5)"))
        dut.inject(*echo_request(dut))
        with pytest.raises(DeviceError, match="exited with status 5"):
            dut.expect(ICMP, timeout=60)

    def test_inject_to_device_that_closed_its_descriptor_raises(self, make_dut):
        dut = make_dut(HERE + "close_descriptor")
        dut.inject(*echo_request(dut))
        with pytest.raises(ExpectationError):
            dut.expect(timeout=0)
        with pytest.raises(DeviceError, match="has closed its descriptor"):
            inject_many(dut)


class TestStart:
    """Programs that do not become ready."""

    def test_program_that_opens_no_device_raises_after_start_timeout(self, make_dut):
        with pytest.raises(pytest.fail.Exception) as caught:
            make_dut(python('print("reading the configuration"); import signal; signal.pause()'), start_timeout=0.3)
        assert "did not open tun0 within 0.3 s. Open /dev/net/tun and set the name {ifname}" in str(caught.value)
        assert "the end of its output:\n  reading the configuration" in str(caught.value)

    def test_program_that_exits_before_it_is_ready_raises(self, make_dut):
        with pytest.raises(pytest.fail.Exception, match="exited with status 1") as caught:
            make_dut(HERE + "exit_at_once", ready="line ready", start_timeout=60)
        assert "no configuration file" in str(caught.value)

    @pytest.mark.parametrize(
        ("ready", "missing"),
        [("line ^ready$", "no line of its output matches '^ready$'"), ("packet", "the device has sent no packet")],
    )
    def test_program_that_is_never_ready_raises_after_start_timeout(self, make_dut, ready, missing):
        with pytest.raises(pytest.fail.Exception) as caught:
            make_dut(HERE + "hang", ready=ready, start_timeout=0.1)
        assert f"was not ready after 0.1 s: {missing}. Check `ready`, or raise `start_timeout`." in str(caught.value)

    @pytest.mark.parametrize("arguments", ["{fd}", "{ifname}"])
    def test_missing_program_raises_and_names_it(self, make_dut, arguments):
        with pytest.raises(pytest.fail.Exception, match=r"there is no program './no_stack'.*Install it"):
            make_dut(f"./no_stack {arguments}")


class TestHang:
    """Devices that do not answer, and do not read."""

    def test_expect_hanging_device_ends_at_the_timeout(self, make_dut):
        dut = make_dut(HERE + "hang")
        dut.inject(*echo_request(dut))
        with pytest.raises(ExpectationError, match="no packet arrived"):
            dut.expect(ICMP, timeout=0.01)

    def test_inject_to_device_that_does_not_read_drops_and_counts(self, make_dut):
        dut = make_dut(HERE + "hang")
        while not dut.dropped:
            dut.inject(*echo_request(dut))
        assert dut.dropped == 1

    def test_close_kills_device_that_ignores_sigterm(self, make_dut, monkeypatch):
        monkeypatch.setattr("tunlab.dut.process._STOP_TIMEOUT", 0.01)
        dut = make_dut(HERE + "hang", ready="line waiting")
        dut.close()
        assert dut._process.process.returncode == -9

    def test_fence_device_without_answer_says_why(self, make_dut):
        dut = make_dut(HERE + "hang", timeout=0.05)
        with pytest.raises(KernelError, match=r"hang did not answer an echo request in 0\.1 s .*Avoid the fence by"):
            dut.fence()


class TestOutput:
    """Devices that send too much, or not packets."""

    def test_expect_flooding_device_ends_at_the_timeout(self, make_dut):
        dut = make_dut(HERE + "flood", ready="packet", strict=False)
        with pytest.raises(ExpectationError, match=r"\d{3,} packets arrived"):
            dut.expect(TCP, timeout=0.05)

    def test_expect_lists_garbage_of_the_device(self, make_dut):
        dut = make_dut(HERE + "send_garbage", ready="packet")
        packets = dut.capture(3)
        assert [len(packet.payload) for packet in packets if not packet.headers] == [1, 40, 10]
        dut.expect_silence(timeout=0.05)

    def test_close_ends_daemons_of_the_device(self, make_dut):
        dut = make_dut(HERE + "leave_processes", ready=r"line ^daemon \d+")
        daemon = int(re.search(r"daemon (\d+)", dut.output)[1])
        assert process_start_time(daemon) is not None
        dut.close()
        assert process_start_time(daemon) is None


class TestObject:
    """Objects that break the rules of their interface."""

    @pytest.fixture
    def dut(self, make_dut):
        return make_dut("object:tests.dut.devices:Broken")

    def set(self, monkeypatch, **methods):
        for name, method in methods.items():
            monkeypatch.setattr(devices.Broken, name, method)

    def test_object_that_raises_shows_its_own_error(self, dut, monkeypatch):
        self.set(monkeypatch, receive=lambda *_: {}["state"])
        with pytest.raises(KeyError, match="state"):
            dut.inject(*echo_request(dut))

    def test_object_that_hangs_is_interrupted(self, dut, monkeypatch):
        def receive(*_):
            while True:
                pass

        monkeypatch.setattr(object_port, "CALL_LIMIT", 0.05)
        self.set(monkeypatch, receive=receive)
        with pytest.raises(DeviceError, match=r"hangs: its receive\(\) did not return within 0.05 s"):
            dut.inject(*echo_request(dut))

    def test_object_that_never_finishes_a_poll_raises(self, dut, monkeypatch):
        self.set(monkeypatch, poll=lambda *_: [], next_deadline=lambda _: 0)
        with pytest.raises(DeviceError, match=r"is busy: after 10,000 calls of poll\(\), the time is still 0 ns"):
            dut.expect(ICMP)

    def test_object_that_floods_at_one_instant_raises(self, dut, monkeypatch):
        self.set(monkeypatch, poll=lambda *_: [b"x"], next_deadline=lambda self: self._now)
        with pytest.raises(DeviceError, match="is busy"):
            dut.expect(ICMP)

    @pytest.mark.parametrize("wrong", [None, b"packet", [bytearray(20)]])
    def test_object_that_polls_other_things_than_bytes_raises(self, dut, monkeypatch, wrong):
        self.set(monkeypatch, poll=lambda *_: wrong)
        with pytest.raises(DeviceError, match=r"returned .* from poll\(\). Return a list of bytes"):
            dut.inject(*echo_request(dut))

    @pytest.mark.parametrize("wrong", [1.5, True, "soon"])
    def test_object_with_deadline_that_is_not_an_int_raises(self, dut, monkeypatch, wrong):
        self.set(monkeypatch, next_deadline=lambda _: wrong)
        with pytest.raises(DeviceError, match=r"from next_deadline\(\). Return nanoseconds as an int, or None"):
            dut.expect(ICMP)


class TestTarget:
    """Targets that are not devices."""

    @pytest.mark.parametrize(
        ("target", "message"),
        [
            ("./stack", "'./stack' does not tell the program which device to open. Give kernel, fd:MODULE:CALLABLE,"),
            ("./stack {ifname} {colour}", r"has the unknown placeholder {colour}. Use {address}, "),
            ("./stack {ifname", "'./stack {ifname' is not a command: "),
            ("object:stack", "'object:stack' does not name a Python object. Write object:MODULE:NAME."),
            ("object:no_such_module:Stack", "Python finds no module 'no_such_module'. Check the name"),
            ("object:tests.dut.devices:Stock", "tests.dut.devices has no 'Stock'. Check the spelling"),
            ("object:builtins:str", "object:builtins:str has no method receive(). Write receive(data, now), poll(now)"),
        ],
    )
    def test_target_that_is_not_a_device_says_what_to_write(self, make_dut, target, message):
        with pytest.raises(pytest.fail.Exception) as caught:
            make_dut(target)
        assert message in str(caught.value)
