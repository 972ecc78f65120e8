"""TCP options of recorded packets, shifted to the numbers of the running kernel. tests/cli replays whole recordings."""

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
def test_shifted_options_move_sack_and_timestamps(option, moved):
    padding = b"\1\1"
    assert _shifted(TCP(options=padding + bytes(option)), 10, 100, 1000) == padding + bytes(moved)


def test_shifted_options_keep_malformed_bytes():
    broken = b"\1\x05\x00\xff"
    assert _shifted(TCP(options=broken), 10, 100) == broken
    after_the_end = bytes(tcp_options.MSS(9)) + b"\0\xde\xad\xbe"
    assert _shifted(TCP(options=after_the_end), 10, 100) == after_the_end
