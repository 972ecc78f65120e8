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
    """A writer of one pcapng section, little-endian, with time stamps in nanoseconds; for one thread at a time.

    Each block is written with one call, so the file can be read even if the writer is killed.
    Every method raises MalformedError for a value that does not fit the format, KernelError if the file cannot be
    written.
    """

    def __init__(self, file: BinaryIO | io.FileIO, *, comment: str = "") -> None:
        """Start a section with a comment in `file`, which the caller closes; a BytesIO records to memory."""
        # importlib.metadata is slow to import, and readers do not need it.
        from importlib.metadata import distributions

        self._file, self._snaplens = file, list[int]()
        # The version is "" if tunlab is not installed.
        version = next((f" {found.version}" for found in distributions(name="tunlab")), "")
        # pcapng options shb_os and shb_userappl
        options = _option(3, " ".join(os.uname()[0:3:2])) + _option(4, f"tunlab{version}")
        # A section length of -1 means that the length is unknown.
        self._put(SECTION_HEADER, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1), options, comment)

    @classmethod
    @contextmanager
    def create(cls, path: str | os.PathLike[str], *, comment: str = "") -> Iterator[Self]:
        """Create or overwrite the file `path`, and close it at the end of the `with` block."""
        try:
            # Write unbuffered, so that no packet is lost if the process is killed.
            file = Path(path).open("wb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise file_error(error, "open", os.fspath(path)) from error
        with file:
            yield cls(file, comment=comment)

    def add_interface(self, name: str, *, linktype: int = LINKTYPE_RAW, snaplen: int = 0, description: str = "") -> int:
        """Add an interface, and return its number for `write`.

        Args:
            name: The interface's name.
            linktype: LINKTYPE_RAW for a TUN, LINKTYPE_ETHERNET for a TAP, a veth or a bridge.
            snaplen: The maximum number of bytes to keep of a packet; 0 for no limit.
            description: A description, or "".
        """
        head = _number("linktype", linktype, "H") + bytes(2) + _number("snaplen", snaplen, "I")
        # pcapng options if_name, if_description and if_tsresol (10**-9 s)
        options = _option(2, name) + (_option(3, description) if description else b"") + _option(9, b"\x09")
        self._put(INTERFACE, head, options)
        self._snaplens.append(snaplen)
        return len(self._snaplens) - 1

    def write(
        self,
        interface: int,
        data: Buffer,
        *,
        time_ns: int,
        direction: Direction | None = None,
        comment: str = "",
        wire_length: int | None = None,
        dropped: int | None = None,
        annotation: str = "",
    ) -> None:
        """Write a packet.

        Args:
            interface: The number that `add_interface` returned.
            data: The bytes from the link header; cut to the interface's snaplen.
            time_ns: Nanoseconds since the epoch.
            direction: "in", "out" or None.
            comment: A comment, or "".
            wire_length: The length on the wire; None for the length of `data`.
            dropped: Packets lost on this interface since the previous packet; None if not counted.
            annotation: Text that `read_pcapng` returns in `RecordedPacket.annotation`.
        """
        head = self._head(interface, time_ns)
        if direction not in DIRECTIONS:
            raise MalformedError(
                layer="pcapng", field="direction", value=direction, rule='not a direction. Give "in", "out" or None.'
            )
        kept = bytes(data[: self._snaplens[interface] or len(data)])
        head += _number("captured_packet_length", len(kept), "I", most=MAX_PACKET_SIZE, hint=". Set a snaplen.")
        head += _number("original_packet_length", len(data) if wire_length is None else wire_length, "I", len(data))
        # pcapng option epb_flags
        options = b"" if direction is None else _option(2, struct.pack("<I", DIRECTIONS.index(direction)))
        if dropped is not None:
            options += _option(4, _number("dropped", dropped))  # pcapng option epb_dropcount
        if annotation:
            text = f"{ANNOTATION_HEAD}{annotation}".encode()
            options += _option(CUSTOM_UTF8, struct.pack("<I", ENTERPRISE_NUMBER) + text)
        self._put(ENHANCED_PACKET, head + kept + bytes(-len(kept) % 4), options, comment)

    def statistics(self, interface: int, *, time_ns: int, received: int, dropped: int) -> None:
        """Write the number of packets received on the interface and dropped by the system since the recording began."""
        # pcapng options isb_ifrecv and isb_osdrop
        counts = _option(4, _number("received", received)) + _option(7, _number("dropped", dropped))
        self._put(STATISTICS, self._head(interface, time_ns), counts)

    def _head(self, interface: int, time_ns: int) -> bytes:
        # The upper half of a timestamp comes first in both byte orders (pcapng specification, section 4.3).
        stamp = _number("time_ns", time_ns)
        hint = ". Give a number returned by add_interface."
        return _number("interface_id", interface, "I", 0, len(self._snaplens) - 1, hint) + stamp[4:] + stamp[:4]

    def _put(self, kind: int, body: bytes, options: bytes, comment: str = "") -> None:
        options += _option(1, comment) if comment else b""  # pcapng option opt_comment
        body += options and options + bytes(4)  # pcapng option opt_endofopt
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
        # Python represents undecodable bytes, as in a file name, by lone surrogates, which are escaped here.
        value = value.encode("utf-8", "backslashreplace")
    length = _number("option_length", len(value), "H", hint=". Shorten the text.")
    return struct.pack("<H", code) + length + value + bytes(-len(value) % 4)


def _number(field: str, value: int, form: str = "Q", least: int = 0, most: int | None = None, hint: str = "") -> bytes:
    most = (1 << 8 * struct.calcsize("<" + form)) - 1 if most is None else most
    if not isinstance(value, int) or not least <= value <= most:
        no_interface = "the file has no interface. Call add_interface first."
        rule = f"it must be an integer from {least} to {most}{hint}" if least <= most else no_interface
        raise MalformedError(layer="pcapng", field=field, value=value, rule=rule)
    return struct.pack("<" + form, value)
