"""The HTML report of a failed test in Chromium: packets between the nodes of a lab, and highlighted differences."""

import os
import re

import pytest

from tests.report.page_queries import CHOSEN, FOCUSED, LIT_BYTES, LIT_FIELDS, ROWS
from tests.report.recordings import SESSION, recorded
from tests.report.test_lab_columns import ARP, TO_ROUTER, TO_SERVER, between
from tunlab.report.annotation import Annotation
from tunlab.traffic.trace import FieldDifference

pytestmark = pytest.mark.slow
CORPUS = os.environ.get("TUNLAB_CORPUS")


LAB = [
    ("client:eth0", "out", TO_ROUTER), ("router:eth0", "in", TO_ROUTER), ("router:lan0", "out", TO_SERVER),
    ("server:eth0", "in", TO_SERVER), ("server:eth0", "out", ARP), ("client:eth0", "in", TO_ROUTER + b"more"),
]  # fmt: skip


def test_page_of_a_lab_has_one_arrow_per_packet_and_link(show):
    page = show(between(*LAB))
    assert page.run("[...document.querySelectorAll('#head svg text')].map((each) => each.textContent)") == [
        "client", "router", "server",
    ]  # fmt: skip
    assert page.run(f"{ROWS}.map((row) => row.querySelector('.number').textContent)") == ["1", "3", "5", "6"]
    lives = page.run(
        "[...document.querySelectorAll('#list .row:first-child .life')].map((each) => Number(each.getAttribute('x1')))"
    )
    lines = page.run(f"{ROWS}.map((row) => row.querySelector('.arrow').getAttribute('d'))")
    spans = [tuple(map(int, re.fullmatch(r"M(-?\d+) \d+H(-?\d+)", line).groups())) for line in lines]
    assert [start for start, _ in spans[:3]] == lives
    assert all(lives[at] < spans[at][1] < lives[at + 1] for at in (0, 1))
    assert spans[3][0] < spans[3][1] < lives[0], "the sender is not recorded"
    details = page.run(f"{ROWS}.map((row) => row.querySelector('.details').textContent)")
    assert details[0] == "client:eth0 → router:eth0"
    assert details[2] == "server:eth0 out · ✗ not received"
    assert details[3] == "client:eth0 in · sender not recorded"
    assert page.run(f"{ROWS}.map((row) => Boolean(row.querySelector('.cross')))") == [False, False, True, False]
    assert page.run(f"{ROWS}[2].querySelector('.summary').textContent") == "ARP who has 10.0.1.2? tell 10.0.1.1"
    assert page.run("document.getElementById('count').textContent") == "4 packets"
    page.press("Home")
    assert page.run("document.getElementById('about').textContent").endswith(
        "router:eth0 in · 1.0 µs later · No. 2 of the recording"
    )
    page.press("ArrowDown")
    assert page.run(CHOSEN) == "3"


def test_page_with_20_nodes_leaves_room_for_packet_descriptions(show):
    nodes = [(f"a-node-with-a-long-name-{number}:eth0", "out", ARP) for number in range(20)]
    page = show(between(*nodes))
    for width, least in ((1280, 400), (768, 160), (360, 110)):
        page.window(width, 800)
        page.run("dispatchEvent(new Event('resize'))")
        assert page.run("document.scrollingElement.scrollWidth") <= width
        assert page.run("document.querySelector('.description').getBoundingClientRect().width") >= least


CLOSEST = "skipped at x.py:1; closest match"
DIFFERENCES = (
    FieldDifference("TCP.flags", "SYN", "SYN|ACK"),
    FieldDifference("IPv4.ttl", "63", "64"),
    FieldDifference("UDP", "present", "IPv4/TCP"),
)
DIFFERING = Annotation(CLOSEST, decisive=True, differences=DIFFERENCES)
FRAMED = "[...document.querySelectorAll('#bytes .x.differs')].map((each) => each.dataset.at)"


def test_page_highlights_differing_fields_of_the_closest_match(show):
    page = show(recorded(SESSION, annotations={2: DIFFERING}), outcome="failed")
    assert page.run(CHOSEN) == "2"
    assert page.run(LIT_FIELDS) == ["ttl", "flags"]
    assert page.run(LIT_BYTES) == ["8hl", "32l", "33hl"]
    assert page.run(FRAMED) == ["8", "32", "33"]
    assert (
        page.run("document.getElementById('o33').getAttribute('aria-label')") == "12, differs from the expected value"
    )
    assert page.run("[...document.querySelectorAll('#tree .item.differs')].map((each) => each.textContent)") == [
        "ttl64wanted 63",
        "▶flagsACK | SYNwanted SYN",
    ]
    assert page.run("[...document.querySelectorAll('#about .differing')].map((each) => each.textContent)") == [
        f"≠ {each}" for each in DIFFERENCES
    ]
    assert page.run("document.querySelector('#about .comment').textContent") == CLOSEST
    assert "wanted SYN, got SYN|ACK" in page.run(f"{ROWS}[1].querySelector('.details').textContent")
    page.run("document.getElementById('f2').click()")
    assert (page.run(LIT_BYTES), page.run(FRAMED)) == (["0l"], ["8", "32", "33"])
    page.click("#about .differing")
    assert page.run(LIT_FIELDS) == ["flags"]
    page.press("k")
    assert page.run(FRAMED) == []


def test_page_highlights_only_the_differing_bytes_of_a_payload(show):
    difference = FieldDifference("TCP.payload", "50 at 0 and 0a at 6", "47 at 0 and 0d at 5–6", ((0, 0), (5, 6)))
    annotation = Annotation(CLOSEST, decisive=True, differences=(difference,))
    page = show(recorded(SESSION, annotations={3: annotation}))
    assert (page.run(LIT_FIELDS), page.run(LIT_BYTES)) == (["payload"], ["40hl", "45hl", "46hl"])
    page.point("#tree .item:last-child")
    page.point("h1")
    assert page.run(LIT_BYTES) == ["40hl", "45hl", "46hl"]


def test_key_d_in_page_moves_to_next_differing_field(show):
    page = show(recorded(SESSION, annotations={2: DIFFERING}))
    page.press("d")
    assert (page.run(FOCUSED), page.run(LIT_FIELDS)) == ("tree", ["flags"])
    page.press("d")
    assert page.run(LIT_FIELDS) == ["ttl"]
    page.press("k", "d")
    assert page.run(CHOSEN) == "1"


def test_page_first_shows_the_packet_that_made_the_test_fail(show):
    browser = show(recorded(SESSION, annotations={5: Annotation(CLOSEST, decisive=True)}))
    assert browser.run(CHOSEN) == "5"
    assert browser.run("document.querySelector('#about strong').textContent") == "Packet 5"
