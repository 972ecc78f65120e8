"""`tunlab report`: the page beside the recording, and what it does not overwrite."""

import stat

import pytest

from tests.report.recordings import session
from tunlab.report.page import MARK


@pytest.fixture
def recording(tmp_path):
    file = tmp_path / "failure.pcapng"
    file.write_bytes(session())
    return file


def test_the_page_stands_beside_the_recording(tunlab, recording):
    assert tunlab("report", str(recording)) == (0, "", f"{recording.with_suffix('.html')} is written\n")
    page = recording.with_suffix(".html").read_text()
    assert MARK in page
    assert "<title>failure.pcapng</title>" in page
    assert sorted(each.name for each in recording.parent.iterdir() if each.is_file()) == [
        "failure.html",
        "failure.pcapng",
    ]


def test_it_says_where_else_and_what_it_is_called(tunlab, recording, tmp_path):
    other = tmp_path / "other.html"
    assert tunlab("report", str(recording), "-o", str(other), "--title", "run 5").err == f"{other} is written\n"
    assert "<title>run 5</title>" in other.read_text()


def test_to_standard_output(tunlab, recording):
    said = tunlab("report", str(recording), "-o", "-")
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith("<!doctype html>")
    assert not recording.with_suffix(".html").exists()


def test_an_earlier_page_is_replaced_and_keeps_its_mode(tunlab, recording):
    page = recording.with_suffix(".html")
    tunlab("report", str(recording), "--title", "first")
    page.chmod(0o640)
    assert tunlab("report", str(recording), "--title", "second").status == 0
    assert "<title>second</title>" in page.read_text()
    assert stat.S_IMODE(page.stat().st_mode) == 0o640


def test_a_new_page_has_the_mode_of_any_new_file(tunlab, recording, tmp_path):
    tunlab("report", str(recording))
    (tmp_path / "new").touch()
    assert recording.with_suffix(".html").stat().st_mode == (tmp_path / "new").stat().st_mode


def test_a_page_in_the_recordings_place_is_called_one(tunlab, recording):
    tunlab("report", str(recording))
    page = recording.with_suffix(".html")
    said = tunlab("report", str(page))
    assert said.status == 73
    assert said.err == (
        f"tunlab: {page} is a page already, and no recording;"
        " open it in a browser, or give the recording beside it: failure.pcapng\n"
    )


@pytest.mark.parametrize("content", ["<!doctype html>\n<title>mine</title>", ""])
def test_what_is_not_its_own_is_not_overwritten(tunlab, recording, content):
    page = recording.with_suffix(".html")
    page.write_text(content)
    said = tunlab("report", str(recording))
    assert (said.status, page.read_text()) == (73, content)
    assert said.err == (
        f"tunlab: {page} is there already, and is no page of tunlab's;"
        " give another name with -o, or --force to replace it\n"
    )
    assert tunlab("report", str(recording), "--force").status == 0
    assert MARK in page.read_text()


def test_the_recording_is_never_overwritten(tunlab, recording):
    said = tunlab("report", str(recording), "-o", str(recording), "--force")
    assert (said.status, recording.read_bytes()) == (73, session())
    assert said.err == f"tunlab: {recording} is the recording itself; give another file with -o\n"


def test_a_pipe_is_written_into(command, recording):
    said = command("report", str(recording), "-o", "/dev/stdout")
    assert said.status == 0
    assert said.out.rstrip().endswith("</html>")


@pytest.mark.parametrize(
    ("name", "status", "sentence"),
    [
        ("absent.pcapng", 71, "read {}: No such file or directory (ENOENT); check the path"),
        (".", 71, "read {}: Is a directory (EISDIR); give a pcapng or pcap file"),
    ],
)
def test_a_file_that_cannot_be_read(tunlab, tmp_path, name, status, sentence):
    file = tmp_path / name
    assert tunlab("report", str(file)) == (status, "", f"tunlab: {sentence.format(file)}\n")


def test_a_file_that_is_no_recording(tunlab, tmp_path):
    file = tmp_path / "x.pcapng"
    file.write_text("no recording")
    said = tunlab("report", str(file))
    assert said.status == 65
    assert said.err.startswith(f"tunlab: {file}: recording.magic")
    assert not file.with_suffix(".html").exists()


def test_a_directory_cannot_be_written(tunlab, recording, tmp_path):
    said = tunlab("report", str(recording), "-o", str(tmp_path))
    assert (said.status, said.err) == (
        71, f"tunlab: write {tmp_path}: Is a directory (EISDIR); name a file, not a directory\n",
    )  # fmt: skip


def test_what_stands_before_a_fault_is_written_and_the_fault_is_told(tunlab, recording):
    recording.write_bytes(session()[:-20])
    said = tunlab("report", str(recording))
    assert said.status == 65
    written, fault = said.err.splitlines()
    assert written == f"{recording.with_suffix('.html')} is written"
    assert fault.startswith(f"tunlab: {recording}: the pcapng file ends inside the block")
    assert "7 packets" in recording.with_suffix(".html").read_text()


def test_it_is_opened_in_the_users_browser(command, environment, recording, tmp_path):
    asked = tmp_path / "asked"
    script = tmp_path / "browser"
    script.write_text(f'#!/bin/sh\nprintf %s "$1" > {asked}\n')
    script.chmod(0o755)
    said = command("report", str(recording), "--open", env={**environment, "BROWSER": f"{script} %s"})
    assert (said.status, asked.read_text()) == (0, recording.with_suffix(".html").as_uri())


def test_without_a_browser_it_says_where_to_look(command, environment, recording, tmp_path):
    nowhere = {**environment, "PATH": str(tmp_path), "BROWSER": "", "DISPLAY": ""}
    said = command("report", str(recording), "--open", env=nowhere)
    assert said.status == 1
    assert (
        f"no browser was found on this machine; open it in one: {recording.with_suffix('.html').as_uri()}" in said.err
    )


def test_standard_output_cannot_be_opened(tunlab, recording):
    assert tunlab("report", str(recording), "-o", "-", "--open").status == 2


def test_it_needs_no_right(command, recording, without_capabilities):
    assert command("report", str(recording), prefix=without_capabilities).status == 0
