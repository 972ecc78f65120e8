"""`tunlab inject`: datagrams into a lab."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.command("inject", short_help="Hand a lab's kernel datagrams.")
@click.argument("source", metavar="HEX|FILE|-")
@click.option("--lab", "target", default="", metavar="LAB|NODE|LAB/NODE", help="Which; not needed if one is up.")
@click.option("-i", "--interface", "ifname", default="", metavar="NAME", help="Which TUN of the node.  [its first]")
@click.option("--to-reader", is_flag=True, help="Put them before the program that reads the TUN instead.")
def inject_command(source: str, target: str, ifname: str, to_reader: bool) -> None:
    """Hand the kernel of a lab datagrams as received on its TUN; malformed ones too.

    HEX is one datagram, FILE a recording (pcapng or pcap), and - reads either from standard input, hexadecimal with a
    datagram a line. What the kernel sends in answer goes to the TUN's reader; if there is none, it is shown here.

    Example: tunlab inject "45 00 00 1c 00 00 00 00 40 01 62 dc 0a 01 02 03 0a 01 02 01 08 00 f7 fe 00 00 00 01"
    """
    from tunlab.errors import LabError
    from tunlab.lab import resolve
    from tunlab.lab.injection import inject
    from tunlab.packet import summary

    datagrams = _datagrams(source)
    lab, node = resolve(target)
    tuns = [each.ifname for each in lab.plan.node(node).interfaces if each.link < 0]
    if not tuns or ifname not in ("", *tuns):
        what = f"no TUN {ifname!r}; it has: {', '.join(tuns)}" if tuns else "no TUN, and datagrams come in by one only"
        raise LabError(lab.name, f"node {node} of lab {lab.name!r} has {what}")
    answers = inject(lab, datagrams, node=node, ifname=ifname, to_reader=to_reader)
    for octets in datagrams:
        click.echo(f"injected: {summary(octets)}")
    for octets in answers:
        click.echo(f"answered: {summary(octets)}")


def _datagrams(source: str) -> list[bytes]:
    """What is to be injected, at least one datagram. Raises PacketError, or KernelError for a file."""
    from tunlab.cli.octets import looks_hexadecimal, parse_hex
    from tunlab.errors import PacketError

    if source == "-":
        given = sys.stdin.buffer.read()
        if b"\0" in given:  # no text: a recording
            datagrams = list(_recorded(given, "standard input"))
        else:
            lines = enumerate(given.decode("ascii", "replace").splitlines(), 1)
            datagrams = [parse_hex(line, f"line {number}") for number, line in lines if line.strip()]
    elif not source.strip():
        datagrams = []
    elif looks_hexadecimal(source) or not (Path(source).exists() or "." in source or "/" in source):
        datagrams = [parse_hex(source, f"{source!r}")]
    else:
        datagrams = list(_recorded(source, source))
    if not all(datagrams) or not datagrams:
        what = "standard input" if source == "-" else repr(source)
        raise PacketError(f"there is no octet in {what}; give a datagram in hexadecimal, a pcapng file, or - for lines")
    return datagrams


def _recorded(source: str | bytes, file: str) -> Iterator[bytes]:
    from tunlab.errors import PacketError
    from tunlab.recorder import datagram, read_pcapng

    try:
        records = list(read_pcapng(source))
    except PacketError as error:
        raise PacketError(f"{file}: {error}") from None
    for number, record in enumerate(records, 1):
        octets = datagram(record)
        if octets is None:
            click.echo(f"packet {number} of {file} holds no IP datagram: passed over", err=True)
        elif record.wire_length > len(record.octets):
            raise PacketError(
                f"packet {number} of {file} was cut when it was recorded: it had {record.wire_length} octets, and"
                f" {len(record.octets)} were kept; record it whole"
            )
        else:
            yield octets
