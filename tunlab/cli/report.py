"""`tunlab report`: write a recording as an HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tunlab.cli.filter_options import address_option, protocol_option

if TYPE_CHECKING:
    from tunlab.cli.packet_filter import IPNetwork, Protocol

_HEAD_SIZE = 400
"""Bytes at the start of a file that are searched for the mark of tunlab's pages."""


@click.command("report", short_help="Write a recording as an HTML page.")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, allow_dash=True), metavar="HTML",
    help="Output file; - is standard output.  [default: FILE with suffix .html]",
)  # fmt: skip
@protocol_option
@address_option
@click.option("--title", metavar="TEXT", help="Title of the page.  [default: the file's name]")
@click.option("--force", is_flag=True, help="Overwrite the output file even if it is not a page of tunlab.")
@click.option("--open", "browse", is_flag=True, help="Open the page in your browser.")
def report_command(
    file: Path,
    output: Path | None,
    protocol: Protocol | None,
    address: IPNetwork | None,
    title: str | None,
    force: bool,
    browse: bool,
) -> None:
    """Write a recording (pcapng or pcap) as one self-contained HTML file.

    The page shows the packets as a ladder diagram, with every field and byte, and contains the recording itself. An
    existing page of tunlab is replaced; any other existing file is an error. With --protocol or --address, the page has
    only the packets that match.

    Example: tunlab report failure.pcapng --open
    """
    from tunlab.errors import PacketError
    from tunlab.recorder import read_pcapng
    from tunlab.report.page import render

    to_stdout = output is not None and str(output) == "-"
    if to_stdout and browse:
        raise click.UsageError("--open needs a file, but `-o -` writes to standard output. Omit `-o -`.")
    recording = _read(file)
    _check_source(recording, file)
    target = output if output is not None else file.with_suffix(".html")
    if not to_stdout:
        _check_target(target, file, force)
    try:
        selected = recording if protocol is None and address is None else _select(recording, protocol, address)
        page = render(selected, title=title or file.name)
    except PacketError as error:
        error.file = str(file)
        raise
    if to_stdout:
        click.echo(page, nl=False)
    else:
        _write(target, page)
        click.echo(f"wrote {target}", err=True)
    if browse:
        _browse(target)
    try:
        for _ in read_pcapng(recording):
            pass
    except PacketError as error:  # the recording is damaged; the page has the packets before the damage
        error.file = str(file)
        raise


def _select(recording: bytes, protocol: Protocol | None, address: IPNetwork | None) -> bytes:
    """Return a recording of the packets that match.

    Raises:
        PacketError: No packet matches.
    """
    from contextlib import suppress
    from io import BytesIO

    from tunlab.cli.packet_filter import PacketFilter
    from tunlab.errors import PacketError
    from tunlab.recorder import PcapngWriter, RecordedInterface, parse_record, read_pcapng

    packet_filter = PacketFilter(everything=True, protocol=protocol, address=address)
    interfaces, file = dict[RecordedInterface, int](), BytesIO()
    writer = PcapngWriter(file)
    with suppress(PacketError):  # report_command raises the error of a damaged file later
        for record in read_pcapng(recording):
            try:
                packet = parse_record(record)
            except PacketError:
                continue
            if not packet_filter.matches(packet):
                continue
            interface = record.interface
            if interface not in interfaces:
                interfaces[interface] = writer.add_interface(
                    interface.name,
                    linktype=interface.linktype,
                    snaplen=interface.snaplen,
                    description=interface.description,
                )
            writer.write(
                interfaces[interface],
                record.data,
                time_ns=record.time_ns or 0,
                direction=record.direction,
                comment=record.comment,
                wire_length=record.wire_length,
                dropped=record.dropped,
                annotation=record.annotation,
            )
    if not interfaces:
        raise PacketError("no packet matches --protocol and --address. Omit them to see all packets")
    return file.getvalue()


def _read(file: Path) -> bytes:
    from tunlab.errors import KernelError

    try:
        return file.read_bytes()
    except OSError as error:
        remedy = "check the path" if isinstance(error, FileNotFoundError) else "give a pcapng or pcap file"
        raise KernelError(error.errno or 0, f"read {file}", reason=error.strerror or "", remedy=remedy) from error


def _check_source(content: bytes, file: Path) -> None:
    """Raise LabError if the file is an HTML page instead of the recording, which is beside it with a similar name."""
    from tunlab.errors import LabError
    from tunlab.report.page import MARK

    if MARK.encode() in content[:_HEAD_SIZE]:
        remedy = f"open the page in a browser, or give its recording, {file.with_suffix('.pcapng').name}"
        raise LabError("", f"{file} is a page, not a recording", remedy=remedy)


def _check_target(target: Path, source: Path, force: bool) -> None:
    """Raise LabError if writing the page would destroy a file that `tunlab report` did not write."""
    from tunlab.errors import LabError
    from tunlab.report.page import MARK

    if target.exists() and source.exists() and target.samefile(source):
        raise LabError("", f"{target} is the recording itself", remedy="give another file with -o")
    if force or not target.is_file():
        return
    with target.open("rb") as existing:
        if MARK.encode() in existing.read(_HEAD_SIZE):
            return
    remedy = "give another file with -o, or replace it with --force"
    raise LabError("", f"{target} exists and is not a page of tunlab", remedy=remedy)


def _write(target: Path, page: str) -> None:
    """Write the page to a temporary file and rename it, so that no reader sees an incomplete page."""
    import os
    import tempfile

    from tunlab.errors import KernelError

    content = page.encode()
    try:
        if target.exists() and not target.is_file():
            target.write_bytes(content)  # pipes and terminals cannot be replaced; directories raise OSError
            return
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(content)
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
        click.echo(f"tunlab: no browser found. Open this page: {address}", err=True)
        raise click.exceptions.Exit(1)
