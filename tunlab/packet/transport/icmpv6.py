"""ICMPv6: RFC 4443, echo messages and errors, with the extension length of RFC 4884.

The other messages register themselves in `ICMPV6_MESSAGES`: neighbor discovery and multicast listener discovery.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from tunlab.errors import PacketError
from tunlab.packet.findings import Finding, FindingKind
from tunlab.packet.fixed_fields import fixed_length, read_fields, write_fields
from tunlab.packet.header import Layer, Reading, layer_of
from tunlab.packet.kinds import Network, Transport
from tunlab.packet.layers import quote_text, read_layers
from tunlab.packet.network.ipv6 import MINIMUM_MTU, IPv6
from tunlab.packet.tables import ICMPV6_MESSAGES, IPV6_EXTENSIONS
from tunlab.packet.transport.icmpv6_types import CODES, ICMPv6Type
from tunlab.packet.truncated import HeaderClass, TruncatedHeader, truncated
from tunlab.packet.values import is_packet_error

__tracebackhide__ = is_packet_error

COMMON: tuple[tuple[str, int], ...] = (("type", 8), ("code", 8), ("checksum", 16))
"""The fields that all messages have."""


class ICMPv6(Transport, frozen=True, gc=False):
    """An ICMPv6 message of a type without a class of its own: four bytes, and the message body as payload.

    It is the base class of all other messages too: `ICMPv6.where(type=135)` matches a neighbor solicitation.

    Attributes:
        checksum: None: computed.
    """

    PROTOCOL: ClassVar = 58
    LAYOUT: ClassVar[tuple[tuple[str, int], ...]] = COMMON
    VIEWS: ClassVar = {
        "identifier": (),
        "sequence_number": (),
        "mtu": (),
        "pointer": (),
        "is_error": ("type",),
        "name": ("type", "code"),
    }
    CHECKSUM_OFFSET: ClassVar = 2
    PSEUDO_HEADER: ClassVar = True

    type: int = ICMPv6Type.ECHO_REQUEST
    code: int = 0
    checksum: int | None = None

    @classmethod
    def echo_request(cls, identifier: int = 0, sequence_number: int = 0) -> ICMPv6Echo:
        """Return an echo request (a ping); the reply has the same payload."""
        return ICMPv6Echo(ICMPv6Type.ECHO_REQUEST, 0, None, identifier, sequence_number)

    @classmethod
    def echo_reply(cls, identifier: int = 0, sequence_number: int = 0) -> ICMPv6Echo:
        """Return an echo reply; it has the identifier, the sequence number and the payload of the request."""
        return ICMPv6Echo(ICMPv6Type.ECHO_REPLY, 0, None, identifier, sequence_number)

    @classmethod
    def unreachable(cls, code: int) -> ICMPv6Unreachable:
        """Return "destination unreachable"; its payload is the quoted packet."""
        return ICMPv6Unreachable(code=code)

    @classmethod
    def packet_too_big(cls, mtu: int) -> ICMPv6PacketTooBig:
        """Return "packet too big" with the next hop's MTU in bytes; its payload is the quoted packet."""
        return ICMPv6PacketTooBig(mtu=mtu)

    @classmethod
    def time_exceeded(cls, code: int = 0) -> ICMPv6TimeExceeded:
        """Return "time exceeded", in transit (code 0) or in reassembly (1); its payload is the quoted packet."""
        return ICMPv6TimeExceeded(code=code)

    @classmethod
    def parameter_problem(cls, pointer: int, code: int = 0) -> ICMPv6ParameterProblem:
        """Return "parameter problem" at byte `pointer` of the quoted packet, which is the payload."""
        return ICMPv6ParameterProblem(code=code, pointer=pointer)

    @property
    def name(self) -> str:
        """The message in words, as "echo request" or "port unreachable"; "type 99 code 1" for unknown ones."""
        specific = CODES.get((self.type, self.code))
        if specific is not None:
            return specific
        try:
            name = ICMPv6Type(self.type).name.replace("_", " ").lower()
        except ValueError:
            return f"type {self.type} code {self.code}"
        return f"{name} code {self.code}" if self.code else name

    @property
    def is_error(self) -> bool:
        """True if the message is an error (types 0 to 127, RFC 4443 section 2.1)."""
        return self.type < 128

    @property
    def identifier(self) -> int | None:
        """The identifier of an echo message; None for other messages."""
        return None

    @property
    def sequence_number(self) -> int | None:
        """The sequence number of an echo message; None for other messages."""
        return None

    @property
    def mtu(self) -> int | None:
        """The next hop's MTU in bytes, of "packet too big"; None for other messages."""
        return None

    @property
    def pointer(self) -> int | None:
        """The pointer of a parameter problem, a byte offset in the quoted packet; None for other messages."""
        return None

    def quoted(self, payload: bytes) -> bytes:
        """Return the packet that an error quotes at the start of its payload, without padding and extensions.

        Raises:
            PacketError: If the message is not an error.
        """
        raise PacketError(f"an ICMPv6 {self.name} quotes no packet; errors do (RFC 4443)")

    # ----- bytes

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Reading:
        if cls is ICMPv6:
            known = ICMPV6_MESSAGES.get(data[start])
            if known is not None:
                return known(data, start, end)
        length = fixed_length(cls)
        if start + length > end:
            cls, length = ICMPv6, fixed_length(ICMPv6)  # of a message cut short, the rest is payload
            if start + length > end:
                return truncated(cls, data, start, end)
        values, body = read_fields(cls, data, start), start + length
        if cls.TAIL:
            return cls.unchecked()(*values, data[body:end]), end, end, None
        return cls.unchecked()(*values), body, end, None

    def to_bytes(self) -> bytes:
        fixed = write_fields(self)
        return fixed + getattr(self, self.TAIL) if self.TAIL else fixed

    @property
    def header_length(self) -> int:
        """Bytes of the message's fields; the payload follows."""
        tail = getattr(self, self.TAIL) if self.TAIL else b""
        return fixed_length(type(self)) + len(tail)

    @property
    def announced(self) -> HeaderClass | None:
        """The class of the message, if it is cut short before the last of its fields."""
        known = ICMPV6_MESSAGES.get(self.type)
        return layer_of(known) if known is not None and type(self) is ICMPv6 else None

    # ----- judgement

    def findings(self, layer: Layer) -> list[Finding]:
        known = ICMPV6_MESSAGES.get(self.type)
        if known is None:
            return []
        needed, present = fixed_length(layer_of(known)), layer.end - layer.start
        # A fragment may end in the message.
        if type(self) is not ICMPv6 or needed <= present + layer.missing or layer.incomplete:
            return []
        rule = "the message is cut short"
        return [layer.finding("type", FindingKind.TRUNCATED, 0, rule, needed, present, layer.length_from)]

    # ----- texts

    @property
    def layer_name(self) -> str:
        """The protocol: "ICMPv6" for all messages."""
        return "ICMPv6"

    @property
    def title(self) -> str:
        return self.name

    def field_text(self, name: str, value: object) -> str:
        return f"{int(self.type)} ({self.name})" if name == "type" else super().field_text(name, value)

    def summary(self, layer: Layer, inner: Sequence[Layer], text: str) -> str:
        return f"ICMPv6 {self.name}{self.detail(layer)}, length {self.header_length + layer.size}"

    def detail(self, layer: Layer) -> str:
        """Return what the summary says about the message's own fields, beginning with a comma; may be empty."""
        return ""


class ICMPv6Echo(ICMPv6, frozen=True, gc=False):
    """An echo request (a ping) or an echo reply (RFC 4443 section 4); the data is the payload."""

    LAYOUT: ClassVar = (*COMMON, ("identifier", 16), ("sequence_number", 16))

    type: int = ICMPv6Type.ECHO_REQUEST
    identifier: int = 0
    sequence_number: int = 0

    def detail(self, layer: Layer) -> str:
        """Return identifier and sequence number."""
        return f", id {self.identifier}, seq {self.sequence_number}"

    def reply(self, layer: Layer) -> ICMPv6Echo | None:
        if self.type != ICMPv6Type.ECHO_REQUEST:
            return None
        return ICMPv6.echo_reply(self.identifier, self.sequence_number)


class ICMPv6ExtendedEcho(ICMPv6, frozen=True, gc=False):
    """An extended echo request or reply (RFC 8335), which asks for the state of an interface.

    Attributes:
        flags: The last byte: the bit L (the lowest) in a request; the state and the bits A, 4 and 6 in a reply.
    """

    LAYOUT: ClassVar = (*COMMON, ("identifier", 16), ("sequence_number", 8), ("flags", 8))

    type: int = ICMPv6Type.EXTENDED_ECHO_REQUEST
    identifier: int = 0
    sequence_number: int = 0
    flags: int = 1

    def detail(self, layer: Layer) -> str:
        """Return identifier and sequence number."""
        return f", id {self.identifier}, seq {self.sequence_number}"


class ICMPv6ErrorMessage(ICMPv6, frozen=True, gc=False):
    """The base class of the errors of RFC 4443; their payload begins with the packet that caused the error."""

    @property
    def quoted_length(self) -> int | None:
        """Bytes of the quoted packet and its padding, if extensions follow it (RFC 4884 section 4); else None."""
        length: int = getattr(self, "length", 0)
        return length * 8 or None

    def quoted(self, payload: bytes) -> bytes:
        """Return the packet that the error quotes at the start of its payload, without padding and extensions."""
        data = payload[: self.quoted_length]
        # RFC 4884 section 4.2: the quoted packet is padded with zeros to 128 bytes.
        return data[: int.from_bytes(data[4:6], "big") + 40] if self.quoted_length else data

    def findings(self, layer: Layer) -> list[Finding]:
        found: list[Finding] = []
        size = layer.body + layer.size - _start_of_ip(layer)
        if size > MINIMUM_MTU:
            rule = f"the error's packet is larger than {MINIMUM_MTU} bytes (RFC 4443 section 2.4)"
            found.append(layer.finding("payload", FindingKind.LENGTH, 8, rule, MINIMUM_MTU, size))
        rule = self._rule(layer)
        if rule:
            found.append(layer.finding("type", FindingKind.VALUE, 0, rule))
        elif not layer.missing and not self.quoted_length and size < MINIMUM_MTU:
            wanted, quoted = int.from_bytes(layer.data[layer.body + 4 : layer.body + 6], "big") + 40, layer.size
            if quoted < wanted:
                rule = f"more of the quoted packet fits in {MINIMUM_MTU} bytes (RFC 4443 section 2.4)"
                wanted = min(wanted, quoted + MINIMUM_MTU - size)
                found.append(layer.finding("payload", FindingKind.TRUNCATED, 8, rule, wanted, quoted))
        return found

    def _rule(self, layer: Layer) -> str:
        """Return the rule about the quoted packet that the error breaks; empty if none."""
        data = self.quoted(layer.data[layer.body : layer.end])
        try:
            layers = read_layers(data, IPv6.read, 0xFFFF).layers
        except PacketError:
            if layer.missing and layer.end == layer.limit:
                return ""
            return "the error does not quote the IPv6 header of the packet that caused it (RFC 4443 section 2.4)"
        ip, last = layers[0].header, layers[-1].header
        is_cut = isinstance(last, TruncatedHeader) and last.layer is ICMPv6
        kind = last.type if isinstance(last, ICMPv6) or is_cut else None  # type: ignore[attr-defined]
        if kind is not None and (kind < 128 or kind == ICMPv6Type.REDIRECT):
            return "an error about an ICMPv6 error or redirect must not be sent (RFC 4443 section 2.4)"
        if data[8] == 0xFF or ip.src == "::":  # type: ignore[attr-defined]
            return "an error about a packet whose source is not one node must not be sent (RFC 4443 section 2.4)"
        if data[24] == 0xFF and self.type != ICMPv6Type.PACKET_TOO_BIG and (self.type, self.code) != (4, 2):
            return "an error about a packet to a multicast address must not be sent (RFC 4443 section 2.4)"
        return ""

    def detail(self, layer: Layer) -> str:
        """Return the MTU or the pointer, and the destination of the quoted packet."""
        about = f", mtu {self.mtu}" if self.mtu is not None else ""
        about += f", pointer {self.pointer}" if self.pointer is not None else ""
        return about + quote_text(self.quoted(layer.data[layer.body : layer.end]))


class ICMPv6Unreachable(ICMPv6ErrorMessage, frozen=True, gc=False):
    """The error "destination unreachable" (RFC 4443 section 3.1); the code is the reason.

    Attributes:
        length: The length of the quoted packet in 8-byte units if extensions follow it (RFC 4884); else 0.
    """

    LAYOUT: ClassVar = (*COMMON, ("length", 8), ("unused", 24))

    type: int = ICMPv6Type.DESTINATION_UNREACHABLE
    length: int = 0
    unused: int = 0


class ICMPv6PacketTooBig(ICMPv6ErrorMessage, frozen=True, gc=False):
    """The error "packet too big" (RFC 4443 section 3.2), with the next hop's MTU in bytes."""

    LAYOUT: ClassVar = (*COMMON, ("mtu", 32))

    type: int = ICMPv6Type.PACKET_TOO_BIG
    mtu: int = MINIMUM_MTU

    def findings(self, layer: Layer) -> list[Finding]:
        found = super().findings(layer)
        if self.mtu < MINIMUM_MTU:
            rule = f"no IPv6 link has an MTU below {MINIMUM_MTU} bytes (RFC 8200 section 5)"
            found.append(layer.finding("mtu", FindingKind.VALUE, 4, rule, MINIMUM_MTU, self.mtu))
        return found


class ICMPv6TimeExceeded(ICMPv6ErrorMessage, frozen=True, gc=False):
    """The error "time exceeded" (RFC 4443 section 3.3).

    Attributes:
        length: The length of the quoted packet in 8-byte units if extensions follow it (RFC 4884); else 0.
    """

    LAYOUT: ClassVar = (*COMMON, ("length", 8), ("unused", 24))

    type: int = ICMPv6Type.TIME_EXCEEDED
    length: int = 0
    unused: int = 0


class ICMPv6ParameterProblem(ICMPv6ErrorMessage, frozen=True, gc=False):
    """The error "parameter problem" (RFC 4443 section 3.4), at byte `pointer` of the quoted packet."""

    LAYOUT: ClassVar = (*COMMON, ("pointer", 32))

    type: int = ICMPv6Type.PARAMETER_PROBLEM
    pointer: int = 0


def _start_of_ip(layer: Layer) -> int:
    """Return the offset of the innermost IP header before a layer."""
    at = layer.start
    for header in reversed(layer.outer):
        at -= header.header_length
        if isinstance(header, Network):
            break
    return at


def ip_before(layer: Layer) -> IPv6 | None:
    """Return the innermost IP header before a layer; None if it is not IPv6."""
    ip = next((header for header in reversed(layer.outer) if isinstance(header, Network)), None)
    return ip if isinstance(ip, IPv6) else None


IPV6_EXTENSIONS[ICMPv6.PROTOCOL] = ICMPv6.read
for _error in (ICMPv6Unreachable, ICMPv6PacketTooBig, ICMPv6TimeExceeded, ICMPv6ParameterProblem):
    ICMPV6_MESSAGES[_error().type] = _error.read
for _type in (ICMPv6Type.ECHO_REQUEST, ICMPv6Type.ECHO_REPLY):
    ICMPV6_MESSAGES[_type] = ICMPv6Echo.read
for _type in (ICMPv6Type.EXTENDED_ECHO_REQUEST, ICMPv6Type.EXTENDED_ECHO_REPLY):
    ICMPV6_MESSAGES[_type] = ICMPv6ExtendedEcho.read
