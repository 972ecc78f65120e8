"""The kernel's reasons for its drops, at its tracepoint, and where it does not tell."""

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
def test_each_drop_has_its_reason(drops, tun, datagram, settings, reason):
    tun.write(datagram(b"12345678", **settings))
    assert reason in drops.read()
    assert reason not in drops.read(), "told once"


def test_what_was_before_is_forgotten(drops, tun, datagram):
    tun.write(datagram(bad_checksum=True))
    drops.clear()
    tun.write(datagram(protocol=253))
    found = drops.read()
    assert "IP_CSUM" not in found
    assert "IP_NOPROTO" in found


def test_a_good_packet_is_not_dropped(drops, tun, echo_request):
    tun.write(echo_request())
    assert not {"IP_CSUM", "IP_INHDR", "ICMP_CSUM", "NO_SOCKET"} & set(drops.read())


def test_more_than_it_has_room_for_leaves_the_first(drops, tun, datagram):
    for _ in range(5000):
        tun.write(datagram(bad_checksum=True))
    found = drops.read()
    assert 500 < found.count("IP_CSUM") < 5000
    tun.write(datagram(protocol=253))
    assert "IP_NOPROTO" in drops.read(), "there is room again, across the ring's end"


def test_another_threads_drops_are_not_told(drops, tun, datagram):
    other = threading.Thread(target=tun.write, args=(datagram(bad_checksum=True),))
    other.start()
    other.join()
    assert "IP_CSUM" not in drops.read()


def test_the_event_is_this_kernels():
    event = read_drop_tracepoint()
    assert event.number > 0
    assert "IP_CSUM" in event.reasons.values()
    assert read_drop_tracepoint() is event


def test_without_the_right_it_is_an_os_error(run_python, without_capabilities):
    source = """
        from tunlab.kernel.network.drop_monitor import DropMonitor
        try:
            DropMonitor()
        except OSError as error:
            print(type(error).__name__)
    """
    assert run_python(source, prefix=without_capabilities) == "PermissionError\n"


def test_closing_may_be_repeated():
    drops = DropMonitor()
    drops.close()
    drops.close()
    assert drops.closed
