"""What is carried over from the recorded kernel to the one now; tests/cli replays to real ones."""

import pytest

from tunlab.lab.replay.player import _shifted
from tunlab.packet import TCP, tcp_options


@pytest.mark.parametrize(
    ("option", "moved"),
    [
        (tcp_options.SACK([(1, 2), (2**32 - 1, 5)]), tcp_options.SACK([(11, 12), (9, 15)])),
        (tcp_options.Timestamps(7, 1), tcp_options.Timestamps(1007, 101)),
        (tcp_options.Timestamps(7, 0), tcp_options.Timestamps(1007, 0)),
        (tcp_options.MSS(1460), tcp_options.MSS(1460)),
    ],
)
def test_the_kernels_numbers_in_options_move_on(option, moved):
    padding = b"\1\1"
    assert _shifted(TCP(options=padding + bytes(option)), 10, 100, 1000) == padding + bytes(moved)


def test_what_cannot_be_read_stays_as_it_is():
    broken = b"\1\x05\x00\xff"
    assert _shifted(TCP(options=broken), 10, 100) == broken
    after_the_end = bytes(tcp_options.MSS(9)) + b"\0\xde\xad\xbe"
    assert _shifted(TCP(options=after_the_end), 10, 100) == after_the_end
