"""The HTML report in Chromium, operated by mouse and keyboard."""

import gzip
import json
import os
import re
from pathlib import Path

import pytest

from tests.report.page_queries import CHOSEN, FOCUSED, LIT_BYTES, LIT_FIELDS, ROWS, digits
from tests.report.recordings import KERNEL, MARKUP, PEER, SESSION, framed, recorded, session
from tests.report.test_fields import rows_of
from tunlab.packet import UDP, IPv4, build
from tunlab.recorder import read_pcapng

pytestmark = pytest.mark.slow
CORPUS = os.environ.get("TUNLAB_CORPUS")


def test_page_of_failed_test_shows_packets_and_selects_first_error(show):
    page = show(session(), outcome="failed", text="E   AssertionError: no packet arrived\n")
    assert page.run("document.title") == "test_x"
    assert page.run(f"{ROWS}.length") == len(SESSION)
    assert page.run("document.getElementById('plain')") is None
    assert page.run("document.querySelector('details').open") is False
    assert page.run(CHOSEN) == "3"  # Packet 3 is the first one with an error: its TCP checksum is bad.
    assert page.run(LIT_FIELDS) == ["checksum"]
    assert page.run(LIT_BYTES) == ["36hl", "37hl"]


def test_page_arrows_lead_from_sender_to_receiver(show):
    page = show(session())
    assert page.run("[...document.querySelectorAll('#head svg text')].map((each) => each.textContent)") == [
        "test", "kernel", "tun0",
    ]  # fmt: skip
    lines = page.run(f"{ROWS}.slice(0, 3).map((row) => row.querySelector('.arrow').getAttribute('d'))")
    spans = [tuple(map(int, re.fullmatch(r"M(\d+) \d+H(\d+)", line).groups())) for line in lines]
    assert [end > start for start, end in spans] == [True, False, True]
    lives = page.run(
        "[...document.querySelectorAll('#list .row:first-child .life')].map((each) => Number(each.getAttribute('x1')))"
    )
    assert [start for start, _ in spans] == [lives[0], lives[1], lives[0]]
    assert page.run(
        f"{ROWS}.filter((row) => row.querySelector('.sign')).map((row) => row.querySelector('.number').textContent)"
    ) == ["3"]


def test_click_on_field_in_page_highlights_its_bytes(show):
    page = show(session())
    for number, record in enumerate(read_pcapng(session())):
        rows, _ = rows_of(record)
        page.run(f"{ROWS}[{number}].click()")
        lit = page.run(
            "[...document.querySelectorAll('#tree .item')].map((item) => {"
            f" item.click(); return [item.querySelector('.name').textContent, {LIT_BYTES}, {LIT_FIELDS}.length]; }})"
        )
        assert lit == [[row.name, digits(row), 1] for row in rows]


def test_field_under_mouse_pointer_is_highlighted_until_pointer_leaves(show):
    page = show(session())
    page.click("#list .row:first-child")
    page.click("#f5")
    assert page.run(LIT_FIELDS) == ["total_length"]
    assert page.run(LIT_BYTES) == ["2hl", "3hl"]
    page.point("#f6")
    assert page.run(LIT_BYTES) == ["4hl", "5hl"]
    page.point("h1")
    assert page.run(LIT_BYTES) == ["2hl", "3hl"]


def test_click_on_hex_digit_in_page_highlights_its_field(show):
    page = show(session())
    page.click("#list .row:first-child")
    page.click("#o0", across=0.25)
    assert (page.run(LIT_FIELDS), page.run(LIT_BYTES)) == (["version"], ["0h"])
    page.click("#o0", across=0.75)
    assert (page.run(LIT_FIELDS), page.run(LIT_BYTES)) == (["ihl"], ["0l"])
    page.click("#o1", across=0.75)  # This hex digit has two bits of dscp and two of ecn.
    assert page.run(LIT_FIELDS) == ["dscp", "ecn"]
    page.point("#o21")
    assert (page.run(LIT_FIELDS), page.run(LIT_BYTES)) == (["src_port"], ["20hl", "21hl"])
    assert page.run("document.getElementById('field-info').textContent").startswith(
        "TCP.src_port = 4000 · bytes 20–21 · "
    )
    page.point("#o44")  # Byte 44 belongs to a TCP option, whose row is hidden because "options" is collapsed.
    assert "SACKPermitted" in page.run("document.getElementById('field-info').textContent")


def test_keys_in_page_move_between_packets_fields_and_bytes(show):
    page = show(session())
    assert page.run(FOCUSED) == "list"
    page.press("Home")
    assert page.run(CHOSEN) == "1"
    page.press("ArrowDown", "ArrowDown", "ArrowUp")
    assert page.run(CHOSEN) == "2"
    assert page.run("document.getElementById('list').getAttribute('aria-activedescendant')") == "p1"
    page.press("Enter")
    assert (page.run(FOCUSED), page.run(LIT_FIELDS)) == ("tree", ["IPv4"])
    page.press("ArrowDown", "ArrowDown")
    assert (page.run(LIT_FIELDS), page.run(LIT_BYTES)) == (["ihl"], ["0l"])
    page.press("Home", "ArrowLeft", "ArrowDown")  # ArrowLeft collapses the IPv4 header, so the next row is TCP.
    assert page.run(LIT_FIELDS) == ["TCP"]
    page.press("ArrowUp", "ArrowRight", "ArrowRight")
    assert page.run(LIT_FIELDS) == ["version"]
    page.press("Enter")
    assert page.run(FOCUSED) == "bytes"
    page.press("ArrowDown", "ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight")
    assert (page.run(LIT_FIELDS), page.run(LIT_BYTES)) == (["src_port"], ["20hl", "21hl"])
    page.press("Enter")
    assert page.run(FOCUSED) == "tree"
    page.press("ArrowDown")
    assert page.run(LIT_FIELDS) == ["dst_port"]
    page.press("Escape", "End")
    assert (page.run(FOCUSED), page.run(CHOSEN)) == ("list", "8")
    page.press("Tab")
    assert page.run(FOCUSED) == "tree"
    page.press("k", "k")
    assert page.run(CHOSEN) == "6"
    page.press("j")
    assert page.run(CHOSEN) == "7"


def test_question_mark_key_in_page_shows_list_of_keys(show):
    page = show(session())
    page.press("?")
    assert page.run("document.getElementById('keys').open") is True
    shown = page.run("[...document.querySelectorAll('#keys kbd')].map((each) => each.textContent)")
    assert {"↑", "↓", "Enter", "/", "t", "?", "j", "k", "s", "Esc", "Tab"} <= set(shown)
    page.press("Escape")
    assert page.run("document.getElementById('keys').open") is False


def test_focused_panel_of_page_has_an_outline(show):
    page = show(session())
    for selector, outlined in (("list", ".packets"), ("tree", ".fields"), ("bytes", ".bytes")):
        page.press("Tab")  # Browsers draw focus outlines only after a key is pressed.
        page.run(f"document.getElementById('{selector}').focus()")
        outline = page.run(f"getComputedStyle(document.querySelector('{outlined}')).outline")
        assert "solid 2px" in outline, (selector, outline)


def test_byte_cursor_in_page_has_a_frame_while_bytes_have_focus(show):
    page = show(session())
    page.click("#list .row:first-child")
    page.click("#f5")
    shadow = "getComputedStyle(document.querySelector('#bytes .x.cursor')).boxShadow"
    page.press("Enter")
    assert page.run(FOCUSED) == "bytes"
    assert "0px 0px 0px 2px inset" in page.run(shadow)
    page.press("Escape")
    assert page.run(FOCUSED) == "tree"
    assert "0px -2px 0px 0px inset" in page.run(shadow)


def test_page_has_accessible_roles_and_names(show):
    page = show(session())
    page.call("Accessibility.enable")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    page.call("Accessibility.disable")
    named = {(each["role"]["value"], each.get("name", {}).get("value", "")) for each in nodes if not each["ignored"]}
    roles = {role for role, _ in named}
    assert {"listbox", "option", "tree", "treeitem", "grid", "row", "gridcell", "searchbox", "status"} <= roles
    assert all(name for role, name in named if role in ("listbox", "tree", "grid", "searchbox", "button", "option"))


def test_filter_in_page_selects_packets(show):
    page = show(session())
    page.press("/")
    page.call("Input.insertText", text="ICMP -unreachable")
    assert page.run(f"{ROWS}.map((row) => row.querySelector('.number').textContent)") == ["6"]
    assert page.run("document.getElementById('count').textContent") == "1 of 8 packets"
    page.press("Escape")
    assert (page.run(f"{ROWS}.length"), page.run(FOCUSED)) == (8, "list")
    page.press("s")
    assert page.run(f"{ROWS}.map((row) => row.querySelector('.number').textContent)") == ["3"]
    page.press("s", "/")
    page.call("Input.insertText", text="no such packet")
    assert page.run("document.querySelector('#list .nothing').textContent") == "No packet matches the filter."


def luminance(colour):
    channels = [int(each) / 255 for each in re.findall(r"\d+", colour)[:3]]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


NOT_HIGHLIGHTED = """(() => {
const missing = [], list = document.getElementById('list');
const key = (name) => list.dispatchEvent(new KeyboardEvent('keydown', { key: name }));
key('Home');
for (let number = Number(document.querySelector('.row').getAttribute('aria-setsize')); number > 0; number--) {
  for (const cell of document.querySelectorAll('#bytes .x[data-at]')) {
    const clientX = cell.getBoundingClientRect().left + 1;
    cell.dispatchEvent(new MouseEvent('mousemove', { bubbles: true, clientX }));
    if (!cell.classList.contains('high')) missing.push([number, cell.dataset.at]);
  }
  key('ArrowDown');
}
return missing.slice(0, 5);
})()"""

CONTRASTS = """
[...document.querySelectorAll('h1, .facts, .outcome, .summary, .details, .details em, .number, .time small, .name,'
  + ' .value, .note, .wanted, .differing, .x, .at, .finding, .field-info, button, .first, .fault, #count')]
.filter((each) => each.textContent.trim()).map((each) => {
  let ground = each;
  const clear = () => /rgba\\(.*, 0\\)|transparent/.test(getComputedStyle(ground).backgroundColor);
  while (clear()) ground = ground.parentElement;
  return [each.className || each.tagName, getComputedStyle(each).color, getComputedStyle(ground).backgroundColor];
})
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_of_page_text_meets_wcag_minimum(show, scheme):
    """Check all texts for the minimum contrast of WCAG 2.1, section 1.4.3."""
    comments = {3: "closest match; TCP.flags: wanted SYN, got PSH|ACK"}
    page = show(recorded(SESSION, comments=comments)[:-20], outcome="failed", text="E  no")
    page.prefer(scheme)
    assert (luminance(page.run("getComputedStyle(document.body).backgroundColor")) > 0.5) == (scheme == "light")
    page.point("h1")
    for name, colour, ground in page.run(CONTRASTS):
        light, dark = sorted((luminance(colour), luminance(ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, colour, ground)


def test_theme_button_in_page_switches_light_and_dark(show):
    page = show(session())
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.run(ground)
    page.click("#theme")
    assert luminance(page.run(ground)) < 0.1
    assert page.run("document.getElementById('theme').textContent") == "Light"
    page.press("t")
    assert page.run(ground) == light


def test_script_in_packet_or_title_does_not_run_in_page(show):
    page = show(session(), title=MARKUP, outcome=MARKUP, text=MARKUP)
    page.run(f"{ROWS}[3].click()")
    assert page.run("window.executed") is None
    assert page.run("document.querySelector('h1').textContent") == MARKUP
    assert page.run("document.querySelector('#about .comment').textContent") == MARKUP


def test_save_button_in_page_saves_identical_recording(show, browser, tmp_path):
    page = show(session(), title="tests/test_x.py::test_[a/b]")
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path), eventsEnabled=True)
    page.click("#save")
    while page.wait("Browser.downloadProgress")["params"]["state"] != "completed":
        pass
    (saved,) = tmp_path.glob("*.pcapng")
    assert saved.read_bytes() == session()


@pytest.mark.parametrize("width", [360, 768, 1280, 1920])
def test_page_has_no_horizontal_overflow_at_any_width(show, width):
    page = show(session(), title="tests/test_handshake.py::TestHandshake::test_a_long_name[with-parameters]")
    page.window(width, 800)
    page.run("dispatchEvent(new Event('resize'))")
    assert page.run("document.scrollingElement.scrollWidth") <= width
    assert page.run("document.querySelector('.description').getBoundingClientRect().width") >= 120


def test_page_of_10000_packets_renders_only_visible_rows(show):
    count = 10_000
    page = show(recorded([SESSION[number % 2] for number in range(count)]))
    assert page.run("document.querySelectorAll('*').length") < 3000
    page.press("End")
    assert page.run(CHOSEN) == str(count)
    assert page.run("document.querySelectorAll('*').length") < 3000
    page.press("/")
    page.call("Input.insertText", text="9999")
    assert page.run("document.getElementById('count').textContent") == f"1 of {count} packets"


def test_printed_page_has_every_packet(show):
    page = show(recorded([SESSION[number % 4] for number in range(300)]))
    page.run(
        "addEventListener('beforeprint', () => { window.printed = document.querySelectorAll('#list .row').length; })"
    )
    assert page.call("Page.printToPDF", printBackground=True)["data"]
    assert page.run("window.printed") == 300
    assert page.run(f"{ROWS}.length") < 100


def test_page_shows_2048_bytes_of_large_packet_until_more_is_clicked(show):
    data = build(IPv4(src=PEER, dst=KERNEL), UDP(), bytes(20_000))
    page = show(recorded([("in", data)]))
    shown = "document.querySelectorAll('#bytes .x[data-at]').length"
    assert page.run(shown) == 2048
    page.run("[...document.querySelectorAll('#tree .item')].at(-1).click()")
    assert page.run(f"{LIT_BYTES}.length") == 2048 - 28
    page.run("document.querySelector('.more').click()")
    assert (page.run(shown), page.run(f"{LIT_BYTES}.length")) == (20_028, 20_000)


def test_page_of_each_kind_of_recording_logs_no_error(show):
    for recording in (recorded([]), framed(bytes(SESSION[3][1]), b"arp"), session()[:-20], recorded([("in", b"")])):
        page = show(recording)
        assert page.console_messages() == []


@pytest.mark.skipif(not CORPUS, reason="the corpus is not part of the project. Set TUNLAB_CORPUS to its folder")
def test_click_on_any_byte_of_corpus_packets_highlights_a_field(show):
    """Show many kinds of packets from the corpus: every byte highlights a field, and the script logs no error."""
    with gzip.open(Path(CORPUS, "ipv4.jsonl.gz"), "rt") as lines:
        packets = [bytes.fromhex(json.loads(line)["hex"]) for number, line in enumerate(lines) if number % 80 == 0]
    page = show(recorded([(None, each) for each in packets if len(each) < 150]))
    not_highlighted = page.run(NOT_HIGHLIGHTED)
    assert not_highlighted == []
