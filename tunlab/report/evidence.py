"""All packets of a test: those captured in each network namespace, joined with what the test did with them.

A capture has every packet, with the kernel's timestamps. The record of a Tun has the line of the test that injected or
expected a packet. Two packets are the same if bytes and direction are equal.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from io import BytesIO

from msgspec import Struct, field
from msgspec.structs import replace

from tunlab.errors import PacketError, TunlabError
from tunlab.kernel.device.netns_capture import ARPHRD_ETHER, ARPHRD_LOOPBACK, ARPHRD_NONE, CapturedPacket, NetnsCapture
from tunlab.kernel.namespace.netns import Netns
from tunlab.packet import Packet, parse
from tunlab.recorder import (
    LINKTYPE_ETHERNET,
    LINKTYPE_RAW,
    MAX_PACKET_SIZE,
    TAP_DESCRIPTION,
    Direction,
    PcapngWriter,
)
from tunlab.report.annotation import Annotation, from_entry
from tunlab.traffic import TraceEntry
from tunlab.traffic.checksum_offload import complete_packet_checksum
from tunlab.traffic.endpoint import Endpoint

_DELETED = "deleted"


class RecordedNetns(Struct, eq=False):
    """A network namespace or a device under test whose packets are recorded.

    Attributes:
        name: Name of the lab's node; "kernel" without a lab, "dut" for a device under test.
        netns: The namespace; None for a device under test, of which only its port is recorded.
        record: The capture of all its devices; None if recording is off or not permitted.
        tuns: The TUN devices and ports that the test reads and writes.
        is_endpoint: True for a host or router, False for a bridge.
    """

    name: str
    netns: Netns | None
    record: NetnsCapture | None = None
    tuns: list[Endpoint] = field(default_factory=list)
    is_endpoint: bool = True


class Observation(Struct, frozen=True, eq=False):
    """A packet seen on one device. A packet that crosses several devices has several observations.

    Attributes:
        node: Name of the namespace.
        device: Name of the device in the recording: "tun0", or "client:eth0" if there are several namespaces.
        ifname: Name of the device in its namespace.
        on_link: True for a device that is connected to another device, False for a TUN or TAP that a program reads.
        linktype: LINKTYPE_* of `frame`.
        time: Nanoseconds since the epoch.
        direction: "out" if the kernel sent the packet, "in" if the kernel received it.
        frame: The bytes, with the link header.
        packet: The parsed packet, with its link headers; None if it cannot be read.
        annotation: A note on how the test used the packet.
        lost: Number of packets that the namespace's capture lost just before this one.
        recorded: True if the capture has the packet, False if only a Tun has seen it.
    """

    node: str
    device: str
    ifname: str
    on_link: bool
    linktype: int
    time: int
    direction: Direction
    frame: bytes
    packet: Packet | None
    annotation: Annotation = Annotation()
    lost: int = 0
    recorded: bool = True

    @property
    def comment(self) -> str:
        """The packet's comment in the recording: what the test did with the packet."""
        return self.annotation.comment


class Note(Struct, frozen=True):
    """A line of text between the packets of the sequence diagram. `time` is in nanoseconds since the epoch."""

    time: int
    text: str


class Evidence(Struct):
    """All packets of a test in order of time, for its reports and its recording.

    Attributes:
        observations: The packets; one that crosses several devices has one entry per device.
        endpoints: Names of the namespaces that send and receive packets, without bridges.
        test_is_endpoint: True if the test itself sends and receives packets, through a TUN.
        lost: Number of packets by namespace that were not captured because the buffer was full.
        tuns: Names of all TUN devices, even without packets.
        notes: Timeouts and losses, in order of time.
        taps: Names of the TAP devices among `tuns`.
    """

    observations: list[Observation]
    endpoints: list[str]
    test_is_endpoint: bool
    lost: dict[str, int]
    tuns: list[str]
    notes: list[Note] = []
    taps: list[str] = []


def gather_evidence(namespaces: Sequence[RecordedNetns]) -> Evidence:
    """Return the packets that the captures and TUN devices of these namespaces have seen so far."""
    several_nodes = len(namespaces) > 1
    observations, lost, notes = list[Observation](), dict[str, int](), list[Note]()
    tuns, taps = list[str](), list[str]()
    for namespace in namespaces:
        captured = namespace.record.packets() if namespace.record is not None else []
        found = [_from_capture(namespace, each, several_nodes) for each in captured]
        for tun in namespace.tuns:
            tuns.append(_device_name(namespace, tun.name, several_nodes))
            if tun.port.link_type == LINKTYPE_ETHERNET:
                taps.append(tuns[-1])
            found = _add_notes(found, namespace, tun, several_nodes)
            notes += [Note(time, text) for time, text in tun.timeouts]
        if namespace.record is not None and namespace.record.dropped:
            found, missing, at_end = _count_gaps(found, len(found) - len(captured), namespace.record.dropped)
            if missing:
                lost[namespace.name] = missing
                notes += [Note(each.time, _gap_text(namespace.name, each.lost, "here")) for each in found if each.lost]
            if at_end:
                ended = max((each.time for each in found if each.recorded), default=0)
                notes.append(Note(ended + 1, _gap_text(namespace.name, at_end, "from here on")))
        observations += found
    observations.sort(key=lambda each: each.time)
    notes.sort(key=lambda each: each.time)
    endpoints = [namespace.name for namespace in namespaces if namespace.is_endpoint]
    return Evidence(observations, endpoints, any(namespace.tuns for namespace in namespaces), lost, tuns, notes, taps)


def _count_gaps(found: list[Observation], known: int, dropped: int) -> tuple[list[Observation], int, int]:
    """Correct the number of packets that a capture lost: a packet that a Tun has seen is not lost.

    Args:
        found: The packets of a namespace.
        known: Number of packets that only a Tun has seen.
        dropped: Number of packets that the capture lost.

    Returns:
        The packets with a corrected `lost`, the number of lost packets, and how many were lost after the last packet.
    """
    missing = rest = max(0, dropped - known)
    at_end = dropped - sum(each.lost for each in found)
    found = sorted(found, key=lambda each: each.time)
    since = 0  # Number of packets that only a Tun has seen since the last captured packet.
    for index, each in enumerate(found):
        if not each.recorded:
            since += 1
            continue
        if each.lost:
            lost = min(rest, max(0, each.lost - since))
            rest -= lost
            found[index] = replace(each, lost=lost)
        since = 0
    return found, missing, min(rest, at_end)


def _gap_text(name: str, count: int, where: str) -> str:
    return f"{name}: {count} packet{' is' if count == 1 else 's are'} missing {where}"


def _device_name(namespace: RecordedNetns, ifname: str, several_nodes: bool) -> str:
    return f"{namespace.name}:{ifname or _DELETED}" if several_nodes else ifname or _DELETED


def _from_capture(namespace: RecordedNetns, captured: CapturedPacket, several_nodes: bool) -> Observation:
    ethernet = captured.packet.hardware_type in (ARPHRD_ETHER, ARPHRD_LOOPBACK)
    linktype = LINKTYPE_ETHERNET if ethernet else LINKTYPE_RAW
    frame = captured.packet.data
    packet = _parse_or_none(frame, linktype)
    if not captured.packet.checksum_ready and packet is not None:
        frame = complete_packet_checksum(packet)
        packet = _parse_or_none(frame, linktype)
    return Observation(
        node=namespace.name,
        device=_device_name(namespace, captured.ifname, several_nodes),
        ifname=captured.ifname,
        on_link=captured.packet.hardware_type != ARPHRD_NONE,
        linktype=linktype,
        time=captured.packet.time,
        direction="out" if captured.packet.outgoing else "in",
        frame=frame,
        packet=packet,
        lost=captured.lost,
    )


def _parse_or_none(frame: bytes, linktype: int) -> Packet | None:
    try:
        return parse(frame, link_type=linktype)
    except PacketError:
        return None


def _add_notes(
    found: list[Observation], namespace: RecordedNetns, tun: Endpoint, several_nodes: bool
) -> list[Observation]:
    """Return the packets with the annotations of a Tun, and with the packets that only the Tun has seen."""
    if not tun.closed:
        with suppress(TunlabError):  # The device may be deleted.
            tun.unread()
    unmatched: defaultdict[tuple[str, bytes], deque[int]] = defaultdict(deque)
    annotated, device = list(found), _device_name(namespace, tun.name, several_nodes)
    is_tap = tun.port.link_type == LINKTYPE_ETHERNET
    for index, each in enumerate(found):
        # The capture has no name for a device that was deleted before the capture was read.
        if each.ifname == tun.name or (tun.closed and not each.ifname and each.on_link == is_tap):
            unmatched[each.direction, each.frame].append(index)
            if is_tap and each.ifname:
                annotated[index] = replace(each, on_link=False)
    for entry in tun.record:
        annotation = from_entry(entry)
        if indexes := unmatched[entry.direction, entry.data]:
            index = indexes.popleft()
            annotated[index] = replace(
                annotated[index], annotation=annotation, device=device, ifname=tun.name, on_link=False
            )
        else:
            annotated.append(_from_trace(namespace, tun, entry, annotation, several_nodes))
    return annotated


def _from_trace(
    namespace: RecordedNetns, tun: Endpoint, entry: TraceEntry, annotation: Annotation, several_nodes: bool
) -> Observation:
    return Observation(
        node=namespace.name,
        device=_device_name(namespace, tun.name, several_nodes),
        ifname=tun.name,
        on_link=False,
        linktype=LINKTYPE_RAW if entry.link_type is None else entry.link_type,
        time=entry.time_ns,
        direction=entry.direction,
        frame=entry.data,
        packet=entry.packet,
        annotation=annotation,
        recorded=False,
    )


def loss_sentences(evidence: Evidence) -> Iterable[str]:
    """Yield a sentence for each namespace with packets that were not captured."""
    for name, count in evidence.lost.items():
        packets = "1 packet was" if count == 1 else f"{count} packets were"
        yield f"{name}: {packets} not recorded; the buffer was full, and the first and last packets are kept"


def to_pcapng(evidence: Evidence, *, comment: str) -> bytes:
    """Return the packets of a test as a pcapng file. Its interfaces have the order of the sequence diagram's columns.

    Args:
        evidence: The packets of the test.
        comment: Comment on the whole file.
    """
    file = BytesIO()
    writer = PcapngWriter(file, comment="\n".join([comment, *loss_sentences(evidence)]))
    numbers = dict[tuple[str, int], int]()
    for device, linktype in _interfaces(evidence):
        description = TAP_DESCRIPTION if device in evidence.taps else ""
        numbers[device, linktype] = writer.add_interface(device, linktype=linktype, description=description)
    for each in evidence.observations:
        kept = each.frame[:MAX_PACKET_SIZE]
        writer.write(
            numbers[each.device, each.linktype],
            kept,
            time_ns=each.time,
            direction=each.direction,
            comment=each.comment,
            wire_length=len(each.frame),
            dropped=each.lost or None,
            annotation=each.annotation.to_json() if each.annotation.decisive else "",
        )
    return file.getvalue()


def _interfaces(evidence: Evidence) -> list[tuple[str, int]]:
    """Return each device with its link type, in the order of the namespaces in `evidence.endpoints`."""
    devices = [(device, LINKTYPE_RAW) for device in evidence.tuns if device not in evidence.taps]
    devices += [(device, LINKTYPE_ETHERNET) for device in evidence.taps]
    devices += [(each.device, each.linktype) for each in evidence.observations]
    order = {name: index for index, name in enumerate(evidence.endpoints)}
    return sorted(dict.fromkeys(devices), key=lambda each: order.get(each[0].partition(":")[0], len(order)))
