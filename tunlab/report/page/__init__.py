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
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.resources import files

from tunlab.errors import PacketError
from tunlab.recorder import LINKTYPE_ETHERNET, LINKTYPE_IPV4, LINKTYPE_RAW, RecordedPacket, read_pcapng
from tunlab.report.page.data import DecodedRecording, decode_records, page_data
from tunlab.report.page.fields import pluralize

MARK = '<meta name="generator" content="tunlab report">'
"""Stands in the first octets of every page, by which `tunlab report` knows its own."""

PLAIN = 200
"""Packets of the text that stands where no script may run."""

_LINKS = {LINKTYPE_RAW: "raw IP", 12: "raw IP", LINKTYPE_IPV4: "raw IPv4", LINKTYPE_ETHERNET: "Ethernet"}
_SCRIPTS = ("octets.js", "fields.js", "packets.js", "page.js")


def render(recording: bytes, *, title: str, outcome: str = "", text: str = "") -> str:
    """The page of a recording, as the text of an HTML file.

    recording   the octets of a pcapng or classic pcap file; what stands before a fault in it is shown, and the fault
    outcome     one word, as "failed"; "" for none
    text        what pytest said of the failure; shown as it is, folded

    Raises PacketError where the recording holds nothing but a fault.
    """
    records, fault = list[RecordedPacket](), ""
    try:
        records.extend(read_pcapng(recording))
    except PacketError as error:
        if not records:
            raise
        fault = error.message
    lines = decode_records(records)
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
        "facts": "".join(f"<li>{html.escape(fact)}</li>" for fact in _facts(recording, records, lines)),
        "fault": f'<p class="fault" role="alert">{html.escape(fault)}</p>' if fault else "",
        "text": _folded(text),
        "plain": html.escape(_plain(lines)),
        "name": html.escape(_file_name(title, recording)),
        "style": style,
        "script": script,
        "data": _harmless(json.dumps(page_data(recording, lines, outcome), ensure_ascii=False, separators=(",", ":"))),
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


def _folded(text: str) -> str:
    if not text.strip():
        return ""
    rows = [row.strip() for row in text.splitlines() if row.strip()]
    # pytest's own lines of the error begin with an E; the first of them says most.
    first = next((row[1:].strip() for row in rows if re.match(r"E\s+\S", row)), rows[0])
    head = f'<span class="first">{html.escape(first)}</span>'
    return f'<details id="failure"><summary>What failed: {head}</summary><pre>{html.escape(text)}</pre></details>'


def _facts(recording: bytes, records: Sequence[RecordedPacket], lines: DecodedRecording) -> list[str]:
    facts = [pluralize(len(lines.rows), "packet")]
    if len(records) > len(lines.rows):
        facts[0] += f", seen {len(records)} times"
    suspicious = sum(bool(lines.lines[number].found) for number in lines.rows)
    if suspicious:
        facts.append(f"{suspicious} suspicious")
    times = [record.time_ns for record in records if record.time_ns is not None]
    if times:
        begin = datetime.fromtimestamp(min(times) // 10**9, UTC)
        facts.append(f"{begin:%Y-%m-%d %H:%M:%S} UTC, {(max(times) - min(times)) / 10**9:.6f} s long")
    interfaces = dict.fromkeys((record.interface.name, record.interface.linktype) for record in records)
    facts += [
        f"{name or 'unnamed interface'} ({_LINKS.get(linktype, f'link type {linktype}')})"
        for name, linktype in interfaces
    ]
    lost = sum(record.dropped or 0 for record in records)
    if lost:
        facts.append(f"{pluralize(lost, 'packet')} lost in recording")
    return [*facts, f"{_format(recording)}, {len(recording):,} octets"]


def _format(recording: bytes) -> str:
    return "pcapng" if recording.startswith(b"\x0a\x0d\x0d\x0a") else "pcap"


def _file_name(title: str, recording: bytes) -> str:
    """What a browser should call the recording that it saves."""
    stem = re.sub(r"[^\w.-]+", "_", title.rsplit("/", 1)[-1]).strip("._-") or "recording"
    kind = _format(recording)
    return f"{re.sub(r'[.](pcap|pcapng|cap)$', '', stem)[:100]}.{kind}"


def _plain(lines: DecodedRecording) -> str:
    rows = []
    for number in lines.rows[:PLAIN]:
        line, arrow = lines.lines[number], lines.drawn.arrows[number]
        record = line.record
        time = "" if record.time_ns is None else f"{(record.time_ns - lines.begin) / 10**9:.6f}"
        way: str = record.direction or ""
        if arrow is not None and arrow.received:
            way = "→ " + ", ".join(lines.lines[each].record.interface.name for each in arrow.received)
        rows.append(f"{number + 1:>5} {time:>12} {record.interface.name} {way} {line.summary}")
        if record.comment:
            rows.append(f"{'':>19}{record.comment}")
    left = len(lines.rows) - PLAIN
    return "\n".join([*rows, f"… and {left} more"] if left > 0 else rows)
