"""Recordings: pcapng written and read, and classic pcap read.

Source: draft-ietf-opsawg-pcapng (section numbers below are its), draft-ietf-opsawg-pcap for the classic format.
Rule for editors: no length that a file claims is believed before the octets are here, and nothing is decoded but
what stands between a link's frame and the datagram in it.
"""

from __future__ import annotations

import errno
import io
import os
import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self, TypeAlias

from msgspec import Struct

from tunlab.errors import KernelError, MalformedError, TruncatedRecordingError

Buffer: TypeAlias = bytes | bytearray | memoryview
Direction: TypeAlias = Literal["in", "out"]
"""As the recorded device sees it: "in" was received by it (for a TUN: injected), "out" was sent out of it."""

LINKTYPE_NULL, LINKTYPE_ETHERNET, LINKTYPE_RAW, LINKTYPE_LOOP = 0, 1, 101, 108
LINKTYPE_LINUX_SLL, LINKTYPE_IPV4, LINKTYPE_IPV6, LINKTYPE_LINUX_SLL2 = 113, 228, 229, 276

MAX_PACKET_SIZE = 262_144  # octets that the writer takes: Wireshark and tcpdump read no larger packet
MAX_BLOCK_SIZE = 16 * 1024 * 1024  # octets that the reader takes as one block, or one classic packet: Wireshark's limit

_SECTION_HEADER, _INTERFACE, _PACKET, _SIMPLE_PACKET, _STATISTICS, _ENHANCED_PACKET = 0x0A0D0D0A, 1, 2, 3, 5, 6
_LEAST = {_SECTION_HEADER: 28, _INTERFACE: 20, _PACKET: 32, _SIMPLE_PACKET: 16, _ENHANCED_PACKET: 32}
_MAGIC = b"\x0a\x0d\x0d\x0a"  # a section header's block type: the same in both byte orders
_BYTE_ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_PCAP_MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("<", 10**6), b"\xa1\xb2\xc3\xd4": (">", 10**6),
    b"\x4d\x3c\xb2\xa1": ("<", 10**9), b"\xa1\xb2\x3c\x4d": (">", 10**9),
}  # fmt: skip
_PACKET_OPTIONS = {_PACKET: {2: "I"}, _ENHANCED_PACKET: {2: "I", 4: "Q"}}  # those that are numbers: their forms
_DIRECTIONS: tuple[Direction | None, ...] = (None, "in", "out", None)  # by the two lowest bits of epb_flags
_DAMAGED, _CONVERT = "the file is damaged", "Wireshark's editcap converts most files: editcap FILE NEW.pcapng"
_REMEDIES = {
    errno.ENOENT: "check the path, and that its directory exists",
    errno.EISDIR: "name a file, not a directory",
    errno.ENOSPC: "make room on the disk; what was written before can be read",
}


class RecordedInterface(Struct, frozen=True):
    """What packets were recorded on.

    index             its number, from 0, in its section of the file
    linktype          LINKTYPE_*: what a packet's octets begin with
    snaplen           octets kept of a packet at most; 0 for all
    ticks_per_second  the resolution of the file's time stamps
    time_offset       seconds that the file adds to each of them
    """

    index: int
    name: str
    linktype: int
    snaplen: int = 0
    ticks_per_second: int = 10**6
    time_offset: int = 0


class RecordedPacket(Struct, frozen=True):
    """A recorded packet.

    time_ns      nanoseconds since the epoch; None in a simple packet block, which has no time
    data         from the link's header on, as many as were kept
    wire_length  octets that it had on the wire
    direction    None where the file does not say
    comment      several are joined, one a line
    dropped      packets lost between the one before on this interface and this one; None where nobody counted
    """

    interface: RecordedInterface
    time_ns: int | None
    data: bytes
    wire_length: int
    direction: Direction | None = None
    comment: str = ""
    dropped: int | None = None


class PcapngWriter:
    """Writes one section of pcapng, little-endian, with times in nanoseconds; for one thread at a time.

    Each block goes out whole and at once, so a writer that is killed leaves a file that can be read.
    Every method raises MalformedError for a value that the format cannot hold, KernelError where the system refuses.
    """

    def __init__(self, file: BinaryIO | io.FileIO, *, comment: str = "") -> None:
        """Begin a section in `file`, the caller's to close (a BytesIO records to memory); `comment` is on all of it."""
        from importlib.metadata import distributions  # here: it is slow to load, and readers need none of it

        self._file, self._snaplens = file, list[int]()
        version = next((f" {found.version}" for found in distributions(name="tunlab")), "")  # none: run from its source
        options = _option(3, " ".join(os.uname()[0:3:2])) + _option(4, f"tunlab{version}")  # shb_os, shb_userappl
        self._put(_SECTION_HEADER, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1), options, comment)  # -1: length unknown

    @classmethod
    @contextmanager
    def create(cls, path: str | os.PathLike[str], *, comment: str = "") -> Iterator[Self]:
        """Begin a file at `path`, in place of what was there, and close it at the end of the `with` block."""
        try:
            # Unbuffered: what is written is in the kernel's hands, and no SIGKILL can lose it.
            file = Path(path).open("wb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise _refused(error, "open", os.fspath(path)) from error
        with file:
            yield cls(file, comment=comment)

    def add_interface(self, name: str, *, linktype: int = LINKTYPE_RAW, snaplen: int = 0) -> int:
        """Describe an interface, and give the number by which `write` knows it.

        linktype   LINKTYPE_RAW for a TUN, LINKTYPE_ETHERNET for a TAP, a veth, a bridge
        snaplen    octets kept of a packet at most, the rest is cut off; 0 for all
        """
        head = _number("linktype", linktype, "H") + bytes(2) + _number("snaplen", snaplen, "I")
        self._put(_INTERFACE, head, _option(2, name) + _option(9, b"\x09"))  # if_name, if_tsresol: 10**-9 s
        self._snaplens.append(snaplen)
        return len(self._snaplens) - 1

    def write(
        self,
        interface: int,
        octets: Buffer,
        *,
        time_ns: int,
        direction: Direction | None = None,
        comment: str = "",
        wire_length: int | None = None,
        dropped: int | None = None,
    ) -> None:
        """Write a packet, as `RecordedPacket` has it, on the interface to which `add_interface` gave that number."""
        head = self._head(interface, time_ns)
        if direction not in _DIRECTIONS:
            raise MalformedError(layer="pcapng", field="direction", value=direction, rule='it is "in", "out" or None')
        kept = bytes(octets[: self._snaplens[interface] or len(octets)])
        head += _number("captured_packet_length", len(kept), "I", most=MAX_PACKET_SIZE, hint="; cut it by a snaplen")
        head += _number("original_packet_length", len(octets) if wire_length is None else wire_length, "I", len(octets))
        options = b"" if direction is None else _option(2, struct.pack("<I", _DIRECTIONS.index(direction)))  # epb_flags
        if dropped is not None:
            options += _option(4, _number("dropped", dropped))  # epb_dropcount
        self._put(_ENHANCED_PACKET, head + kept + bytes(-len(kept) % 4), options, comment)

    def statistics(self, interface: int, *, time_ns: int, received: int, dropped: int) -> None:
        """Write how many packets the interface received, and the system dropped, since the recording began."""
        counts = _option(4, _number("received", received)) + _option(7, _number("dropped", dropped))  # isb_osdrop
        self._put(_STATISTICS, self._head(interface, time_ns), counts)

    def _head(self, interface: int, time_ns: int) -> bytes:
        stamp = _number("time_ns", time_ns)  # its upper half comes first, in either byte order (section 4.3)
        hint = "; add_interface gives it"
        return _number("interface_id", interface, "I", 0, len(self._snaplens) - 1, hint) + stamp[4:] + stamp[:4]

    def _put(self, kind: int, body: bytes, options: bytes, comment: str = "") -> None:
        options += _option(1, comment) if comment else b""  # opt_comment
        body += options and options + bytes(4)  # opt_endofopt
        length = struct.pack("<I", len(body) + 12)
        rest = memoryview(struct.pack("<I", kind) + length + body + length)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
            self._file.flush()
        except OSError as error:
            raise _refused(error, "write", self._file) from error


def _option(code: int, value: bytes | str) -> bytes:
    if isinstance(value, str):
        # What is no text, such as a file name of other octets, Python holds as lone surrogates: they are spelt out.
        value = value.encode("utf-8", "backslashreplace")
    length = _number("option_length", len(value), "H", hint="; shorten the text")
    return struct.pack("<H", code) + length + value + bytes(-len(value) % 4)


def _number(field: str, value: int, form: str = "Q", least: int = 0, most: int | None = None, hint: str = "") -> bytes:
    most = (1 << 8 * struct.calcsize("<" + form)) - 1 if most is None else most
    if not isinstance(value, int) or not least <= value <= most:
        rule = f"it is a whole number from {least} to {most}{hint}" if least <= most else "add an interface first"
        raise MalformedError(layer="pcapng", field=field, value=value, rule=rule)
    return struct.pack("<" + form, value)


def _refused(error: OSError, verb: str, file: object) -> KernelError:
    code, operation = error.errno or 0, f"{verb} {getattr(file, 'name', file)}"
    return KernelError(code, operation, reason=error.strerror or str(error), remedy=_REMEDIES.get(code, ""))


def read_pcapng(source: str | os.PathLike[str] | Buffer | BinaryIO) -> Iterator[RecordedPacket]:
    """The packets of a pcapng or classic pcap file, in the file's order.

    source   a path; the file's octets; or a file open for reading them, a pipe too, which stays the caller's

    Both byte orders, every time resolution, any number of sections and interfaces; other blocks are passed over.
    It reads, and so raises, while you iterate: MalformedError for what the format does not allow,
    TruncatedRecordingError where the file ends early, KernelError where
    the system refuses. The records before the fault have been given.
    """
    if isinstance(source, (str, os.PathLike)):
        try:
            file = Path(source).open("rb")  # noqa: SIM115
        except OSError as error:
            raise _refused(error, "open", os.fspath(source)) from error
        with file:
            yield from _Reader(file).records()
    else:
        yield from _Reader(io.BytesIO(source) if isinstance(source, Buffer) else source).records()


class _Reader:
    """A file read once from front to back, and the block at hand."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._offset, self._layer, self._order = file, 0, "recording", "<"
        self._start, self._block, self._interfaces = 0, b"", list[RecordedInterface]()

    def records(self) -> Iterator[RecordedPacket]:
        magic = self._need(4, "file header")
        if magic == _MAGIC:
            return self._pcapng()
        if magic in _PCAP_MAGICS:
            return self._pcap(*_PCAP_MAGICS[magic])
        raise self._malformed("magic", magic, 0, "no pcapng or pcap file begins so", _CONVERT)

    def _take(self, count: int) -> bytes:
        """The next `count` octets, fewer only at the file's end."""
        octets = b""
        try:
            # In pieces: `read` allocates what it is asked for, and a short file may claim a long block.
            while len(octets) < count and (piece := self._file.read(min(count - len(octets), 1 << 18))):
                octets += piece
        except OSError as error:
            raise _refused(error, "read", self._file) from error
        self._offset += len(octets)
        return octets

    def _need(self, count: int, what: str, by: str = "octets") -> bytes:
        """What is still to be taken of the `count` octets from the block's start on."""
        start, missing = self._start, self._start + count - self._offset
        octets = self._take(missing)
        if len(octets) == missing:
            return octets
        got = self._offset - start
        raise TruncatedRecordingError(
            layer=self._layer, field=what, offset=start, needed=count, present=got, length_from=by
        )

    def _malformed(self, field: str, value: object, place: int, rule: str, advice: str = _DAMAGED) -> MalformedError:
        offset = self._start + place
        return MalformedError(layer=self._layer, field=field, value=value, rule=f"{rule}; {advice}", offset=offset)

    def _pcap(self, order: str, ticks: int) -> Iterator[RecordedPacket]:
        self._layer = "pcap"
        major, minor, snaplen, linktype = struct.unpack(order + "HH8xII", self._need(24, "file header"))
        if major != 2:
            raise self._malformed("version", f"{major}.{minor}", 4, "only version 2 can be read", _CONVERT)
        # The upper half of the link type's word tells of the frame check sequence.
        interface = RecordedInterface(0, "", linktype & 0xFFFF, snaplen, ticks)
        while head := self._take(16):
            self._start = self._offset - len(head)
            head += self._need(16, "packet header")
            seconds, fraction, captured, wire_length = struct.unpack(order + "IIII", head)
            if captured > MAX_BLOCK_SIZE:
                raise self._malformed("captured_packet_length", captured, 8, f"it is at most {MAX_BLOCK_SIZE}")
            octets = self._need(16 + captured, "packet", "pcap.captured_packet_length")
            yield RecordedPacket(interface, seconds * 10**9 + fraction * (10**9 // ticks), octets, wire_length)

    def _pcapng(self) -> Iterator[RecordedPacket]:
        self._layer, head = "pcapng", _MAGIC
        while head:
            self._start = self._offset - len(head)
            kind = self._read_block(head)
            if kind == _SECTION_HEADER:
                major, minor = self._unpack("HH", 12)
                if major != 1:
                    raise self._malformed("version", f"{major}.{minor}", 12, "only version 1 can be read", _CONVERT)
                self._interfaces = []
            elif kind == _INTERFACE:
                self._interfaces.append(self._interface())
            elif kind in (_PACKET, _SIMPLE_PACKET, _ENHANCED_PACKET):
                yield self._packet(kind)
            head = self._take(4)

    def _read_block(self, head: bytes) -> int:
        """Take the rest of the block that begins with `head`, and give its type."""
        head += self._need(8, "block")
        if head.startswith(_MAGIC):  # the byte order comes after the length, which needs it
            head += self._need(12, "block")
            if head[8:] not in _BYTE_ORDERS:
                raise self._malformed("byte_order_magic", head[8:].hex(), 8, "it is 1a2b3c4d or 4d3c2b1a")
            self._order = _BYTE_ORDERS[head[8:]]
        kind, length = struct.unpack_from(self._order + "II", head)
        least = _LEAST.get(kind, 12)
        if length % 4 or not least <= length <= MAX_BLOCK_SIZE:
            raise self._malformed("block_total_length", length, 4, f"it is {least} to {MAX_BLOCK_SIZE}, by fours")
        self._block = head + self._need(length, "block", "pcapng.block_total_length")
        (again,) = self._unpack("I", length - 4)
        if again != length:
            raise self._malformed("block_total_length", again, length - 4, f"it was {length} at the block's start")
        return int(kind)

    def _unpack(self, form: str, place: int) -> tuple[Any, ...]:
        return struct.unpack_from(self._order + form, self._block, place)

    def _options(self, place: int, forms: Mapping[int, str]) -> Mapping[int, list[Any]]:
        """The values of the options from `place` on, by code: numbers where `forms` says their form, else text."""
        found, end = defaultdict[int, list[Any]](list), len(self._block) - 4
        while place < end and (head := self._unpack("HH", place))[0]:  # 0: opt_endofopt
            code, length = head
            form = forms.get(code, f"{length}s")
            if struct.calcsize("<" + form) != length or place + 4 + length > end:
                raise self._malformed("option_length", length, place + 2, f"not option {code}'s, or past the block")
            (value,) = self._unpack(form, place + 4)
            found[code].append(value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value)
            place += 4 + length + -length % 4
        return found

    def _interface(self) -> RecordedInterface:
        linktype, snaplen = self._unpack("HxxI", 8)
        options = self._options(16, {9: "B", 14: "q"})
        name, power, offset = (options.get(code, [default])[0] for code, default in ((2, ""), (9, 6), (14, 0)))
        ticks = 2 ** (power & 0x7F) if power & 0x80 else 10**power
        return RecordedInterface(len(self._interfaces), name, linktype, snaplen, ticks, offset)

    def _packet(self, kind: int) -> RecordedPacket:
        """The record in an enhanced packet block, a simple one, or an obsolete one (sections 4.3, 4.4, appendix A)."""
        index, dropped, place = 0, None, 12 if kind == _SIMPLE_PACKET else 28
        if kind == _ENHANCED_PACKET:
            (index,) = self._unpack("I", 8)
        elif kind == _PACKET:
            index, drops = self._unpack("HH", 8)
            dropped = None if drops == 0xFFFF else drops
        if index >= len(self._interfaces):
            count = len(self._interfaces)
            raise self._malformed("interface_id", index, 8, f"{count} interfaces stand before it in its section")
        interface = self._interfaces[index]
        captured, wire_length = self._unpack("II", place - 8)
        if kind == _SIMPLE_PACKET:
            captured = min(wire_length, interface.snaplen or wire_length)
        if captured > (room := len(self._block) - 4 - place):
            raise self._malformed("captured_packet_length", captured, max(8, place - 8), f"there is room for {room}")
        octets = self._block[place : place + captured]
        if kind == _SIMPLE_PACKET:
            return RecordedPacket(interface, None, octets, wire_length)
        options = self._options(28 + captured + -captured % 4, _PACKET_OPTIONS[kind])
        if kind == _ENHANCED_PACKET:
            dropped = options.get(4, [None])[0]
        high, low = self._unpack("II", 12)
        time_ns = (high << 32 | low) * 10**9 // interface.ticks_per_second + interface.time_offset * 10**9
        direction, comment = _DIRECTIONS[options.get(2, [0])[0] & 3], "\n".join(options.get(1, ()))
        return RecordedPacket(interface, time_ns, octets, wire_length, direction, comment, dropped)


_VLAN_TAGS = (b"\x81\x00", b"\x88\xa8", b"\x91\x00")  # 802.1Q, 802.1ad, and what came before 802.1ad
_IPV4_TYPES = (b"\x08\x00", b"\x02\0\0\0", b"\0\0\0\x02")  # an Ethertype; AF_INET in either byte order
# Where a link's header holds the type of what follows, and how long it is, in octets.
_TYPE_AND_LENGTH = {
    LINKTYPE_ETHERNET: (slice(12, 14), 14), LINKTYPE_NULL: (slice(4), 4), LINKTYPE_LOOP: (slice(4), 4),
    LINKTYPE_LINUX_SLL: (slice(14, 16), 16), LINKTYPE_LINUX_SLL2: (slice(2), 20),
}  # fmt: skip


def extract_ipv4(record: RecordedPacket) -> bytes | None:
    """The IPv4 datagram in a record, whatever the link; None where it holds none, or the link is not known.

    It is given as it was recorded, broken or cut as it may be; only the padding of a short Ethernet frame is taken off.
    """
    place = locate_ipv4(record)
    return None if place is None else record.data[place]


def locate_ipv4(record: RecordedPacket) -> slice | None:
    """Where in the record's octets that datagram stands."""
    octets, linktype = record.data, record.interface.linktype
    if linktype in (LINKTYPE_RAW, 12, LINKTYPE_IPV4):  # 12: the name inside libpcap for LINKTYPE_RAW; some write it
        # LINKTYPE_RAW is IPv4 or IPv6, and only a 6 is sure to be the other one.
        known = octets and (linktype == LINKTYPE_IPV4 or octets[0] >> 4 != 6)
        return slice(0, len(octets)) if known else None
    place, length = _TYPE_AND_LENGTH.get(linktype, (slice(0), 0))
    while octets[place] in _VLAN_TAGS:
        place, length = slice(length + 2, length + 4), length + 4
    if octets[place] not in _IPV4_TYPES or len(octets) <= length:
        return None
    total_length = int.from_bytes(octets[length + 2 : length + 4], "big")
    # Ethernet pads to 64 octets, a VLAN tag or check sequence included; below a header's 20, the length is a fault.
    padded = linktype == LINKTYPE_ETHERNET and len(octets) <= 64 and total_length >= 20
    return slice(length, min(len(octets), length + total_length) if padded else len(octets))
