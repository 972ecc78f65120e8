"""The HTML page of a recording: sequence diagram, packet list, fields, bytes, and the recording itself, in one file.

Python decodes the packets, not the browser. The page loads no other file: its Content Security Policy (Level 3) allows
only its own script and style, by their hashes.
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
from tunlab.recorder import (
    LINKTYPE_ETHERNET,
    LINKTYPE_IPV4,
    LINKTYPE_IPV6,
    LINKTYPE_LINUX_SLL,
    LINKTYPE_LINUX_SLL2,
    LINKTYPE_LOOP,
    LINKTYPE_NULL,
    LINKTYPE_RAW,
    RecordedPacket,
    read_pcapng,
)
from tunlab.report.page.data import DecodedRecording, decode_records, page_data
from tunlab.report.page.fields import pluralize

MARK = '<meta name="generator" content="tunlab report">'
"""Mark near the start of every page. `tunlab report` overwrites only files that have it."""

MAX_PLAIN_PACKETS = 200
"""Number of packets in the plain text that is shown without JavaScript."""

_LINKS = {
    LINKTYPE_RAW: "raw IP", 12: "raw IP", LINKTYPE_IPV4: "raw IPv4", LINKTYPE_IPV6: "raw IPv6",
    LINKTYPE_ETHERNET: "Ethernet", LINKTYPE_LINUX_SLL: "Linux cooked", LINKTYPE_LINUX_SLL2: "Linux cooked",
    LINKTYPE_NULL: "loopback", LINKTYPE_LOOP: "loopback",
}  # fmt: skip
_SCRIPTS = ("bytes.js", "fields.js", "packets.js", "page.js")


def render(recording: bytes, *, title: str, outcome: str = "", text: str = "") -> str:
    """Return the text of the HTML file.

    Args:
        recording: The bytes of a pcapng or classic pcap file. If the file is damaged, the page shows the packets before
            the damage, and the error.
        title: Heading of the page.
        outcome: Outcome of the test in one word: "failed"; "" for none.
        text: pytest's text of the failure, shown collapsed.

    Raises:
        PacketError: The recording has no readable packet.
    """
    records, fault = list[RecordedPacket](), ""
    try:
        records.extend(read_pcapng(recording))
    except PacketError as error:
        if not records:
            raise
        fault = error.message
    decoded = decode_records(records)
    script = f'(() => {{\n"use strict";\n{"".join(map(_part, _SCRIPTS))}}})();\n'
    style = _part("page.css")
    parts = {
        "mark": MARK,
        "policy": (
            f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
            "base-uri 'none'; form-action 'none'"
        ),
        "title": html.escape(title),
        "outcome": f'<strong class="outcome {_css_class(outcome)}">{html.escape(outcome)}</strong>' if outcome else "",
        "facts": "".join(f"<li>{html.escape(fact)}</li>" for fact in _facts(recording, records, decoded)),
        "fault": f'<p class="fault" role="alert">{html.escape(fault)}</p>' if fault else "",
        "text": _folded(text),
        "plain": html.escape(_plain(decoded)),
        "name": html.escape(_file_name(title, recording)),
        "style": style,
        "script": script,
        "data": _escape_json(
            json.dumps(page_data(recording, decoded, outcome), ensure_ascii=False, separators=(",", ":"))
        ),
        "recording": base64.b64encode(recording).decode("ascii"),
    }
    # All placeholders are replaced in one pass, because an inserted text may contain "{{…}}".
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _part("page.html"))


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode("ascii")


def _css_class(outcome: str) -> str:
    """Return the CSS class name for the outcome of a test: "failed"."""
    return re.sub(r"\W", "", outcome.split()[0].lower()) if outcome.split() else ""


def _escape_json(data: str) -> str:
    """Escape JSON so that it can neither end its script element nor start a comment (HTML section 4.12.1.3)."""
    return data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _folded(text: str) -> str:
    if not text.strip():
        return ""
    rows = [row.strip() for row in text.splitlines() if row.strip()]
    # pytest marks the lines of the error with E. The first line with E has the message.
    first = next((row[1:].strip() for row in rows if re.match(r"E\s+\S", row)), rows[0])
    head = f'<span class="first">{html.escape(first)}</span>'
    return f'<details id="failure"><summary>Failure: {head}</summary><pre>{html.escape(text)}</pre></details>'


def _facts(recording: bytes, records: Sequence[RecordedPacket], decoded: DecodedRecording) -> list[str]:
    facts = [pluralize(len(decoded.rows), "packet")]
    if len(records) > len(decoded.rows):
        facts[0] += f", recorded {len(records)} times"
    suspicious = sum(bool(decoded.records[number].findings) for number in decoded.rows)
    if suspicious:
        facts.append(pluralize(suspicious, "suspicious packet"))
    times = [record.time_ns for record in records if record.time_ns is not None]
    if times:
        begin = datetime.fromtimestamp(min(times) // 10**9, UTC)
        facts.append(f"{begin:%Y-%m-%d %H:%M:%S} UTC, duration {(max(times) - min(times)) / 10**9:.6f} s")
    interfaces = dict.fromkeys((record.interface.name, record.interface.linktype) for record in records)
    facts += [
        f"{name or 'unnamed interface'} ({_LINKS.get(linktype, f'link type {linktype}')})"
        for name, linktype in interfaces
    ]
    lost = sum(record.dropped or 0 for record in records)
    if lost:
        facts.append(f"{pluralize(lost, 'packet')} lost in recording")
    return [*facts, f"{_format(recording)}, {len(recording):,} bytes"]


def _format(recording: bytes) -> str:
    return "pcapng" if recording.startswith(b"\x0a\x0d\x0d\x0a") else "pcap"


def _file_name(title: str, recording: bytes) -> str:
    """Return the file name that the browser suggests when the user saves the recording."""
    stem = re.sub(r"[^\w.-]+", "_", title.rsplit("/", 1)[-1]).strip("._-") or "recording"
    kind = _format(recording)
    return f"{re.sub(r'[.](pcap|pcapng|cap)$', '', stem)[:100]}.{kind}"


def _plain(decoded: DecodedRecording) -> str:
    rows = []
    for number in decoded.rows[:MAX_PLAIN_PACKETS]:
        line, arrow = decoded.records[number], decoded.ladder.arrows[number]
        record = line.record
        time = "" if record.time_ns is None else f"{(record.time_ns - decoded.begin) / 10**9:.6f}"
        direction: str = record.direction or ""
        if arrow is not None and arrow.received:
            direction = "→ " + ", ".join(decoded.records[each].record.interface.name for each in arrow.received)
        rows.append(f"{number + 1:>5} {time:>12} {record.interface.name} {direction} {line.summary}")
        if record.comment:
            rows.append(f"{'':>19}{record.comment}")
    left = len(decoded.rows) - MAX_PLAIN_PACKETS
    return "\n".join([*rows, f"… and {left} more"] if left > 0 else rows)
