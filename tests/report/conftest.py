"""Fixtures of the report tests: a Tun with a packet capture, the kernel's drop reasons, and a page in a browser."""

import pytest

from tests.report.browser import Browser
from tunlab.kernel.device.netns_capture import NetnsCapture
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.drop_monitor import DropMonitor
from tunlab.report.evidence import RecordedNetns
from tunlab.report.page import render
from tunlab.traffic import Tun


@pytest.fixture
def recorded_netns():
    """Yield a namespace with a packet capture and one Tun, `recorded_netns.tuns[0]`."""
    with Netns.create() as netns, NetnsCapture.open(netns) as record, Tun.create(netns=netns) as tun:
        yield RecordedNetns("kernel", netns, record, [tun])


@pytest.fixture
def recorded_tun(recorded_netns):
    return recorded_netns.tuns[0]


@pytest.fixture
def drops():
    with DropMonitor() as drops:
        yield drops


@pytest.fixture(scope="module")
def browser(need, tmp_path_factory):
    opened = Browser(need("chromium"), tmp_path_factory.mktemp("chromium"))
    yield opened
    opened.close()


@pytest.fixture
def show(browser, tmp_path):
    """Return a function that opens a recording's HTML page in Chromium.

    Teardown asserts that the page has loaded no other file and that the console has no messages.
    """
    shown = []

    def open_page(recording, **options):
        file = tmp_path / f"page{len(shown)}.html"
        file.write_text(render(recording, **{"title": "test_x", **options}), encoding="utf-8")
        shown.append(file)
        browser.window(1280, 820)
        browser.prefer("light")
        browser.open(file)
        return browser

    yield open_page
    assert browser.console_messages() == []
    assert {url for url in browser.requests() if not url.startswith("blob:")} == {file.as_uri() for file in shown[-1:]}
