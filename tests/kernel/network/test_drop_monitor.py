"""The kernel's drop reasons."""

import threading

import pytest

from tunlab.kernel.network.drop_monitor import DropMonitor, read_drop_tracepoint


@pytest.fixture
def drops():
    with DropMonitor() as drops:
        yield drops


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"bad_checksum": True}, "IP_CSUM"),
        ({"protocol": 253}, "IP_NOPROTO"),
        ({"src": "127.0.0.1"}, "IP_LOCALNET"),
        ({"src": "10.1.2.1"}, "IP_LOCAL_SOURCE"),
        ({"dst": "10.9.9.9"}, "IP_INADDRERRORS"),
    ],
)
def test_read_of_drop_monitor_returns_drop_reason(drops, tun, datagram, settings, reason):
    tun.write(datagram(b"12345678", **settings))
    assert reason in drops.read()
    assert reason not in drops.read(), "a reason was returned twice"


def test_clear_of_drop_monitor_discards_earlier_reasons(drops, tun, datagram):
    tun.write(datagram(bad_checksum=True))
    drops.clear()
    tun.write(datagram(protocol=253))
    found = drops.read()
    assert "IP_CSUM" not in found
    assert "IP_NOPROTO" in found


def test_read_after_accepted_packet_returns_no_drop_reason(drops, tun, echo_request):
    tun.write(echo_request())
    assert not {"IP_CSUM", "IP_INHDR", "ICMP_CSUM", "NO_SOCKET"} & set(drops.read())


def test_full_ring_buffer_of_drop_monitor_keeps_first_reasons(drops, tun, datagram):
    for _ in range(5000):
        tun.write(datagram(bad_checksum=True))
    found = drops.read()
    assert 500 < found.count("IP_CSUM") < 5000
    tun.write(datagram(protocol=253))
    assert "IP_NOPROTO" in drops.read(), "the ring has space again"


def test_drop_monitor_ignores_drops_in_other_threads(drops, tun, datagram):
    other = threading.Thread(target=tun.write, args=(datagram(bad_checksum=True),))
    other.start()
    other.join()
    assert "IP_CSUM" not in drops.read()


def test_read_drop_tracepoint_returns_drop_reasons_of_this_kernel():
    event = read_drop_tracepoint()
    assert event.number > 0
    assert "IP_CSUM" in event.reasons.values()
    assert read_drop_tracepoint() is event


def test_drop_monitor_without_capability_raises_oserror(run_python, without_capabilities):
    source = """
        from tunlab.kernel.network.drop_monitor import DropMonitor
        try:
            DropMonitor()
        except OSError as error:
            print(type(error).__name__)
    """
    assert run_python(source, prefix=without_capabilities) == "PermissionError\n"


def test_drop_monitor_may_be_closed_twice():
    drops = DropMonitor()
    drops.close()
    drops.close()
    assert drops.closed
