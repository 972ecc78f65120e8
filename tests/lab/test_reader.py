"""Reader: the packets of a persistent lab's TUN, read by one or several readers."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.lab.labs import ECHO_REQUEST
from tunlab.errors import LabError
from tunlab.lab.attachment import attach
from tunlab.lab.tun.inject import inject
from tunlab.lab.tun.reader import Reader
from tunlab.packet import ICMP, IPv4, build, parse


def read_until_error(reader):
    while True:
        reader.take()


def test_tun_packet_written_right_after_attach_gets_a_reply(persistent_lab):
    # `attach` waits for the carrier, because the kernel drops packets that are sent earlier.
    with persistent_lab.netns() as netns:
        for number in range(50):
            with attach(netns, "tun0") as device:
                device.write(build(IPv4(src="10.1.2.3", dst="10.1.2.1"), ICMP.echo_request(7, number)))
                assert device.wait(5)
                assert parse(device.read()).icmp.sequence_number == number


def test_two_readers_of_a_tun_see_the_same_packets(persistent_lab):
    with Reader(persistent_lab) as first, Reader(persistent_lab) as second:
        assert (first.attached, second.attached) == (True, False)
        assert inject(persistent_lab, [ECHO_REQUEST], to_reader=True) == []
        assert [each.data for each in first.take()] == [ECHO_REQUEST]
        assert [each.data for each in second.take()] == [ECHO_REQUEST]


def test_reader_returns_an_injected_packet_before_its_reply(persistent_lab):
    with Reader(persistent_lab) as reader, ThreadPoolExecutor(1) as pool:
        inject(persistent_lab, [ECHO_REQUEST], to_reader=True)
        injection = pool.submit(inject, persistent_lab, [ECHO_REQUEST])
        entries = []
        while len(entries) < 3:
            entries += reader.take()
        assert injection.result() == []
    assert [each.direction for each in entries] == ["out", "in", "out"]
    assert [each.packet.icmp.type for each in entries] == [8, 8, 0]


def test_reader_take_after_the_lab_is_down_raises_lab_error(persistent_lab):
    with Reader(persistent_lab) as attached, Reader(persistent_lab) as capturing:
        persistent_lab.down()
        for reader in (attached, capturing):
            with pytest.raises(LabError, match="tun0 in lab 'lab' was deleted or is down"):
                read_until_error(reader)
