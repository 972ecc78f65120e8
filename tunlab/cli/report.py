"""`tunlab report`: a recording as one HTML file."""

from __future__ import annotations

from pathlib import Path

import click

_HEAD = 400
"""Octets of a file in which a page of ours has its mark."""


@click.command("report", short_help="Write a recording as a page for the browser.")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, allow_dash=True), metavar="HTML",
    help="Where to; - is standard output.  [FILE with .html]",
)  # fmt: skip
@click.option("--title", metavar="TEXT", help="What it is called.  [the file's name]")
@click.option("--force", is_flag=True, help="Overwrite what is no page of tunlab's, too.")
@click.option("--open", "browse", is_flag=True, help="Show it in your browser.")
def report_command(file: Path, output: Path | None, title: str | None, force: bool, browse: bool) -> None:
    """Write any recording (pcapng or pcap) as one HTML file that needs no network and nothing else beside it.

    It shows the ladder of packets between their ends, every field and every octet, which light together, and holds the
    recording itself. By default it stands beside the recording; an earlier page is replaced, any other file is not.

    Example: tunlab report failure.pcapng --open
    """
    from tunlab.errors import PacketError
    from tunlab.recorder import read_pcapng
    from tunlab.report.page import render

    to_stdout = output is not None and str(output) == "-"
    if to_stdout and browse:
        raise click.UsageError("--open needs a file: leave out -o -")
    recording = _read(file)
    _check_source(recording, file)
    target = output if output is not None else file.with_suffix(".html")
    if not to_stdout:
        _check(target, file, force)
    try:
        page = render(recording, title=title or file.name)
    except PacketError as error:
        error.file = str(file)
        raise
    if to_stdout:
        click.echo(page, nl=False)
    else:
        _write(target, page)
        click.echo(f"{target} is written", err=True)
    if browse:
        _browse(target)
    try:
        for _ in read_pcapng(recording):
            pass
    except PacketError as error:  # the page shows what stands before the fault; who asked for it is told as well
        error.file = str(file)
        raise


def _read(file: Path) -> bytes:
    from tunlab.errors import KernelError

    try:
        return file.read_bytes()
    except OSError as error:
        remedy = "check the path" if isinstance(error, FileNotFoundError) else "give a pcapng or pcap file"
        raise KernelError(error.errno or 0, f"read {file}", reason=error.strerror or "", remedy=remedy) from error


def _check_source(octets: bytes, file: Path) -> None:
    """Nothing, if it is no page: whoever has many files of both kinds beside each other may name the wrong one."""
    from tunlab.errors import LabError
    from tunlab.report.page import MARK

    if MARK.encode() in octets[:_HEAD]:
        remedy = f"open it in a browser, or give the recording beside it: {file.with_suffix('.pcapng').name}"
        raise LabError("", f"{file} is a page already, and no recording", remedy=remedy)


def _check(target: Path, source: Path, force: bool) -> None:
    """Nothing, if the file is not there, is a device or a pipe, or is a page that `tunlab report` has written."""
    from tunlab.errors import LabError
    from tunlab.report.page import MARK

    if target.exists() and source.exists() and target.samefile(source):
        raise LabError("", f"{target} is the recording itself", remedy="give another file with -o")
    if force or not target.is_file():
        return
    with target.open("rb") as there:
        if MARK.encode() in there.read(_HEAD):
            return
    remedy = "give another name with -o, or --force to replace it"
    raise LabError("", f"{target} is there already, and is no page of tunlab's", remedy=remedy)


def _write(target: Path, page: str) -> None:
    """All of it or nothing: a reader never sees half a page."""
    import os
    import tempfile

    from tunlab.errors import KernelError

    octets = page.encode()
    try:
        if target.exists() and not target.is_file():
            target.write_bytes(octets)  # a pipe, a terminal; a directory is refused by the system
            return
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(octets)
                os.fchmod(opened.fileno(), mode)
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        remedy = "name a file, not a directory" if isinstance(error, IsADirectoryError) else ""
        raise KernelError(error.errno or 0, f"write {target}", reason=error.strerror or "", remedy=remedy) from error


def _umask() -> int:
    import os

    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _browse(target: Path) -> None:
    import webbrowser

    address = target.resolve().as_uri()
    if not webbrowser.open(address):
        click.echo(f"tunlab: no browser was found on this machine; open it in one: {address}", err=True)
        raise click.exceptions.Exit(1)
