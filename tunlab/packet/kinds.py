"""The base classes of headers by layer: link, network and transport."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, ClassVar, Self

from msgspec.structs import replace

from tunlab.errors import PacketError
from tunlab.packet.header import Header, Layer
from tunlab.packet.values import is_packet_error

__tracebackhide__ = is_packet_error


class Link(Header, frozen=True, gc=False):
    """A header of the link layer. Bytes behind the packet that it carries are padding, not a fault."""

    def ethertype(self, content: bytes) -> int | None:
        """Return the EtherType that announces this header; None for the number under which its class is registered.

        Args:
            content: The bytes of this header and of what follows it.
        """
        return None


class Network(Header, frozen=True, gc=False):
    """An IP header: it has addresses, and a pseudo-header for the checksums of what it carries.

    Class attributes of a protocol:
        REQUIRES_CHECKSUM: The rule that transport headers behind this header need a checksum, with its source; empty if
            there is no such rule.
    """

    REQUIRES_CHECKSUM: ClassVar[str] = ""

    if TYPE_CHECKING:

        @property
        def src(self) -> str:
            """The source address."""

        @property
        def dst(self) -> str:
            """The destination address."""

    @property
    def src_address(self) -> IPv4Address | IPv6Address:
        """`src` as an `ipaddress` object."""
        return ip_address(self.src)

    @property
    def dst_address(self) -> IPv4Address | IPv6Address:
        """`dst` as an `ipaddress` object."""
        return ip_address(self.dst)

    def pseudo_header(self, protocol: int, length: int, inner: Sequence[Header] = ()) -> bytes:
        """Return the bytes that transport checksums cover too.

        Args:
            length: Bytes of the transport header and its payload.
            inner: The extension headers between this header and the transport header.
        """
        raise NotImplementedError

    @property
    def is_fragment(self) -> bool:
        """True if this header says that the packet is a fragment; False for IPv6, where another header says it."""
        return False

    @property
    def payload_name(self) -> str:
        """The protocol of the next header or payload, as "UDP" or "Other (89)"."""
        raise NotImplementedError

    def endpoints(self, inner: Sequence[Layer]) -> str:
        """Return "source > destination", each with the port of the header that this one carries."""
        for layer in inner:
            header = layer.header
            ports = header.ports
            if ports is not None:
                return f"{self.src}.{ports[0]} > {self.dst}.{ports[1]}"
            if isinstance(header, Network):
                break
        return f"{self.src} > {self.dst}"

    def content_length(self, size: int) -> int:
        """Return how many of the `size` bytes behind the header belong to the packet according to its length field."""
        raise NotImplementedError


class Extension(Header, frozen=True, gc=False):
    """An extension header of IPv6."""

    @property
    def final_destination(self) -> str:
        """The destination that transport checksums cover; empty if it is the one in the IP header."""
        return ""

    @property
    def payload_name(self) -> str:
        """The protocol of the next header or payload, as "UDP" or "Other (89)"."""
        raise NotImplementedError

    def content_length(self, size: int) -> int:
        """Return how many of the `size` bytes behind the header belong to the packet according to its length field."""
        return size

    def summary(self, layer: Layer, inner: Sequence[Layer], text: str) -> str:
        """Return the summary of the inner layers; the header itself is not mentioned."""
        return text


class Transport(Header, frozen=True, gc=False):
    """A header that follows an IP header and ends the list of headers, as TCP or ICMP.

    Class attributes of a protocol:
        PROTOCOL: Its number in the IP header.
        PSEUDO_HEADER: True if its checksum covers the pseudo-header of the IP header too.
    """

    PROTOCOL: ClassVar[int]
    PSEUDO_HEADER: ClassVar[bool] = False
    IS_LAST: ClassVar = True
    DERIVED: ClassVar = frozenset({"checksum"})

    if TYPE_CHECKING:

        @property
        def checksum(self) -> int | None:
            """The checksum; None: computed."""

    def complete(self, outer: Sequence[Header], content: bytes, inner: Header | None) -> Self:
        """Return this header with its checksum computed if it is None."""
        if self.checksum is not None:
            return self
        return self._with_checksum(outer, content)

    def covered(self, outer: Sequence[Header], data: bytes) -> bytes:
        """Return the bytes that the checksum covers: `data` (this header and its content), and a pseudo-header."""
        if not self.PSEUDO_HEADER:
            return data
        if outer and isinstance(outer[-1], Network):
            return outer[-1].pseudo_header(self.PROTOCOL, len(data)) + data
        return pseudo_header(outer, self, len(data)) + data

    def quoted(self, payload: bytes) -> bytes:
        """Return the bytes of the packet that an error with this payload quotes.

        Raises:
            PacketError: If the header is not that of an error.
        """
        raise PacketError(f"{self.layer_name} {self.title} quotes no packet. ICMP and ICMPv6 errors do")

    def _with_checksum(self, outer: Sequence[Header], content: bytes) -> Self:
        header = replace(self, checksum=0)
        data = header.to_bytes() + content
        # A receiver ends the packet where the length fields of outer headers say. The checksum covers the bytes up to
        # there, so that one forced length causes one finding.
        data = data[: received_length(outer, len(data))]
        return replace(header, checksum=self.checksum_of(outer, data))


def received_length(outer: Sequence[Header], size: int) -> int:
    """Return how many of the `size` bytes behind the `outer` headers belong to the packet by their length fields."""
    between = 0
    for header in reversed(outer):
        if isinstance(header, (Network, Extension)):
            size = max(header.content_length(between + size) - between, 0)
        between += header.header_length
    return size


def innermost_network(outer: Sequence[Header]) -> Network | None:
    """Return the innermost IP header of these headers; None if there is none."""
    return next((header for header in reversed(outer) if isinstance(header, Network)), None)


def pseudo_header(outer: Sequence[Header], header: Transport, length: int) -> bytes:
    """Return the pseudo-header of the innermost IP header of `outer` for `header`, a transport header."""
    for at in range(len(outer) - 1, -1, -1):
        network = outer[at]
        if isinstance(network, Network):
            return network.pseudo_header(header.PROTOCOL, length, outer[at + 1 :])
    return b""
