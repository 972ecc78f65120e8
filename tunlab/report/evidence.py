"""What passed in a test: the kernel's record of each namespace, and what each Tun knows of its own, made one.

Source: the kernel's record has everything and the kernel's own times; a Tun knows which line of the test a datagram
came from and what became of it. A datagram is the same in both where its octets and its direction are.
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
from tunlab.recorder import LINKTYPE_ETHERNET, LINKTYPE_RAW, MAX_PACKET_SIZE, Direction, PcapngWriter
from tunlab.traffic import TraceEntry, Tun
from tunlab.traffic.checksum_offload import complete_checksum

_GONE = "deleted"
_ETHERNET_HEADER = 14
_VLAN_TAGS = (b"\x81\x00", b"\x88\xa8")


class RecordedNetns(Struct, eq=False):
    """A namespace that is recorded.

    name     of the lab's node, or "kernel"
    record   what passes its devices; None where that was not asked for, or not allowed
    tuns     those whose other end is the test
    is_endpoint   whether packets come from it and go to it, as of a host; not of a bridge
    """

    name: str
    netns: Netns
    record: NetnsCapture | None = None
    tuns: list[Tun] = field(default_factory=list)
    is_endpoint: bool = True


class Observation(Struct, frozen=True, eq=False):
    """A packet on a device.

    node       the namespace's name
    device     the device's name in the record: "tun0", or "client:eth0" where there are several namespaces
    wire       whether the other end is another device; else it is the reader of a TUN
    direction  as the device sees it: "out" is what the kernel sends
    frame      the octets as recorded, with the link's header
    octets     from after the link's header on
    packet     None for what is no IPv4
    lost       how many packets of that namespace passed before it, since the one before, and nobody knows of them
    recorded   whether the kernel's record has it; else a Tun alone
    """

    node: str
    device: str
    ifname: str
    on_link: bool
    linktype: int
    time: int
    direction: Direction
    frame: bytes
    octets: bytes
    packet: Packet | None
    comment: str = ""
    lost: int = 0
    recorded: bool = True


class Note(Struct, frozen=True):
    """What is to be known at a time, beside the packets; `time` in nanoseconds since the epoch."""

    time: int
    text: str


class Evidence(Struct):
    """All that passed, in the order of time.

    endpoints  the names of the namespaces that packets come from and go to
    test_is_endpoint  whether the test itself is an end, by a TUN
    lost    how many packets of each namespace found no room in its record, and no Tun has them either
    tuns    the devices of the Tuns, whether or not anything passed them
    notes   where packets are missing, and when an expectation was given up, in the order of time
    """

    observations: list[Observation]
    endpoints: list[str]
    test_is_endpoint: bool
    lost: dict[str, int]
    tuns: list[str]
    notes: list[Note] = []


def gather_evidence(namespaces: Sequence[RecordedNetns]) -> Evidence:
    """What the records and the Tuns have, as it is now."""
    several = len(namespaces) > 1
    observations, lost, tuns, notes = list[Observation](), dict[str, int](), list[str](), list[Note]()
    for namespace in namespaces:
        passed = namespace.record.packets() if namespace.record is not None else []
        found = [_sighting(namespace, each, several) for each in passed]
        for tun in namespace.tuns:
            tuns.append(_device(namespace, tun.ifname, several))
            found = _joined(found, namespace, tun, several)
            notes += [Note(time, text) for time, text in tun.timeouts]
        if namespace.record is not None and namespace.record.dropped:
            found, missing, at_end = _without_those_found(found, len(found) - len(passed), namespace.record.dropped)
            if missing:
                lost[namespace.name] = missing
                notes += [Note(each.time, _missing(namespace.name, each.lost, "here")) for each in found if each.lost]
            if at_end:
                ended = max((each.time for each in found if each.recorded), default=0)
                notes.append(Note(ended + 1, _missing(namespace.name, at_end, "from here on")))
        observations += found
    observations.sort(key=lambda each: each.time)
    notes.sort(key=lambda each: each.time)
    ends = [namespace.name for namespace in namespaces if namespace.is_endpoint]
    return Evidence(observations, ends, any(namespace.tuns for namespace in namespaces), lost, tuns, notes)


def _without_those_found(found: list[Observation], known: int, dropped: int) -> tuple[list[Observation], int, int]:
    """Of the packets that the record has lost a Tun may have some: the gaps without these.

    known   how many a Tun alone has seen

    Returns how many are missing, and how many of them after the last that the record has, too.
    """
    missing = rest = max(0, dropped - known)
    at_end = dropped - sum(each.lost for each in found)
    found = sorted(found, key=lambda each: each.time)
    since = 0  # those that only a Tun has seen since the last that the record has
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


def _missing(name: str, count: int, where: str) -> str:
    are = "packet of its devices is" if count == 1 else "packets of its devices are"
    return f"{name}: {count} {are} missing {where}"


def _device(namespace: RecordedNetns, ifname: str, several: bool) -> str:
    return f"{namespace.name}:{ifname or _GONE}" if several else ifname or _GONE


def _sighting(namespace: RecordedNetns, passed: CapturedPacket, several: bool) -> Observation:
    captured, ethernet = passed.packet, passed.hardware_type in (ARPHRD_ETHER, ARPHRD_LOOPBACK)
    frame, head = captured.data, 0
    if ethernet:
        head = _ETHERNET_HEADER
        while frame[head - 2 : head] in _VLAN_TAGS:
            head += 4
    octets = frame[head:]
    if not captured.checksum_ready:
        octets = complete_checksum(octets)
        frame = frame[:head] + octets
    return Observation(
        node=namespace.name,
        device=_device(namespace, passed.ifname, several),
        ifname=passed.ifname,
        on_link=passed.hardware_type != ARPHRD_NONE,
        linktype=LINKTYPE_ETHERNET if ethernet else LINKTYPE_RAW,
        time=captured.time,
        direction="out" if captured.outgoing else "in",
        frame=frame,
        octets=octets,
        packet=_parsed(octets),
        lost=passed.lost,
    )


def _parsed(octets: bytes) -> Packet | None:
    try:
        return parse(octets)
    except PacketError:
        return None


def _joined(found: list[Observation], namespace: RecordedNetns, tun: Tun, several: bool) -> list[Observation]:
    """The observations with what the Tun knows of them, and with what it alone has seen."""
    if not tun.closed:
        with suppress(TunlabError):  # the device is gone
            tun.unread()
    waiting: defaultdict[tuple[str, bytes], deque[int]] = defaultdict(deque)
    for index, each in enumerate(found):
        # A device that was deleted before anybody asked has no name any more in the record.
        if each.ifname == tun.ifname or (tun.closed and not each.ifname and not each.on_link):
            waiting[each.direction, each.octets].append(index)
    joined, comments, device = list(found), dict[int, str](), _device(namespace, tun.ifname, several)
    for entry in tun.record:
        comment = entry.comment or ("nobody asked for it" if entry.direction == "out" else "")
        if places := waiting[entry.direction, entry.octets]:
            comments[places.popleft()] = comment
        else:
            joined.append(_crossed(namespace, tun, entry, comment, several))
    for index, comment in comments.items():
        joined[index] = replace(joined[index], comment=comment, device=device, ifname=tun.ifname)
    return joined


def _crossed(namespace: RecordedNetns, tun: Tun, entry: TraceEntry, comment: str, several: bool) -> Observation:
    return Observation(
        node=namespace.name,
        device=_device(namespace, tun.ifname, several),
        ifname=tun.ifname,
        on_link=False,
        linktype=LINKTYPE_RAW,
        time=entry.time_ns,
        direction=entry.direction,
        frame=entry.octets,
        octets=entry.octets,
        packet=entry.packet,
        comment=comment,
        recorded=False,
    )


def loss_sentences(evidence: Evidence) -> Iterable[str]:
    """A sentence for each namespace whose record is not whole."""
    for name, count in evidence.lost.items():
        were = "packet of its devices was" if count == 1 else "packets of its devices were"
        yield f"{name}: {count} {were} not recorded: there was no room for more, and the first and the last are here"


def to_pcapng(evidence: Evidence, *, comment: str) -> bytes:
    """The evidence as a pcapng file, `comment` on the whole of it; the interfaces in the order of the ladder's ends."""
    file = BytesIO()
    writer = PcapngWriter(file, comment="\n".join([comment, *loss_sentences(evidence)]))
    numbers = {key: writer.add_interface(key[0], linktype=key[1]) for key in _interfaces(evidence)}
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
        )
    return file.getvalue()


def _interfaces(evidence: Evidence) -> list[tuple[str, int]]:
    """Each device with its link type: who reads the recording knows by their order how the nodes stand."""
    devices = [(device, LINKTYPE_RAW) for device in evidence.tuns]
    devices += [(each.device, each.linktype) for each in evidence.observations]
    places = {name: place for place, name in enumerate(evidence.endpoints)}
    return sorted(dict.fromkeys(devices), key=lambda each: places.get(each[0].partition(":")[0], len(places)))
