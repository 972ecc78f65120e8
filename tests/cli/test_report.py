"""`tunlab report`: output files and errors."""

import html
import json
import re
import stat

import pytest

from tests.report.recordings import session
from tunlab.packet import ARP, UDP, VLAN, Ethernet, ICMPv6, IPv4, IPv6, build
from tunlab.recorder import LINKTYPE_ETHERNET, PcapngWriter
from tunlab.report.page import MARK


@pytest.fixture
def recording(tmp_path):
    file = tmp_path / "failure.pcapng"
    file.write_bytes(session())
    return file


def test_report_writes_the_html_page_beside_the_recording(tunlab, recording):
    assert tunlab("report", str(recording)) == (0, "", f"wrote {recording.with_suffix('.html')}\n")
    page = recording.with_suffix(".html").read_text()
    assert MARK in page
    assert "<title>failure.pcapng</title>" in page
    assert sorted(each.name for each in recording.parent.iterdir() if each.is_file()) == [
        "failure.html",
        "failure.pcapng",
    ]


def test_report_with_output_and_title_options_sets_file_and_title(tunlab, recording, tmp_path):
    other = tmp_path / "other.html"
    assert tunlab("report", str(recording), "-o", str(other), "--title", "run 5").err == f"wrote {other}\n"
    assert "<title>run 5</title>" in other.read_text()


def test_report_with_output_to_dash_prints_the_page(tunlab, recording):
    result = tunlab("report", str(recording), "-o", "-")
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith("<!doctype html>")
    assert not recording.with_suffix(".html").exists()


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["--protocol", "icmp6"], ["IP6 fd00::1 > fd00::2: ICMPv6"]),
        (["--protocol", "arp"], ["ARP who has 10.1.2.3? tell 10.1.2.1"]),
        (
            ["--address", "fd00::1"],
            ["IP6 fd00::1 > fd00::2: ICMPv6", "vlan 7, IP6 fd00::2.1 > fd00::1.2: UDP, length 0"],
        ),
    ],
)
def test_report_with_filter_options_has_only_matching_packets(tunlab, tmp_path, options, shown):
    file = tmp_path / "frames.pcapng"
    link, six = Ethernet(dst="02:00:00:00:00:02", src="02:00:00:00:00:01"), IPv6(src="fd00::1", dst="fd00::2")
    frames = [
        build(link, six, ICMPv6.echo_request(1, 1)),
        build(link, ARP(sender_protocol="10.1.2.1", target_protocol="10.1.2.3")),
        build(link, VLAN(vid=7), six.replace(src="fd00::2", dst="fd00::1"), UDP(1, 2)),
        build(link, IPv4(src="10.1.2.1", dst="10.1.2.3"), UDP(1, 2)),
    ]
    with PcapngWriter.create(file) as writer:
        interface = writer.add_interface("eth0", linktype=LINKTYPE_ETHERNET)
        for frame in frames:
            writer.write(interface, frame, time_ns=1, direction="in", comment="kept")
    assert tunlab("report", str(file), *options).status == 0
    page = html.unescape(file.with_suffix(".html").read_text())
    packets = json.loads(re.search(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)[1])[
        "packets"
    ]
    assert len(packets) == len(shown)
    for packet, text in zip(packets, shown, strict=True):
        assert text in str(packet)


def test_report_with_filter_that_matches_no_packet_exits_65(tunlab, recording):
    result = tunlab("report", str(recording), "--protocol", "arp")
    assert (result.status, result.out) == (65, "")
    assert result.err.endswith("no packet matches --protocol and --address. Omit them to see all packets\n")
    assert not recording.with_suffix(".html").exists()


def test_report_replaces_an_existing_page_and_keeps_its_file_mode(tunlab, recording):
    page = recording.with_suffix(".html")
    tunlab("report", str(recording), "--title", "first")
    page.chmod(0o640)
    assert tunlab("report", str(recording), "--title", "second").status == 0
    assert "<title>second</title>" in page.read_text()
    assert stat.S_IMODE(page.stat().st_mode) == 0o640


def test_report_creates_the_page_with_the_default_file_mode(tunlab, recording, tmp_path):
    tunlab("report", str(recording))
    (tmp_path / "new").touch()
    assert recording.with_suffix(".html").stat().st_mode == (tmp_path / "new").stat().st_mode


def test_report_of_an_html_page_exits_73(tunlab, recording):
    tunlab("report", str(recording))
    page = recording.with_suffix(".html")
    result = tunlab("report", str(page))
    assert result.status == 73
    assert result.err == (
        f"tunlab: {page} is a page, not a recording."
        " Open the page in a browser, or give its recording, failure.pcapng.\n"
    )


@pytest.mark.parametrize("content", ["<!doctype html>\n<title>mine</title>", ""])
def test_report_without_force_option_keeps_a_file_of_another_program(tunlab, recording, content):
    page = recording.with_suffix(".html")
    page.write_text(content)
    result = tunlab("report", str(recording))
    assert (result.status, page.read_text()) == (73, content)
    assert result.err == (
        f"tunlab: {page} exists and is not a page of tunlab. Give another file with -o, or replace it with --force.\n"
    )
    assert tunlab("report", str(recording), "--force").status == 0
    assert MARK in page.read_text()


def test_report_with_output_to_the_recording_itself_exits_73(tunlab, recording):
    result = tunlab("report", str(recording), "-o", str(recording), "--force")
    assert (result.status, recording.read_bytes()) == (73, session())
    assert result.err == f"tunlab: {recording} is the recording itself. Give another file with -o.\n"


def test_report_with_output_to_a_pipe_writes_the_whole_page(command, recording):
    result = command("report", str(recording), "-o", "/dev/stdout")
    assert result.status == 0
    assert result.out.rstrip().endswith("</html>")


@pytest.mark.parametrize(
    ("name", "status", "sentence"),
    [
        ("absent.pcapng", 71, "read {}: No such file or directory (ENOENT). Check the path."),
        (".", 71, "read {}: Is a directory (EISDIR). Give a pcapng or pcap file."),
    ],
)
def test_report_of_an_unreadable_file_exits_71(tunlab, tmp_path, name, status, sentence):
    file = tmp_path / name
    assert tunlab("report", str(file)) == (status, "", f"tunlab: {sentence.format(file)}\n")


def test_report_of_an_invalid_recording_exits_65(tunlab, tmp_path):
    file = tmp_path / "x.pcapng"
    file.write_text("no recording")
    result = tunlab("report", str(file))
    assert result.status == 65
    assert result.err.startswith(f"tunlab: {file}: recording.magic")
    assert not file.with_suffix(".html").exists()


def test_report_with_output_to_a_directory_exits_71(tunlab, recording, tmp_path):
    result = tunlab("report", str(recording), "-o", str(tmp_path))
    assert (result.status, result.err) == (
        71, f"tunlab: write {tmp_path}: Is a directory (EISDIR). Name a file, not a directory.\n",
    )  # fmt: skip


def test_report_of_a_truncated_recording_writes_a_page_and_exits_65(tunlab, recording):
    recording.write_bytes(session()[:-20])
    result = tunlab("report", str(recording))
    assert result.status == 65
    written, fault = result.err.splitlines()
    assert written == f"wrote {recording.with_suffix('.html')}"
    assert fault.startswith(f"tunlab: {recording}: the pcapng file ends inside the block")
    assert "7 packets" in recording.with_suffix(".html").read_text()


def test_report_with_open_option_starts_the_browser(command, environment, recording, tmp_path):
    opened = tmp_path / "opened"
    script = tmp_path / "browser"
    script.write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}\n')
    script.chmod(0o755)
    result = command("report", str(recording), "--open", env={**environment, "BROWSER": f"{script} %s"})
    assert (result.status, opened.read_text()) == (0, recording.with_suffix(".html").as_uri())


def test_report_with_open_option_but_without_browser_prints_the_url(command, environment, recording, tmp_path):
    nowhere = {**environment, "PATH": str(tmp_path), "BROWSER": "", "DISPLAY": ""}
    result = command("report", str(recording), "--open", env=nowhere)
    assert result.status == 1
    assert f"no browser found. Open this page: {recording.with_suffix('.html').as_uri()}" in result.err


def test_report_with_open_option_and_output_to_stdout_exits_2(tunlab, recording):
    assert tunlab("report", str(recording), "-o", "-", "--open").status == 2


def test_report_without_capabilities_exits_0(command, recording, without_capabilities):
    assert command("report", str(recording), prefix=without_capabilities).status == 0
