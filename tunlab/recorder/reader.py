"""The reader of pcapng and classic pcap files.

Source: draft-ietf-opsawg-pcapng (section numbers are its own), draft-ietf-opsawg-pcap.
No length in a file is trusted before the bytes are read.
"""

from __future__ import annotations

import io
import os
import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from tunlab.errors import MalformedError, TruncatedRecordingError
from tunlab.recorder.formats import (
    ANNOTATION_HEAD,
    CUSTOM_UTF8,
    DIRECTIONS,
    ENHANCED_PACKET,
    ENTERPRISE_NUMBER,
    INTERFACE,
    MAX_BLOCK_SIZE,
    PACKET,
    SECTION_HEADER,
    SIMPLE_PACKET,
    Buffer,
    RecordedInterface,
    RecordedPacket,
    file_error,
)

_MIN_LENGTHS = {SECTION_HEADER: 28, INTERFACE: 20, PACKET: 32, SIMPLE_PACKET: 16, ENHANCED_PACKET: 32}
_MAGIC = b"\x0a\x0d\x0d\x0a"  # the block type of a section header, equal in both byte orders
_BYTE_ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_PCAP_MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("<", 10**6), b"\xa1\xb2\xc3\xd4": (">", 10**6),
    b"\x4d\x3c\xb2\xa1": ("<", 10**9), b"\xa1\xb2\x3c\x4d": (">", 10**9),
}  # fmt: skip
# struct formats of numeric options, by block type and option code
_PACKET_OPTIONS = {PACKET: {2: "I"}, ENHANCED_PACKET: {2: "I", 4: "Q"}}
_DAMAGED = "The file is damaged: record or copy it again."
_CONVERT = "Convert it with Wireshark: `editcap FILE NEW.pcapng`."


def read_pcapng(source: str | os.PathLike[str] | Buffer | BinaryIO) -> Iterator[RecordedPacket]:
    """Yield the packets of a pcapng or classic pcap file in the file's order.

    It reads while you iterate, so packets before an error are yielded. Blocks other than packets, interfaces and
    section headers are ignored.

    Args:
        source: A path; the file's content as bytes; or an open binary file or pipe, which the caller closes.

    Raises:
        MalformedError: A value is not allowed by the format.
        TruncatedRecordingError: The file ends inside a block.
        KernelError: The file cannot be read.
    """
    if isinstance(source, (str, os.PathLike)):
        try:
            file = Path(source).open("rb")  # noqa: SIM115
        except OSError as error:
            raise file_error(error, "open", os.fspath(source)) from error
        with file:
            yield from _Reader(file).records()
    else:
        yield from _Reader(io.BytesIO(source) if isinstance(source, Buffer) else source).records()


class _Reader:
    """A file read once from start to end, and its current block."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._offset, self._layer, self._order = file, 0, "recording", "<"
        self._start, self._block, self._interfaces = 0, b"", list[RecordedInterface]()

    def records(self) -> Iterator[RecordedPacket]:
        magic = self._need(4, "file header")
        if magic == _MAGIC:
            return self._pcapng()
        if magic in _PCAP_MAGICS:
            return self._pcap(*_PCAP_MAGICS[magic])
        raise self._malformed("magic", magic, 0, "pcapng and pcap begin with other bytes", _CONVERT)

    def _take(self, count: int) -> bytes:
        """Return the next `count` bytes, or fewer at the end of the file."""
        data = b""
        try:
            # Read in pieces, because `read` allocates `count` bytes first and a short file may announce a long block.
            while len(data) < count and (piece := self._file.read(min(count - len(data), 1 << 18))):
                data += piece
        except OSError as error:
            raise file_error(error, "read", self._file) from error
        self._offset += len(data)
        return data

    def _need(self, count: int, part: str, length_from: str = "bytes") -> bytes:
        """Read the current block up to its byte `count`; raise TruncatedRecordingError if the file ends before."""
        start, missing = self._start, self._start + count - self._offset
        data = self._take(missing)
        if len(data) == missing:
            return data
        raise TruncatedRecordingError(
            layer=self._layer,
            field=part,
            offset=start,
            needed=count,
            present=self._offset - start,
            length_from=length_from,
        )

    def _malformed(self, field: str, value: object, at: int, rule: str, advice: str = _DAMAGED) -> MalformedError:
        offset = self._start + at
        return MalformedError(layer=self._layer, field=field, value=value, rule=f"{rule}. {advice}", offset=offset)

    def _pcap(self, order: str, ticks: int) -> Iterator[RecordedPacket]:
        self._layer = "pcap"
        major, minor, snaplen, linktype = struct.unpack(order + "HH8xII", self._need(24, "file header"))
        if major != 2:
            raise self._malformed("version", f"{major}.{minor}", 4, "only version 2 can be read", _CONVERT)
        # The upper 16 bits describe the frame check sequence, not the link type.
        interface = RecordedInterface(0, "", linktype & 0xFFFF, snaplen, ticks)
        while head := self._take(16):
            self._start = self._offset - len(head)
            head += self._need(16, "packet header")
            seconds, fraction, captured, wire_length = struct.unpack(order + "IIII", head)
            if captured > MAX_BLOCK_SIZE:
                raise self._malformed("captured_packet_length", captured, 8, f"the maximum is {MAX_BLOCK_SIZE}")
            data = self._need(16 + captured, "packet", "pcap.captured_packet_length")
            yield RecordedPacket(interface, seconds * 10**9 + fraction * (10**9 // ticks), data, wire_length)

    def _pcapng(self) -> Iterator[RecordedPacket]:
        self._layer, head = "pcapng", _MAGIC
        while head:
            self._start = self._offset - len(head)
            kind = self._read_block(head)
            if kind == SECTION_HEADER:
                major, minor = self._unpack("HH", 12)
                if major != 1:
                    raise self._malformed("version", f"{major}.{minor}", 12, "only version 1 can be read", _CONVERT)
                self._interfaces = []
            elif kind == INTERFACE:
                self._interfaces.append(self._interface())
            elif kind in (PACKET, SIMPLE_PACKET, ENHANCED_PACKET):
                yield self._packet(kind)
            head = self._take(4)

    def _read_block(self, head: bytes) -> int:
        """Read the rest of the block that starts with `head`, and return its type."""
        head += self._need(8, "block")
        if head.startswith(_MAGIC):  # Read 12 more bytes, which include the byte order of the length.
            head += self._need(12, "block")
            if head[8:] not in _BYTE_ORDERS:
                raise self._malformed("byte_order_magic", head[8:].hex(), 8, "the magic must be 1a2b3c4d or 4d3c2b1a")
            self._order = _BYTE_ORDERS[head[8:]]
        kind, length = struct.unpack_from(self._order + "II", head)
        least = _MIN_LENGTHS.get(kind, 12)
        if length % 4 or not least <= length <= MAX_BLOCK_SIZE:
            raise self._malformed(
                "block_total_length", length, 4, f"a length is a multiple of 4 from {least} to {MAX_BLOCK_SIZE}"
            )
        self._block = head + self._need(length, "block", "pcapng.block_total_length")
        (repeated,) = self._unpack("I", length - 4)
        if repeated != length:
            raise self._malformed(
                "block_total_length", repeated, length - 4, f"the block begins with the length {length}"
            )
        return int(kind)

    def _unpack(self, form: str, at: int) -> tuple[Any, ...]:
        return struct.unpack_from(self._order + form, self._block, at)

    def _options(self, at: int, forms: Mapping[int, str]) -> Mapping[int, list[Any]]:
        """Return the options from offset `at`: values by code; `forms` has the formats of numbers, others are text."""
        found, end = defaultdict[int, list[Any]](list), len(self._block) - 4
        while at < end and (head := self._unpack("HH", at))[0]:  # The option with code 0 is opt_endofopt.
            code, length = head
            form = forms.get(code, f"{length}s")
            if struct.calcsize("<" + form) != length or at + 4 + length > end:
                rule = f"it is wrong for option {code}, or exceeds the block"
                raise self._malformed("option_length", length, at + 2, rule)
            (value,) = self._unpack(form, at + 4)
            if isinstance(value, bytes) and code != CUSTOM_UTF8:
                # The value of a custom option starts with a number, so it is not decoded.
                value = value.decode("utf-8", "backslashreplace")
            found[code].append(value)
            at += 4 + length + -length % 4
        return found

    def _annotation(self, option: bytes) -> str:
        """Return the text of tunlab's custom option; "" for another program's."""
        number, text = option[:4], option[4:].decode("utf-8", "backslashreplace")
        is_ours = number == struct.pack(self._order + "I", ENTERPRISE_NUMBER) and text.startswith(ANNOTATION_HEAD)
        return text.removeprefix(ANNOTATION_HEAD) if is_ours else ""

    def _interface(self) -> RecordedInterface:
        linktype, snaplen = self._unpack("HxxI", 8)
        options = self._options(16, {9: "B", 14: "q"})
        defaults = {2: "", 9: 6, 14: 0, 3: ""}  # if_name, if_tsresol, if_tsoffset and if_description
        name, power, offset, description = (options.get(code, [default])[0] for code, default in defaults.items())
        ticks = 2 ** (power & 0x7F) if power & 0x80 else 10**power
        return RecordedInterface(len(self._interfaces), name, linktype, snaplen, ticks, offset, description)

    def _packet(self, kind: int) -> RecordedPacket:
        """Return the packet of an enhanced, simple or obsolete packet block (sections 4.3, 4.4, appendix A)."""
        index, dropped, start = 0, None, 12 if kind == SIMPLE_PACKET else 28
        if kind == ENHANCED_PACKET:
            (index,) = self._unpack("I", 8)
        elif kind == PACKET:
            index, drops = self._unpack("HH", 8)
            dropped = None if drops == 0xFFFF else drops
        if index >= len(self._interfaces):
            count = len(self._interfaces)
            raise self._malformed("interface_id", index, 8, f"its section has {count} interfaces before it")
        interface = self._interfaces[index]
        captured, wire_length = self._unpack("II", start - 8)
        if kind == SIMPLE_PACKET:
            captured = min(wire_length, interface.snaplen or wire_length)
        if captured > (room := len(self._block) - 4 - start):
            raise self._malformed("captured_packet_length", captured, max(8, start - 8), f"the block has {room} bytes")
        data = self._block[start : start + captured]
        if kind == SIMPLE_PACKET:
            return RecordedPacket(interface, None, data, wire_length)
        options = self._options(28 + captured + -captured % 4, _PACKET_OPTIONS[kind])
        if kind == ENHANCED_PACKET:
            dropped = options.get(4, [None])[0]
        high, low = self._unpack("II", 12)
        time_ns = (high << 32 | low) * 10**9 // interface.ticks_per_second + interface.time_offset * 10**9
        direction, comment = DIRECTIONS[options.get(2, [0])[0] & 3], "\n".join(options.get(1, ()))
        annotation = next(filter(None, map(self._annotation, options.get(CUSTOM_UTF8, ()))), "")
        return RecordedPacket(interface, time_ns, data, wire_length, direction, comment, dropped, annotation)
