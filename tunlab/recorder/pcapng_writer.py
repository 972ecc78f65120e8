"""The writer of pcapng files.

Source: draft-ietf-opsawg-pcapng; section numbers are its own.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Self

from tunlab.errors import MalformedError
from tunlab.recorder.formats import (
    ANNOTATION_HEAD,
    CUSTOM_UTF8,
    DIRECTIONS,
    ENHANCED_PACKET,
    ENTERPRISE_NUMBER,
    INTERFACE,
    LINKTYPE_RAW,
    MAX_PACKET_SIZE,
    SECTION_HEADER,
    STATISTICS,
    Buffer,
    Direction,
    file_error,
)


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
        self._put(SECTION_HEADER, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1), options, comment)  # -1: length unknown

    @classmethod
    @contextmanager
    def create(cls, path: str | os.PathLike[str], *, comment: str = "") -> Iterator[Self]:
        """Begin a file at `path`, in place of what was there, and close it at the end of the `with` block."""
        try:
            # Unbuffered: what is written is in the kernel's hands, and no SIGKILL can lose it.
            file = Path(path).open("wb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise file_error(error, "open", os.fspath(path)) from error
        with file:
            yield cls(file, comment=comment)

    def add_interface(self, name: str, *, linktype: int = LINKTYPE_RAW, snaplen: int = 0) -> int:
        """Describe an interface, and give the number by which `write` knows it.

        linktype   LINKTYPE_RAW for a TUN, LINKTYPE_ETHERNET for a TAP, a veth, a bridge
        snaplen    octets kept of a packet at most, the rest is cut off; 0 for all
        """
        head = _number("linktype", linktype, "H") + bytes(2) + _number("snaplen", snaplen, "I")
        self._put(INTERFACE, head, _option(2, name) + _option(9, b"\x09"))  # if_name, if_tsresol: 10**-9 s
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
        annotation: str = "",
    ) -> None:
        """Write a packet, as `RecordedPacket` has it, on the interface to which `add_interface` gave that number."""
        head = self._head(interface, time_ns)
        if direction not in DIRECTIONS:
            raise MalformedError(layer="pcapng", field="direction", value=direction, rule='it is "in", "out" or None')
        kept = bytes(octets[: self._snaplens[interface] or len(octets)])
        head += _number("captured_packet_length", len(kept), "I", most=MAX_PACKET_SIZE, hint="; cut it by a snaplen")
        head += _number("original_packet_length", len(octets) if wire_length is None else wire_length, "I", len(octets))
        options = b"" if direction is None else _option(2, struct.pack("<I", DIRECTIONS.index(direction)))  # epb_flags
        if dropped is not None:
            options += _option(4, _number("dropped", dropped))  # epb_dropcount
        if annotation:
            text = f"{ANNOTATION_HEAD}{annotation}".encode()
            options += _option(CUSTOM_UTF8, struct.pack("<I", ENTERPRISE_NUMBER) + text)
        self._put(ENHANCED_PACKET, head + kept + bytes(-len(kept) % 4), options, comment)

    def statistics(self, interface: int, *, time_ns: int, received: int, dropped: int) -> None:
        """Write how many packets the interface received, and the system dropped, since the recording began."""
        counts = _option(4, _number("received", received)) + _option(7, _number("dropped", dropped))  # isb_osdrop
        self._put(STATISTICS, self._head(interface, time_ns), counts)

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
            raise file_error(error, "write", self._file) from error


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
