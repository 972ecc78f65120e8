"""Headers with their offsets in the packet: the input of findings, checksum verdicts, summaries and listings.

`parse` returns the headers alone and is faster. Both use the `read` methods of the header classes.
"""

from __future__ import annotations

from msgspec import Struct

from tunlab.errors import MalformedError, PacketError, TruncatedError
from tunlab.packet.checksum import Checksum, Verdict
from tunlab.packet.findings import INPUT, Finding, FindingKind
from tunlab.packet.header import Header, Layer, Reader, layer_of
from tunlab.packet.kinds import Extension, Network
from tunlab.packet.tables import IP_VERSIONS, LINK_TYPES
from tunlab.packet.truncated import TruncatedHeader
from tunlab.packet.values import is_packet_error

__tracebackhide__ = is_packet_error

MAX_HEADERS = 256
"""Headers that are read of a packet; the rest is payload. Thousands, as of VLAN tags, would take much memory."""


class Layers(Struct, frozen=True, gc=False):
    """The headers of a packet with their offsets.

    Attributes:
        unread: The finding about the header that could not be read.
        end: The offset at which the payload of the last header ends.
    """

    layers: tuple[Layer, ...]
    data: bytes
    end: int
    unread: tuple[Finding, ...] = ()

    @property
    def payload(self) -> bytes:
        """The bytes behind the last header, up to the end that the length fields give."""
        return self.data[self.layers[-1].body : self.end]

    @property
    def checksums(self) -> list[tuple[Layer, Checksum]]:
        """The verdict on each checksum, with its layer."""
        found = []
        for layer in self.layers:
            verdict = layer.header.checksum_verdict(layer)
            if verdict is not None:
                found.append((layer, verdict))
        return found

    @property
    def findings(self) -> list[Finding]:
        """All findings, sorted by offset."""
        return self.findings_with(self.checksums)

    def findings_with(self, checksums: list[tuple[Layer, Checksum]]) -> list[Finding]:
        """Return all findings, sorted by offset, for callers that already have the verdicts on the checksums."""
        found = [*self.unread]
        for layer in self.layers:
            found += layer.header.findings(layer)
        for layer, checksum in checksums:
            if checksum.verdict is Verdict.BAD:
                rule, at = "does not fit the bytes", layer.header.CHECKSUM_OFFSET or 0
                numbers = checksum.expected, checksum.value
                found.append(layer.finding("checksum", FindingKind.CHECKSUM, at, rule, *numbers))
        if len(found) > 1:
            found.sort(key=lambda finding: finding.offset)
        return found

    @property
    def summary(self) -> str:
        """The packet in one line, without its findings."""
        text = ""
        inner: tuple[Layer, ...] = ()
        for layer in reversed(self.layers):
            text = layer.header.summary(layer, inner, text)
            inner = (layer, *inner)
        return text


def first_header(data: bytes, link_type: int | None = None) -> Reader:
    """Return the reader of the first header: by the link type, by default by the IP version.

    Raises:
        PacketError: If the link type is not known.
    """
    if link_type is not None:
        try:
            first = LINK_TYPES[link_type]
        except KeyError:
            known = ", ".join(map(str, sorted(LINK_TYPES)))
            raise PacketError(f"link type {link_type} is not known. Give one of {known}.") from None
        if first is not None:
            return first
    return IP_VERSIONS.get(data[0] >> 4 if data else 4, IP_VERSIONS[4])


def read_layers(data: bytes, first: Reader | None = None, missing: int = 0) -> Layers:
    """Return the headers of `data`. `first` reads the first one; by default the IP version chooses.

    Args:
        missing: The number of bytes that the capture left out.

    Raises:
        PacketError: If the first header cannot be read.
    """
    found: list[Layer] = []  # not `list[Layer]()`, which takes ten times as long
    unread: list[Finding] = []
    outer: tuple[Header, ...] = ()
    start, end = 0, len(data)
    wire = declared = end + missing
    length_from, incomplete, has_length = INPUT, "", False
    following: Reader | None = first or first_header(data)
    while following is not None and (start < end or not found) and len(found) < MAX_HEADERS:
        try:
            header, body, content_end, next_reader = following(data, start, end)
        except PacketError as error:
            if not found:
                raise
            unread.append(_unread(error, start, length_from))
            following = None
            break
        own_end = header.content_end(start, -1)
        if own_end >= 0:
            declared, has_length = min(own_end, declared) if has_length else own_end, True
        layer = Layer(
            header, outer, data, start, body, content_end, end, wire - end,
            length_from, declared - body if declared > body else 0, incomplete,
        )  # fmt: skip
        found.append(layer)
        if next_reader is not None:  # a fragment header says more than the IP header of a capture that is cut short
            incomplete = header.incomplete(layer) or incomplete
        if own_end >= 0:
            if own_end < wire:
                wire = own_end
            if own_end <= end:
                length_from = header.LENGTH_FROM
        outer, start, end, following = (*outer, header), body, content_end, next_reader
    if following is not None and start < end:
        rule = f"only the first {MAX_HEADERS} headers are read; the others count as payload"
        unread.append(Finding(layer_of(following).__name__, "header", FindingKind.VALUE, start, rule))
    elif following is not None and wire <= end:
        cut = TruncatedHeader.unchecked()(layer_of(following), b"")
        unread += cut.findings(Layer(cut, outer, data, start, start, end, end, 0, length_from))
    return Layers(tuple(found), data, end, tuple(unread))


def _unread(error: PacketError, start: int, length_from: str) -> Finding:
    if isinstance(error, TruncatedError):
        rule = "the header is cut short"
        return Finding(
            error.layer, "header", FindingKind.TRUNCATED, start, rule, error.needed, error.present, length_from
        )
    if isinstance(error, MalformedError):
        return Finding(error.layer, error.field, FindingKind.VALUE, start, error.rule)
    return Finding("packet", "header", FindingKind.VALUE, start, error.message)


def quote_text(data: bytes) -> str:
    """Describe the packet that an ICMP error quotes: ", for UDP to 192.0.2.9 port 53"; empty if it cannot be read."""
    try:
        layers = read_layers(data, missing=0xFFFF).layers
    except PacketError:
        return ""
    header = layers[-1].header
    network = next(layer.header for layer in reversed(layers) if isinstance(layer.header, Network))
    name = header.payload_name if isinstance(header, (Network, Extension)) else header.layer_name
    return f", for {name} to {network.dst}" + (f" port {header.ports[1]}" if header.ports else "")
