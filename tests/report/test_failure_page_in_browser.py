"""What the page of a failure shows in Chromium: a lab's packets between its nodes, and what differs, lit."""

import os
import re

import pytest

from tests.report.page_queries import CHOSEN, FOCUSED, LIT_FIELDS, LIT_OCTETS, ROWS
from tests.report.recordings import SESSION, recorded
from tests.report.test_lab_columns import ARP, TO_ROUTER, TO_SERVER, between

pytestmark = pytest.mark.slow
CORPUS = os.environ.get("TUNLAB_CORPUS")


LAB = [
    ("client:eth0", "out", TO_ROUTER), ("router:eth0", "in", TO_ROUTER), ("router:lan0", "out", TO_SERVER),
    ("server:eth0", "in", TO_SERVER), ("server:eth0", "out", ARP), ("client:eth0", "in", TO_ROUTER + b"more"),
]  # fmt: skip


def test_of_a_lab_each_packet_is_one_arrow_between_its_nodes(show):
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
    assert spans[3][0] < spans[3][1] < lives[0], "from nowhere that is recorded"
    beside = page.run(f"{ROWS}.map((row) => row.querySelector('.beside').textContent)")
    assert beside[0] == "client:eth0 → router:eth0"
    assert beside[2] == "server:eth0 out · ✗ nobody received it"
    assert page.run(f"{ROWS}.map((row) => Boolean(row.querySelector('.cross')))") == [False, False, True, False]
    assert page.run(f"{ROWS}[2].querySelector('.summary').textContent") == "ARP who has 10.0.1.2? asks 10.0.1.1"
    assert page.run("document.getElementById('count').textContent") == "4 packets"
    page.press("Home")
    assert page.run("document.getElementById('about').textContent").endswith(
        "router:eth0 in · 1.0 µs later · No. 2 of the recording"
    )
    page.press("ArrowDown")
    assert page.run(CHOSEN) == "3"


def test_a_lab_of_many_nodes_leaves_room_for_the_packets(show):
    nodes = [(f"a-node-with-a-long-name-{number}:eth0", "out", ARP) for number in range(20)]
    page = show(between(*nodes))
    for width, least in ((1280, 400), (768, 160), (360, 110)):
        page.window(width, 800)
        page.run("dispatchEvent(new Event('resize'))")
        assert page.run("document.scrollingElement.scrollWidth") <= width
        assert page.run("document.querySelector('.said').getBoundingClientRect().width") >= least


NEAREST = "passed over at x.py:1; the nearest to what was wanted"
DIFFERING = "TCP.flags: wanted SYN, got SYN|ACK; IPv4.ttl: wanted 63, got 64; UDP: wanted present, got IPv4/TCP"
FRAMED = "[...document.querySelectorAll('#octets .x.differs')].map((each) => each.dataset.at)"


def test_what_differs_from_what_was_wanted_is_lit_and_says_so(show):
    page = show(recorded(SESSION, comments={2: f"{NEAREST}; {DIFFERING}"}), outcome="failed")
    assert page.run(CHOSEN) == "2"
    assert page.run(LIT_FIELDS) == ["ttl", "flags"]
    assert page.run(LIT_OCTETS) == ["8hl", "33hl"]
    assert page.run(FRAMED) == ["8", "33"]
    assert page.run("document.getElementById('o33').getAttribute('aria-label')") == "12, not as wanted"
    assert page.run("[...document.querySelectorAll('#tree .item.differs')].map((each) => each.textContent)") == [
        "ttl64wanted 63",
        "▶flagsACK | SYNwanted SYN",
    ]
    assert page.run("[...document.querySelectorAll('#about .differing')].map((each) => each.textContent)") == [
        f"≠ {each}" for each in DIFFERING.split("; ")
    ]
    assert page.run("document.querySelector('#about .comment').textContent") == NEAREST
    assert "wanted SYN, got SYN|ACK" in page.run(f"{ROWS}[1].querySelector('.beside').textContent")
    page.run("document.getElementById('f2').click()")
    assert (page.run(LIT_OCTETS), page.run(FRAMED)) == (["0l"], ["8", "33"])
    page.click("#about .differing")
    assert page.run(LIT_FIELDS) == ["flags"]
    page.press("k")
    assert page.run(FRAMED) == []


def test_of_octets_only_those_that_differ_are_lit(show):
    comment = f"{NEAREST}; TCP.payload: wanted 50 at 0 and 0a at 6, got 47 at 0 and 0d at 5–6"
    page = show(recorded(SESSION, comments={3: comment}))
    assert (page.run(LIT_FIELDS), page.run(LIT_OCTETS)) == (["payload"], ["40hl", "45hl", "46hl"])
    page.point("#tree .item:last-child")
    page.point("h1")
    assert page.run(LIT_OCTETS) == ["40hl", "45hl", "46hl"]


def test_a_key_goes_from_one_field_that_differs_to_the_next(show):
    page = show(recorded(SESSION, comments={2: f"{NEAREST}; {DIFFERING}"}))
    page.press("d")
    assert (page.run(FOCUSED), page.run(LIT_FIELDS)) == ("tree", ["flags"])
    page.press("d")
    assert page.run(LIT_FIELDS) == ["ttl"]
    page.press("k", "d")
    assert page.run(CHOSEN) == "1"


def test_it_opens_on_the_packet_by_which_the_test_failed(show):
    browser = show(recorded(SESSION, comments={5: "passed over at x.py:1; the nearest to what was wanted"}))
    assert browser.run(CHOSEN) == "5"
    assert browser.run("document.querySelector('#about strong').textContent") == "Packet 5"
