"""The HTML report as a file: its content, and the escaping of markup in packets."""

import base64
import gzip
import hashlib
import io
import json
import os
import re
import struct
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.report.recordings import MARKUP, SESSION, framed, recorded, session
from tunlab.errors import MalformedError, TruncatedRecordingError
from tunlab.packet import UDP
from tunlab.recorder import PcapngWriter, read_pcapng
from tunlab.report.annotation import Annotation
from tunlab.report.page import MARK, MAX_PLAIN_PACKETS, render

CORPUS = os.environ.get("TUNLAB_CORPUS")


class Parsed(HTMLParser):
    """A parsed HTML page: its elements with their attributes, and their texts by id or tag."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.texts, self._open = [], {}, []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.elements.append((tag, attributes))
        self._open.append(attributes.get("id") or tag)

    def handle_data(self, data):
        if self._open:
            self.texts[self._open[-1]] = self.texts.get(self._open[-1], "") + data

    def handle_endtag(self, tag):
        if self._open and tag not in ("meta", "input"):
            self._open.pop()


def data_of(page):
    """Return two parts of an HTML report: the JSON data for its script, and the embedded recording."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    recording = re.search(r'<script type="text/plain" id="recording">(.*?)</script>', page, re.DOTALL)
    assert not set("<>&") & set(found[1])
    return json.loads(found[1]), base64.b64decode(recording[1])


def check_data(recording, page):
    """Return the JSON data of an HTML report, after checking that its offsets and indexes are valid."""
    data, embedded = data_of(page)
    assert embedded == recording
    records = list(read_pcapng(recording))
    assert len(records) == len(data["packets"])
    for record, packet in zip(records, data["packets"], strict=True):
        at, length, wire = packet[:3]
        assert embedded[at : at + length] == record.data
        assert wire == record.wire_length
        tree, notes, differences, received, forwarded = packet[12:]
        assert max(tree[::2], default=0) < len(data["labels"])
        assert max(tree[1::2], default=0) < len(data["texts"])
        assert bool(packet[11]) == bool(notes)
        assert all(row < len(tree) // 2 for row in notes[::2])
        assert all(row < len(tree) // 2 for _, _, _, rows, _ in differences for row in rows)
        assert all(at in range(len(records)) and at not in data["rows"] for at in (*received, *forwarded))
    return data


def test_page_references_no_other_file():
    page = render(session(), title="x.pcapng")
    assert page.startswith("<!doctype html>")
    assert MARK in page[:400]
    for tag, attributes in Parsed(page).elements:
        assert tag not in ("link", "iframe", "img", "object", "embed", "base")
        assert not {"src", "href", "style", "action", "srcset"} & set(attributes), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")]


def test_page_content_security_policy_allows_only_own_script_and_style():
    page = render(session(), title="x")
    policy = next(each["content"] for tag, each in Parsed(page).elements if each.get("http-equiv"))
    assert policy.startswith("default-src 'none'; ")
    for kind, pattern in (("script", r"<script>(.*?)</script>"), ("style", r"<style>(.*?)</style>")):
        found = re.findall(pattern, page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(found[-1].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("where", ["title", "outcome", "text", "comment", "payload", "interface"])
def test_page_escapes_markup_in_packets_and_texts(where):
    def page(text):
        packets = [(*SESSION[2][:2], UDP(), text.encode())] if where == "payload" else SESSION[:1]
        name, comments = text if where == "interface" else "tun0", {1: text if where == "comment" else "a comment"}
        options = {each: text if where == each else "word" for each in ("title", "outcome", "text")}
        return render(recorded(packets, name=name, comments=comments), **options)

    parsed = Parsed(page(MARKUP))
    assert [tag for tag, _ in parsed.elements] == [tag for tag, _ in Parsed(page("word")).elements]
    if where in ("title", "text", "outcome"):
        shown = {"title": "h1", "text": "pre", "outcome": "strong"}[where]
        assert parsed.texts[shown] == MARKUP
    elif where != "payload":
        data, _ = data_of(page(MARKUP))
        assert MARKUP in (data["packets"][0][9], *data["texts"])


def test_page_shows_number_of_packets_duration_and_interfaces():
    page = render(session(), title="test_x", outcome="failed", text="E   AssertionError: no\n")
    parsed = Parsed(page)
    facts = parsed.texts["li"]
    for fact in (
        "8 packets",
        "1 suspicious packet",
        "2023-11-14 22:13:20 UTC, duration 0.007000 s",
        "tun0 (raw IP)",
        "pcapng, ",
    ):
        assert fact in facts
    assert parsed.texts["title"] == parsed.texts["h1"] == "test_x"
    assert ("strong", {"class": "outcome failed"}) in parsed.elements
    assert parsed.texts["summary"] == "Failure: "
    assert "AssertionError: no" in parsed.texts["span"]
    assert "details" not in {tag for tag, _ in Parsed(render(session(), title="x")).elements}


def test_data_in_page_has_every_packet():
    data = check_data(session(), render(session(), title="x"))
    first = data["packets"][0]
    assert data["columns"] == [["test", ""], ["kernel", "tun0"]]
    assert (first[3], data["texts"][first[4]], first[5], first[6:8]) == (0, "tun0", "in", [0, [1]])
    assert first[8].startswith("IP 10.1.2.2.4000 > 10.1.2.1.80: Flags [S]")
    assert first[9] == "injected at test_x.py:42"
    assert [len(packet[11]) for packet in data["packets"]] == [0, 0, 1, 0, 0, 0, 0, 0]
    assert data["packets"][2][11][0].startswith("TCP checksum 0x1234 is bad, should be ")


def test_page_without_script_lists_packets_as_text():
    packets = [SESSION[0]] * (MAX_PLAIN_PACKETS + 5)
    text = Parsed(render(recorded(packets, comments={1: "the first"}), title="x")).texts["plain"]
    assert "    1     0.000000 tun0 in IP 10.1.2.2.4000 > 10.1.2.1.80: Flags [S]" in text
    assert "the first" in text
    assert text.endswith("… and 5 more")


@pytest.mark.skipif(not CORPUS, reason="the corpus is not part of the project. Set TUNLAB_CORPUS to its folder")
@pytest.mark.slow
def test_page_shows_every_corpus_packet():
    file = io.BytesIO()
    writer = PcapngWriter(file)
    interface = writer.add_interface("corpus")
    with gzip.open(Path(CORPUS, "ipv4.jsonl.gz"), "rt") as lines:
        for number, line in enumerate(lines):
            entry = json.loads(line)
            data = bytes.fromhex(entry["hex"])
            writer.write(interface, data, time_ns=number, wire_length=max(entry["wire_len"], len(data)))
    page = render(file.getvalue(), title="corpus")
    check_data(file.getvalue(), page)
    assert len(page) < 4 * len(file.getvalue())


def test_page_of_classic_pcap_has_every_packet():
    data = b"".join(
        struct.pack("<IIII", 5, number, len(each), len(each)) + each
        for number, each in enumerate([bytes(SESSION[3][1]), b"", bytes(SESSION[3][1])])
    )
    recording = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101) + data
    page = render(recording, title="dir/x.pcap")
    check_data(recording, page)
    assert 'data-name="x.pcap"' in page
    assert "pcap, " in Parsed(page).texts["li"]


def test_page_of_ethernet_recording_has_every_packet():
    recording = framed(bytes(SESSION[3][1]), b"arp")
    check_data(recording, render(recording, title="x"))


def test_page_of_recording_without_packets_shows_0_packets():
    recording = recorded([])
    page = render(recording, title="x")
    assert data_of(page)[0]["packets"] == []
    assert "0 packets" in page


def test_page_of_truncated_recording_shows_packets_and_error():
    recording = session()[:-20]
    page = render(recording, title="x")
    assert len(data_of(page)[0]["packets"]) == len(SESSION) - 1
    assert "ends inside the block" in Parsed(page).texts["p"]


@pytest.mark.parametrize(("recording", "error"), [(b"", TruncatedRecordingError), (b"no recording", MalformedError)])
def test_page_of_invalid_recording_raises(recording, error):
    with pytest.raises(error):
        render(recording, title="x")


@pytest.mark.slow
def test_recording_embedded_in_page_is_read_by_tshark(need, tmp_path):
    file, embedded = tmp_path / "a.pcapng", tmp_path / "b.pcapng"
    file.write_bytes(session())
    embedded.write_bytes(data_of(render(session(), title="x"))[1])

    def read(path):
        command = [need("tshark"), "-r", str(path), "-T", "fields", "-e", "frame.time_epoch", "-e", "frame.comment",
                   "-e", "ip.src", "-e", "_ws.col.Info"]  # fmt: skip
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    assert read(embedded) == read(file)
    assert MARKUP in read(file)
    assert len(read(file).splitlines()) == len(SESSION)


class TestInitialPacket:
    def chosen(self, packets, *decisive, outcome="failed", comments=None):
        annotations = {number: Annotation(f"note {number}", decisive=True) for number in decisive}
        recording = recorded(packets, comments=comments, annotations=annotations)
        return data_of(render(recording, title="x", outcome=outcome))[0]["chosen"]

    def test_initially_selected_packet_is_the_last_one_that_made_the_test_fail(self):
        assert self.chosen(SESSION, 1, comments={2: "skipped at x.py:1"}) == 0
        assert self.chosen(SESSION, 1, 4) == 3
        assert self.chosen(SESSION, 1, 5, outcome="") == 4

    def test_first_packet_with_an_error_is_selected_if_no_match_failed(self):
        assert self.chosen(SESSION, comments={2: "unwanted"}) == 2

    def test_initially_selected_packet_without_failed_match_or_error_is_the_last(self):
        good = [SESSION[number] for number in (0, 1, 3, 4)]
        assert self.chosen(good) == 3
        assert self.chosen(good, outcome="") == 0
        assert self.chosen([]) == 0
