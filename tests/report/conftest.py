"""What a report stands on: a Tun whose namespace is recorded, as the plugin records those of its fixtures; a page."""

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
    """`recorded_netns.tuns[0]` is the Tun."""
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
    """`show(recording)`: its page, open; whatever the test does, it asks for nothing and complains of nothing."""
    shown = []

    def open_page(recording, **words):
        file = tmp_path / f"page{len(shown)}.html"
        file.write_text(render(recording, **{"title": "test_x", **words}), encoding="utf-8")
        shown.append(file)
        browser.window(1280, 820)
        browser.prefer("light")
        browser.open(file)
        return browser

    yield open_page
    assert browser.complaints() == []
    assert {url for url in browser.requests() if not url.startswith("blob:")} == {file.as_uri() for file in shown[-1:]}
