"""How a replay changes SACK and timestamp options of TCP segments. tests/cli replays whole recordings."""

import pytest

from tunlab.lab.replay.player import _shifted
from tunlab.packet import TCP, tcp_options


@pytest.mark.parametrize(
    ("option", "shifted"),
    [
        (tcp_options.SACK([(1, 2), (2**32 - 1, 5)]), tcp_options.SACK([(11, 12), (9, 15)])),
        (tcp_options.Timestamps(7, 1), tcp_options.Timestamps(1007, 101)),
        (tcp_options.Timestamps(7, 0), tcp_options.Timestamps(1007, 0)),
        (tcp_options.MSS(1460), tcp_options.MSS(1460)),
    ],
)
def test_shifted_tcp_options_have_offsets_added_to_sack_and_timestamps(option, shifted):
    padding = b"\1\1"
    assert _shifted(TCP(options=padding + bytes(option)), 10, 100, 1000) == padding + bytes(shifted)


def test_shifted_tcp_options_keep_malformed_options_and_trailing_bytes():
    malformed = b"\1\x05\x00\xff"
    assert _shifted(TCP(options=malformed), 10, 100) == malformed
    bytes_after_end_of_options = bytes(tcp_options.MSS(9)) + b"\0\xde\xad\xbe"
    assert _shifted(TCP(options=bytes_after_end_of_options), 10, 100) == bytes_after_end_of_options
