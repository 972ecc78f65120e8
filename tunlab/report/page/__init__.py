"""A recording as one HTML file that needs nothing else: ladder and list, fields and octets, the recording itself.

All decoding is done here; the page shows, and asks nobody for anything: its policy (Content Security Policy Level 3)
lets it load nothing and run only the script whose hash it names.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files

from msgspec import Struct

from tunlab.errors import PacketError
from tunlab.packet import Finding, Packet, findings, parse, summary
from tunlab.recorder import LINKTYPE_ETHERNET, LINKTYPE_IPV4, LINKTYPE_RAW, Record, datagram_place, read_pcapng
from tunlab.report.page.ends import ends
from tunlab.report.page.fields import counted, link_summary, record_rows
from tunlab.traffic.crossing import DECISIVE

MARK = '<meta name="generator" content="tunlab report">'
"""Stands in the first octets of every page, by which `tunlab report` knows its own."""

PLAIN = 200
"""Packets of the text that stands where no script may run."""

_LINKS = {LINKTYPE_RAW: "raw IP", 12: "raw IP", LINKTYPE_IPV4: "raw IPv4", LINKTYPE_ETHERNET: "Ethernet"}
_SCRIPTS = ("octets.js", "fields.js", "packets.js", "page.js")


class Line(Struct, frozen=True):
    """A record with what is made of it; `place` of the datagram, `packet` where there is one."""

    record: Record
    place: slice | None
    packet: Packet | None
    found: list[Finding]
    summary: str


def render(recording: bytes, *, title: str, outcome: str = "", text: str = "") -> str:
    """The page of a recording, as the text of an HTML file.

    recording   the octets of a pcapng or classic pcap file; what stands before a fault in it is shown, and the fault
    outcome     one word, as "failed"; "" for none
    text        what pytest said of the failure; shown as it is, folded

    Raises PacketError where the recording holds nothing but a fault.
    """
    records, fault = list[Record](), ""
    try:
        records.extend(read_pcapng(recording))
    except PacketError as error:
        if not records:
            raise
        fault = error.sentence
    lines = [_line(record) for record in records]
    data = _data(recording, lines, _chosen(lines, outcome))
    script = f'(() => {{\n"use strict";\n{"".join(map(_part, _SCRIPTS))}}})();\n'
    style = _part("page.css")
    parts = {
        "mark": MARK,
        "policy": (
            f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
            "base-uri 'none'; form-action 'none'"
        ),
        "title": html.escape(title),
        "outcome": f'<strong class="outcome {_word(outcome)}">{html.escape(outcome)}</strong>' if outcome else "",
        "facts": "".join(f"<li>{html.escape(fact)}</li>" for fact in _facts(recording, lines)),
        "fault": f'<p class="fault" role="alert">{html.escape(fault)}</p>' if fault else "",
        "text": _folded(text),
        "plain": html.escape(_plain(lines)),
        "name": html.escape(_file_name(title, recording)),
        "style": style,
        "script": script,
        "data": _harmless(json.dumps(data, ensure_ascii=False, separators=(",", ":"))),
        "recording": base64.b64encode(recording).decode("ascii"),
    }
    # In one pass: nothing that was filled in is looked at again.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _part("page.html"))


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode("ascii")


def _word(outcome: str) -> str:
    """A class name of the outcome, whatever it is."""
    return re.sub(r"\W", "", outcome.split()[0].lower()) if outcome.split() else ""


def _harmless(data: str) -> str:
    """JSON in which nothing can end the element that it stands in, nor begin a comment (HTML section 4.12.1.3)."""
    return data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _line(record: Record) -> Line:
    place = datagram_place(record)
    if place is None:
        return Line(record, None, None, [], link_summary(record))
    octets = record.octets[place]
    missing = record.wire_length - len(record.octets)
    try:
        packet = parse(octets, wire_length=len(octets) + missing)
    except PacketError:
        return Line(record, place, None, [], summary(octets))
    return Line(record, place, packet, findings(packet), summary(packet))


def _folded(text: str) -> str:
    if not text.strip():
        return ""
    rows = [row.strip() for row in text.splitlines() if row.strip()]
    # pytest's own lines of the error begin with an E; the first of them says most.
    first = next((row[1:].strip() for row in rows if re.match(r"E\s+\S", row)), rows[0])
    head = f'<span class="first">{html.escape(first)}</span>'
    return f'<details id="failure"><summary>What failed: {head}</summary><pre>{html.escape(text)}</pre></details>'


def _facts(recording: bytes, lines: list[Line]) -> list[str]:
    facts = [counted(len(lines), "packet")]
    suspicious = sum(bool(line.found) for line in lines)
    if suspicious:
        facts.append(f"{suspicious} suspicious")
    times = [line.record.time_ns for line in lines if line.record.time_ns is not None]
    if times:
        begin = datetime.fromtimestamp(min(times) // 10**9, UTC)
        facts.append(f"{begin:%Y-%m-%d %H:%M:%S} UTC, {(max(times) - min(times)) / 10**9:.6f} s long")
    interfaces = dict.fromkeys((line.record.interface.name, line.record.interface.linktype) for line in lines)
    facts += [
        f"{name or 'unnamed interface'} ({_LINKS.get(linktype, f'link type {linktype}')})"
        for name, linktype in interfaces
    ]
    lost = sum(line.record.dropped or 0 for line in lines)
    if lost:
        facts.append(f"{counted(lost, 'packet')} lost in recording")
    return [*facts, f"{_format(recording)}, {len(recording):,} octets"]


def _format(recording: bytes) -> str:
    return "pcapng" if recording.startswith(b"\x0a\x0d\x0d\x0a") else "pcap"


def _file_name(title: str, recording: bytes) -> str:
    """What a browser should call the recording that it saves."""
    stem = re.sub(r"[^\w.-]+", "_", title.rsplit("/", 1)[-1]).strip("._-") or "recording"
    kind = _format(recording)
    return f"{re.sub(r'[.](pcap|pcapng|cap)$', '', stem)[:100]}.{kind}"


def _plain(lines: list[Line]) -> str:
    first = _begin(lines)
    rows = []
    for number, line in enumerate(lines[:PLAIN], 1):
        record = line.record
        time = "" if record.time_ns is None else f"{(record.time_ns - first) / 10**9:.6f}"
        rows.append(f"{number:>5} {time:>12} {record.interface.name} {record.direction or ''} {line.summary}")
        if record.comment:
            rows.append(f"{'':>19}{record.comment}")
    left = len(lines) - PLAIN
    return "\n".join([*rows, f"… and {left} more"] if left > 0 else rows)


def _begin(lines: list[Line]) -> int:
    return next((line.record.time_ns for line in lines if line.record.time_ns is not None), 0)


class _Table:
    """Values told once, and by their number wherever they stand."""

    def __init__(self) -> None:
        self.values: list[object] = []
        self._numbers: dict[object, int] = {}

    def number(self, value: object) -> int:
        found = self._numbers.get(value)
        if found is None:
            found = self._numbers[value] = len(self.values)
            self.values.append(value)
        return found


def _chosen(lines: Sequence[Line], outcome: str) -> int:
    """Which packet a reader comes for, from 0.

    That by which the test failed, else the first suspicious one, else the last of a failure, the first of the rest.
    """
    for number, line in reversed(list(enumerate(lines))):
        if any(comment in DECISIVE for comment in line.record.comment.split("; ")):
            return number
    suspicious = next((number for number, line in enumerate(lines) if line.found), None)
    if suspicious is not None:
        return suspicious
    return max(0, len(lines) - 1) if outcome == "failed" else 0


def _data(recording: bytes, lines: list[Line], chosen: int) -> Mapping[str, object]:
    """What the script shows.

    chosen    the number of the packet that is shown first, from 0
    columns   the ladder's, each title and what is below it
    labels    depth, name, first bit, bits, folded (0, 1): of rows
    texts     values, notes, names of devices
    packets   offset and length of the octets in the recording, octets on the wire, time in nanoseconds from the first,
              device, direction, columns from and to (-1: not known), summary, comment, packets lost before it,
              findings, rows as pairs of label and text, notes as pairs of row and text
    """
    drawn = ends([line.record for line in lines], [line.packet for line in lines])
    labels, texts = _Table(), _Table()
    packets, first, at = list[list[object]](), _begin(lines), 0
    for line, step in zip(lines, drawn.steps, strict=True):
        record = line.record
        # Records come in the file's order: this is found at its own place or before, and the same octets either way.
        at = recording.index(record.octets, at)
        rows = record_rows(record, line.place, line.packet, line.found)
        tree, notes = list[int](), list[int]()
        for number, row in enumerate(rows):
            tree += (
                labels.number((row.depth, row.name, row.start, row.bits, int(row.folded))),
                texts.number(row.value),
            )
            if row.note:
                notes += (number, texts.number(row.note))
        packets.append([
            at, len(record.octets), record.wire_length, None if record.time_ns is None else record.time_ns - first,
            texts.number(record.interface.name), record.direction or "", *(step or (-1, -1)), line.summary,
            record.comment, record.dropped or 0, [str(each) for each in line.found], tree, notes,
        ])  # fmt: skip
        at += len(record.octets)
    return {
        "chosen": chosen,
        "columns": drawn.columns,
        "labels": labels.values,
        "texts": texts.values,
        "packets": packets,
    }
