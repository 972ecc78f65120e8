"""The headers that libpcap puts before packets captured on all interfaces of Linux: LINKTYPE_LINUX_SLL and SLL2.

Source: tcpdump.org, the pages of both link types.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from msgspec.structs import replace

from tunlab.errors import TruncatedError
from tunlab.packet.findings import INPUT
from tunlab.packet.header import Header, Layer, Reading
from tunlab.packet.kinds import Link
from tunlab.packet.tables import ETHERTYPES, LINK_TYPES, MAX_LENGTH, ethertype_name, ethertype_of
from tunlab.packet.values import is_packet_error

__tracebackhide__ = is_packet_error

LINKTYPE_LINUX_SLL, LINKTYPE_LINUX_SLL2 = 113, 276

_PACKET_TYPES = ("to us", "broadcast", "multicast", "to somebody else", "sent by us")


def _address(value: object) -> str:
    data = value if isinstance(value, bytes) else bytes.fromhex(str(value).replace(":", ""))
    if len(data) != 8:
        raise ValueError(f"{len(data)} bytes. Give eight bytes, or their numbers as '02:00:00:00:00:01:00:00'.")
    return data.hex(":")


class _Cooked(Link, frozen=True, gc=False):
    """The base class of `SLL` and `SLL2`.

    Attributes:
        protocol: The EtherType of the next header; None: computed.
        packet_type: 0: to this host, 1: broadcast, 2: multicast, 3: to another host, 4: sent by this host.
        arphrd_type: The kernel's type of the interface (`ARPHRD_…`).
        address_length: Bytes of `address` that are valid.
        address: The sender's hardware address, filled up to eight bytes.
    """

    DERIVED: ClassVar = frozenset({"protocol"})
    COERCE: ClassVar = {"address": _address}
    PACKED: ClassVar[struct.Struct]

    if TYPE_CHECKING:

        @property
        def protocol(self) -> int | None:
            """The EtherType of the next header; None: computed."""

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Reading:
        needed, present = cls.PACKED.size, end - start
        if present < needed:
            layer = cls.__name__
            raise TruncatedError(layer=layer, field="", offset=start, needed=needed, present=present, length_from=INPUT)
        values = [each.hex(":") if isinstance(each, bytes) else each for each in cls.PACKED.unpack_from(data, start)]
        header = cls.unchecked()(*values)
        kind = header.protocol or 0
        return header, start + needed, end, ETHERTYPES.get(kind) if kind > MAX_LENGTH else None

    def to_bytes(self) -> bytes:
        values = [getattr(self, name) for name, _ in self.LAYOUT]
        try:
            return self.PACKED.pack(*[_bytes(each) if isinstance(each, str) else each for each in values])
        except struct.error:
            raise self.field_error() from None

    def complete(self, outer: Sequence[Header], content: bytes, inner: Header | None) -> Self:
        """Return this header with its protocol computed if it is None.

        Raises:
            MalformedError: If it cannot be computed.
        """
        if self.protocol is not None:
            return self
        return replace(self, protocol=ethertype_of(self.layer_name, inner, content, field="protocol"))

    def field_text(self, name: str, value: object) -> str:
        if name == "protocol" and isinstance(value, int) and value > MAX_LENGTH:
            return ethertype_name(value)
        if name == "packet_type" and isinstance(value, int) and value < len(_PACKET_TYPES):
            return f"{value} ({_PACKET_TYPES[value]})"
        return super().field_text(name, value)

    def summary(self, layer: Layer, inner: Sequence[Layer], text: str) -> str:
        return text or f"{self.layer_name}, {self.field_text('protocol', self.protocol)}, length {layer.size}"


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


class SLL(_Cooked, frozen=True, gc=False):
    """A header of LINKTYPE_LINUX_SLL.

    Attributes:
        packet_type: 0: to this host, 1: broadcast, 2: multicast, 3: to another host, 4: sent by this host.
        arphrd_type: The kernel's type of the interface (`ARPHRD_…`).
        address_length: Bytes of `address` that are valid.
        address: The sender's hardware address, filled up to eight bytes.
        protocol: The EtherType of the next header; None: computed.
    """

    LAYOUT: ClassVar = (
        ("packet_type", 16), ("arphrd_type", 16), ("address_length", 16), ("address", 64), ("protocol", 16),
    )  # fmt: skip
    PACKED: ClassVar = struct.Struct("!HHH8sH")

    packet_type: int = 0
    arphrd_type: int = 1
    address_length: int = 6
    address: str = "00:00:00:00:00:00:00:00"
    protocol: int | None = None


class SLL2(_Cooked, frozen=True, gc=False):
    """A header of LINKTYPE_LINUX_SLL2.

    Attributes:
        protocol: The EtherType of the next header; None: computed.
        ifindex: The number of the interface.
        arphrd_type: The kernel's type of the interface (`ARPHRD_…`).
        packet_type: 0: to this host, 1: broadcast, 2: multicast, 3: to another host, 4: sent by this host.
        address_length: Bytes of `address` that are valid.
        address: The sender's hardware address, filled up to eight bytes.
    """

    LAYOUT: ClassVar = (
        ("protocol", 16), ("reserved", 16), ("ifindex", 32), ("arphrd_type", 16), ("packet_type", 8),
        ("address_length", 8), ("address", 64),
    )  # fmt: skip
    PACKED: ClassVar = struct.Struct("!HHIHBB8s")

    protocol: int | None = None
    reserved: int = 0
    ifindex: int = 1
    arphrd_type: int = 1
    packet_type: int = 0
    address_length: int = 6
    address: str = "00:00:00:00:00:00:00:00"


LINK_TYPES[LINKTYPE_LINUX_SLL] = SLL.read
LINK_TYPES[LINKTYPE_LINUX_SLL2] = SLL2.read
