"""The LLC header of IEEE 802.3 frames: IEEE 802.2 (ISO/IEC 8802-2) clause 3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from msgspec.structs import replace

from tunlab.errors import MalformedError, TruncatedError
from tunlab.packet.field import Field
from tunlab.packet.findings import INPUT
from tunlab.packet.header import Header, Layer, Reading
from tunlab.packet.kinds import Link
from tunlab.packet.tables import ETHERTYPES, LENGTH, LLC_PAYLOADS, MAX_LENGTH, not_implied, number_of
from tunlab.packet.values import check_width, is_packet_error

__tracebackhide__ = is_packet_error

UNNUMBERED_INFORMATION = 0x03

_NAMES = {0x42: "STP", 0xAA: "SNAP", 0xFE: "OSI"}
_COMMANDS = {UNNUMBERED_INFORMATION: "UI", 0xAF: "XID", 0xE3: "TEST"}


def _control(value: object) -> int:
    control = check_width("LLC", "control", value, 16)
    if control & 3 == 3 and control > 0xFF:
        raise ValueError("too wide: its last two bits are set, and such a control field has 8 bits. Give at most 0xff.")
    return control


class LLC(Link, frozen=True, gc=False):
    """An LLC header. The field `type` of the header before it has a length.

    Attributes:
        dsap: The destination's service access point; None: computed from the next header.
        ssap: The source's service access point; None: computed from the next header.
        control: One byte if its two lowest bits are set (unnumbered format), else two bytes, the lower one first.
    """

    LAYOUT: ClassVar = (("dsap", 8), ("ssap", 8), ("control", 8))
    DERIVED: ClassVar = frozenset({"dsap", "ssap"})
    COERCE: ClassVar = {"control": _control}

    dsap: int | None = None
    ssap: int | None = None
    control: int = UNNUMBERED_INFORMATION

    @property
    def header_length(self) -> int:
        """Bytes of the header: 3, or 4 with a control field of two bytes."""
        return 3 if self.control & 3 == 3 else 4

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Reading:
        present = end - start
        needed = 4 if present > 2 and data[start + 2] & 3 != 3 else 3
        if present < needed:
            raise TruncatedError(layer="LLC", field="", offset=start, needed=needed, present=present, length_from=INPUT)
        dsap, ssap = data[start], data[start + 1]
        control = int.from_bytes(data[start + 2 : start + needed], "little")
        is_information = dsap == ssap and control == UNNUMBERED_INFORMATION
        following = LLC_PAYLOADS.get(dsap) if is_information else None
        return _llc(dsap, ssap, control), start + needed, end, following

    def to_bytes(self) -> bytes:
        try:
            return bytes((self.dsap, self.ssap)) + self.control.to_bytes(self.header_length - 2, "little")  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            raise self.field_error() from None

    def complete(self, outer: Sequence[Header], content: bytes, inner: Header | None) -> Self:
        """Return this header with its service access points computed where they are None.

        Raises:
            MalformedError: If they cannot be computed.
        """
        number = number_of(LLC_PAYLOADS, inner)
        points = {name: number for name in ("dsap", "ssap") if getattr(self, name) is None}
        for name in points:
            if number is None:
                raise not_implied("LLC", name, inner)
        return replace(self, **points)

    def ethertype(self, content: bytes) -> int:
        """Return the length of `content`, for the type field of the header before this one.

        Raises:
            MalformedError: If `content` is longer than 1500 bytes.
        """
        if len(content) > MAX_LENGTH:
            rule = "a frame of IEEE 802.3 carries at most 1500 bytes. Give `type`."
            raise MalformedError(layer="LLC", field="length", value=len(content), rule=rule)
        return len(content)

    @property
    def title(self) -> str:
        return _NAMES.get(self.dsap or 0, "")

    def fields(self) -> list[Field]:
        *found, control = super().fields()
        return [*found, control._replace(bits=(self.header_length - 2) * 8)]

    def field_text(self, name: str, value: object) -> str:
        if not isinstance(value, int):
            return super().field_text(name, value)
        if name == "control":
            command = _COMMANDS.get(value)
            return f"{value:#06x}" if value & 3 != 3 else f"{value:#04x}" + (f" ({command})" if command else "")
        return f"{value:#04x}" + (f" ({_NAMES[value]})" if value in _NAMES else "")

    def summary(self, layer: Layer, inner: Sequence[Layer], text: str) -> str:
        if text:
            return text
        points = f"dsap {self.field_text('dsap', self.dsap)}, ssap {self.field_text('ssap', self.ssap)}"
        return f"LLC, {points}, control {self.field_text('control', self.control)}, length {layer.size}"


_llc = LLC.unchecked()
ETHERTYPES[LENGTH] = LLC.read
