"""Reading files of other programs in every allowed form, and malformed files."""

import errno
import io
import os
import pickle
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunlab.errors import KernelError, MalformedError, TruncatedRecordingError
from tunlab.recorder import MAX_BLOCK_SIZE, PcapngWriter, RecordedInterface, RecordedPacket, read_pcapng

ORDERS = pytest.mark.parametrize("order", ["<", ">"])


def block(order, kind, body):
    body += bytes(-len(body) % 4)
    return struct.pack(order + "II", kind, len(body) + 12) + body + struct.pack(order + "I", len(body) + 12)


def options(order, *pairs):
    return b"".join(
        struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4) for code, value in pairs
    )


def section(order, major=1):
    return block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, major, 0, -1))


def interface(order, *pairs, linktype=101, snaplen=0):
    return block(order, 1, struct.pack(order + "HHI", linktype, 0, snaplen) + options(order, *pairs))


def enhanced(order, ticks, data, *pairs, index=0):
    head = struct.pack(order + "IIIII", index, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data))
    return block(order, 6, head + data + bytes(-len(data) % 4) + options(order, *pairs))


@ORDERS
@pytest.mark.parametrize(
    ("resolution", "ticks", "time_ns"),
    [
        (None, 1_700_000_000_123_456, 1_700_000_000_123_456_000),
        (6, 5, 5000),
        (9, 5, 5),
        (0, 5, 5 * 10**9),
        (12, 5999, 5),
        (0x80 | 10, 1536, 1_500_000_000),
        (0x80 | 32, 1 << 31, 500_000_000),
        (0x80, 7, 7 * 10**9),
        (127, 2**64 - 1, 0),
    ],
)
@pytest.mark.parametrize("offset", [None, 0, 3600, -1])
def test_packet_times_follow_every_time_resolution_and_offset(order, resolution, ticks, time_ns, offset):
    pairs = [] if resolution is None else [(9, bytes((resolution,)))]
    pairs += [] if offset is None else [(14, struct.pack(order + "q", offset))]
    (record,) = read_pcapng(section(order) + interface(order, *pairs) + enhanced(order, ticks, b"x"))
    assert record.time_ns == time_ns + (offset or 0) * 10**9


@ORDERS
def test_read_returns_packets_of_every_section_and_block_type(order):
    other = {"<": ">", ">": "<"}[order]
    file = b"".join((
        section(order), interface(order, (2, b"a"), snaplen=4), interface(order, (2, b"b"), (0, b"")),
        block(order, 0x80000BAD, b"unknown!"), block(order, 4, bytes(8)), block(order, 0, b""),
        enhanced(order, 1, b"abcde", (1, b"one"), (2, struct.pack(order + "I", 0x1FD)), (1, b"two"),
                 (4, struct.pack(order + "Q", 7)), (0, b""), index=1),
        block(order, 3, struct.pack(order + "I", 9) + b"wxyz"),
        block(order, 2, struct.pack(order + "HHIIII", 1, 6, 0, 2, 3, 8) + b"pqr\0"
              + options(order, (2, struct.pack(order + "I", 2)), (1, b"old"), (4, b"?"))),
        block(order, 2, struct.pack(order + "HHIIII", 0, 0xFFFF, 0, 3, 0, 8)),
        section(other), interface(other, (2, b"c"), linktype=1), enhanced(other, 4, b"f", (0, b""), (1, b"after")),
    ))  # fmt: skip
    a, b, c = RecordedInterface(0, "a", 101, 4), RecordedInterface(1, "b", 101), RecordedInterface(0, "c", 1)
    assert list(read_pcapng(file)) == [
        RecordedPacket(b, 1000, b"abcde", 5, "in", "one\ntwo", 7),
        RecordedPacket(a, None, b"wxyz", 9),
        RecordedPacket(b, 2000, b"pqr", 8, "out", "old", 6),
        RecordedPacket(a, 3000, b"", 8),
        RecordedPacket(c, 4000, b"f", 1),
    ]


def classic(order, magic, fraction, *, major=2, linktype=1):
    head = struct.pack(order + "IHHiIII", magic, major, 4, 0, 0, 65535, linktype)
    return head + struct.pack(order + "IIII", 3, fraction, 2, 60) + b"hi" + struct.pack(order + "IIII", 4, 0, 0, 0)


@ORDERS
@pytest.mark.parametrize(("magic", "fraction", "ticks"), [(0xA1B2C3D4, 5, 10**6), (0xA1B23C4D, 5000, 10**9)])
def test_read_of_classic_pcap_accepts_both_byte_orders_and_resolutions(order, magic, fraction, ticks):
    # The upper 16 bits of the link type announce a frame check sequence of 4 bytes.
    link = RecordedInterface(0, "", 1, 65535, ticks)
    assert list(read_pcapng(classic(order, magic, fraction, linktype=0x24000001))) == [
        RecordedPacket(link, 3_000_005_000, b"hi", 60),
        RecordedPacket(link, 4_000_000_000, b"", 0),
    ]


# ---- reading malformed files --------------------------------------------------------------------------------------

HEAD = section("<") + interface("<")  # a section header of 28 bytes and an interface of 20 bytes
ENHANCED = enhanced("<", 1, b"abcd")  # an enhanced packet block of 36 bytes


@pytest.mark.parametrize(
    ("file", "field", "offset"),
    [
        (b"\x1f\x8b\x08\x00 gzip", "magic", 0),
        (HEAD[:8] + b"\x1a\x2b\x3c\x4e" + HEAD[12:], "byte_order_magic", 8),
        (section("<", major=2), "version", 12),
        (classic("<", 0xA1B2C3D4, 0, major=3), "version", 4),
        (HEAD + struct.pack("<II", 6, 34) + bytes(40), "block_total_length", 52),
        (HEAD + struct.pack("<II", 6, 28) + bytes(40), "block_total_length", 52),
        (HEAD + bytes(40), "block_total_length", 52),
        (HEAD + struct.pack("<II", 99, MAX_BLOCK_SIZE + 4), "block_total_length", 52),
        (HEAD + struct.pack("<II", 99, 0xFFFFFFFC), "block_total_length", 52),
        (HEAD + ENHANCED[:-4] + struct.pack("<I", 32), "block_total_length", 80),
        (section("<") + ENHANCED, "interface_id", 36),
        (HEAD + section("<") + ENHANCED, "interface_id", 84),
        (HEAD + enhanced("<", 1, b"", index=1), "interface_id", 56),
        (section("<") + block("<", 3, bytes(4)), "interface_id", 36),
        (HEAD + block("<", 6, struct.pack("<IIIII", 0, 0, 0, 5, 5) + b"abcd"), "captured_packet_length", 68),
        (HEAD + block("<", 2, struct.pack("<IIIII", 0, 0, 0, 2**32 - 1, 5)), "captured_packet_length", 68),
        (HEAD + block("<", 3, struct.pack("<I", 5) + b"abcd"), "captured_packet_length", 56),
        (HEAD + enhanced("<", 1, b"abcd")[:-4] + b"", None, 48),
        (HEAD + block("<", 6, bytes(20) + struct.pack("<HH", 1, 1)), "option_length", 78),
        (HEAD + block("<", 6, bytes(20) + struct.pack("<HHI", 4, 8, 0)), "option_length", 78),
        (HEAD + enhanced("<", 1, b"", (2, b"ab")), "option_length", 78),
        (HEAD + enhanced("<", 1, b"", (4, b"abcd")), "option_length", 78),
        (section("<") + interface("<", (9, b"ab")), "option_length", 46),
        (section("<") + interface("<", (14, b"")), "option_length", 46),
        (classic("<", 0xA1B2C3D4, 0)[:24] + struct.pack("<IIII", 0, 0, 2**32 - 1, 9), "captured_packet_length", 32),
    ],
)
def test_error_of_read_of_malformed_file_names_field_and_offset(file, field, offset):
    with pytest.raises((MalformedError, TruncatedRecordingError)) as caught:
        list(read_pcapng(file))
    assert caught.value.offset == offset
    if field is None:
        assert isinstance(caught.value, TruncatedRecordingError)
    else:
        assert caught.value.field == field
        assert f"{field} at offset {offset}" in str(caught.value)


def cut_points(file):
    """Return, for every length that the file can be truncated to, the number of packets and the error."""
    for length in range(len(file)):
        came = []
        try:
            for record in read_pcapng(file[:length]):
                came.append(record)  # noqa: PERF402
        except TruncatedRecordingError as error:
            yield length, came, error
        else:
            yield length, came, None


@pytest.mark.parametrize("form", ["ours", "swapped", "pcap", "nsecpcap"])
def test_read_of_truncated_file_yields_earlier_packets(form):
    if form == "ours":
        writer = PcapngWriter(memory := io.BytesIO(), comment="cut me")
        for n, name in enumerate(("tun0", "veth0")):
            writer.write(writer.add_interface(name), bytes(n + 5), time_ns=n, direction="in", comment=name, dropped=n)
            writer.statistics(n, time_ns=9, received=1, dropped=0)
        file = memory.getvalue()
    elif form == "swapped":
        file = section(">") + interface(">", (2, b"a")) + enhanced(">", 1, b"abc", (1, b"one")) + section("<")
    else:
        file = classic(">", 0xA1B2C3D4 if form == "pcap" else 0xA1B23C4D, 9)
    whole = list(read_pcapng(file))
    clean = set()
    for length, came, error in cut_points(file):
        assert came == whole[: len(came)]
        if error is None:
            clean.add(length)
        else:
            assert error.offset + error.present == length
            assert error.present < error.needed
            assert str(error) == str(pickle.loads(pickle.dumps(error)))
            assert ("is empty" if not length else f"offset {error.offset}") in str(error)
    # A file that ends between two blocks is complete. A file that ends inside a block is truncated.
    ends, at = set(), {"ours": 0, "swapped": 0}.get(form, 24)
    while at < len(file):
        ends.add(at)
        if form in ("pcap", "nsecpcap"):
            at += 16 + struct.unpack_from(">I", file, at + 8)[0]
        else:
            at += struct.unpack_from("<I" if form == "ours" or at == len(file) - 28 else ">I", file, at + 4)[0]
    assert clean == ends - {0}


@given(st.data())
def test_read_of_damaged_file_raises_only_packet_errors(data):
    file = bytearray(
        HEAD + enhanced("<", 1, b"abcd", (1, b"one"), (2, bytes(4))) + block("<", 3, struct.pack("<I", 4) + b"abcd")
        if data.draw(st.booleans())
        else classic("<", 0xA1B2C3D4, 0)
    )
    for _ in range(data.draw(st.integers(1, 3))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    try:
        records = list(read_pcapng(file))
    except (MalformedError, TruncatedRecordingError) as error:
        assert f"offset {error.offset}" in str(error)  # noqa: PT017
    else:
        assert all(len(record.data) <= len(file) for record in records)


@pytest.mark.parametrize(
    "file",
    [
        HEAD + struct.pack("<II", 6, MAX_BLOCK_SIZE),
        classic("<", 0xA1B2C3D4, 0)[:24] + struct.pack("<IIII", 0, 0, MAX_BLOCK_SIZE, 9),
    ],
)
def test_read_of_huge_block_length_does_not_allocate_memory(tmp_path, file):
    (path := tmp_path / "a").write_bytes(file)
    tracemalloc.start()
    try:
        with pytest.raises(TruncatedRecordingError):
            list(read_pcapng(path))
        assert tracemalloc.get_traced_memory()[1] < MAX_BLOCK_SIZE // 16
    finally:
        tracemalloc.stop()


def test_failed_file_operation_raises_kernel_error(tmp_path):
    for attempt, code in (
        (lambda: list(read_pcapng(tmp_path / "missing")), errno.ENOENT),
        (lambda: list(read_pcapng(tmp_path)), errno.EISDIR),
        (lambda: list(read_pcapng("/proc/self/mem")), errno.EIO),
        (lambda: PcapngWriter.create(tmp_path).__enter__(), errno.EISDIR),
        (lambda: PcapngWriter.create(tmp_path / "missing" / "a").__enter__(), errno.ENOENT),
        (lambda: PcapngWriter.create("/dev/full").__enter__(), errno.ENOSPC),
    ):
        with pytest.raises(KernelError) as caught:
            attempt()
        assert caught.value.errno == code
        assert errno.errorcode[code] in str(caught.value)


def test_write_to_closed_pipe_raises_kernel_error():
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb", buffering=0) as sink:
        writer = PcapngWriter(sink)
        tun = writer.add_interface("tun0")
        os.close(reading)
        with pytest.raises(KernelError) as caught:
            writer.write(tun, b"", time_ns=0)
    assert caught.value.errno == errno.EPIPE
