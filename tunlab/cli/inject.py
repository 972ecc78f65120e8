"""`tunlab inject`: datagrams into a lab."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tunlab.errors import PacketError


@click.command("inject", short_help="Hand a lab's kernel datagrams.")
@click.argument("source", metavar="HEX|FILE|-")
@click.option("--lab", "target", default="", metavar="LAB|NODE|LAB/NODE", help="Which; not needed if one is up.")
@click.option("-i", "--interface", "ifname", default="", metavar="NAME", help="Which TUN of the node.  [its first]")
@click.option("--to-reader", is_flag=True, help="Put them before the program that reads the TUN instead.")
@click.option("--as-is", is_flag=True, help="Also octets that begin with no IPv4 header.")
def inject_command(source: str, target: str, ifname: str, to_reader: bool, as_is: bool) -> None:
    """Hand the kernel of a lab datagrams as received on its TUN; malformed ones too.

    HEX is one datagram, FILE a recording (pcapng or pcap), and - reads either from standard input, hexadecimal with a
    datagram a line. What the kernel sends in answer goes to the TUN's reader; if there is none, it is shown here.

    While a program that is no tunlab holds the TUN, only that can write to it, and inject is refused; with --to-reader
    the octets go to that program instead, as if the kernel had sent them.

    Example: tunlab inject "45 00 00 1c 00 00 00 00 40 01 62 dc 0a 01 02 03 0a 01 02 01 08 00 f7 fe 00 00 00 01"
    """
    from tunlab.errors import LabError
    from tunlab.lab import resolve
    from tunlab.lab.tun.inject import inject
    from tunlab.packet import summary

    datagrams, fault = _datagrams(source)
    if not as_is and not to_reader:
        _check(datagrams)
    lab, node = resolve(target, naming="--lab")
    tuns = [each.ifname for each in lab.plan.node(node).interfaces if each.link < 0]
    if not tuns or ifname not in ("", *tuns):
        what = f"no TUN {ifname!r}; it has: {', '.join(tuns)}" if tuns else "no TUN, and datagrams come in by one only"
        raise LabError(lab.name, f"node {node} of lab {lab.name!r} has {what}")
    answers = inject(lab, datagrams, node=node, ifname=ifname, to_reader=to_reader)
    for octets in datagrams:
        click.echo(f"injected: {summary(octets)}")
    for octets in answers:
        click.echo(f"answered: {summary(octets)}")
    if fault is not None:
        raise fault


def _check(datagrams: list[bytes]) -> None:
    """Raises PacketError for what begins with no IPv4 header: it is more often a slip than meant."""
    from tunlab.errors import PacketError
    from tunlab.packet import parse

    for number, octets in enumerate(datagrams, 1):
        try:
            parse(octets)
        except PacketError as error:
            which = f"datagram {number} of {len(datagrams)}" if len(datagrams) > 1 else "that"
            raise PacketError(f"{which} is no IPv4 datagram: {error}; --as-is injects it all the same") from None


def _datagrams(source: str) -> tuple[list[bytes], PacketError | None]:
    """What is to be injected, at least one datagram, and what is wrong with the recording behind it.

    Raises PacketError, or KernelError for a file.
    """
    from tunlab.cli.hex_input import looks_hexadecimal, parse_hex
    from tunlab.errors import PacketError

    if source == "-":
        given = sys.stdin.buffer.read()
        if b"\0" in given:  # no text: a recording
            return _recorded(given, "standard input")
        lines = enumerate(given.decode("ascii", "replace").splitlines(), 1)
        datagrams = [parse_hex(line, f"line {number}") for number, line in lines if line.strip()]
    elif not source.strip():
        datagrams = []
    elif looks_hexadecimal(source) or not (Path(source).exists() or "." in source or "/" in source):
        datagrams = [parse_hex(source, f"{source!r}")]
    else:
        return _recorded(source, source)
    if not all(datagrams) or not datagrams:
        what = "standard input" if source == "-" else repr(source)
        raise PacketError(f"there is no octet in {what}; give a datagram in hexadecimal, a pcapng file, or - for lines")
    return datagrams, None


def _recorded(source: str | bytes, file: str) -> tuple[list[bytes], PacketError | None]:
    from tunlab.errors import PacketError
    from tunlab.recorder import Record, datagram, read_pcapng

    records, fault = list[Record](), None
    try:
        records.extend(read_pcapng(source))  # what stands before a fault is kept
    except PacketError as error:
        error.file, fault = file, error
    found, passed_over = list[bytes](), list[int]()
    for number, record in enumerate(records, 1):
        octets = datagram(record)
        if octets is None:
            passed_over.append(record.interface.linktype)
        elif record.wire_length > len(record.octets):
            raise PacketError(
                f"packet {number} of {file} was cut when it was recorded: it had {record.wire_length} octets, and"
                f" {len(record.octets)} were kept; record it whole"
            )
        else:
            found.append(octets)
    count, links = len(passed_over), ", ".join(map(str, sorted(set(passed_over))))
    if not found and fault is not None:
        raise fault
    if not found:
        why = f"none of the {count} packets of {file} holds an IPv4 datagram (link type {links})"
        raise PacketError(f"{why if count else f'there is no packet in {file}'}; give a recording of IPv4")
    if passed_over:
        holds = "holds" if count == 1 else "hold"
        click.echo(
            f"{count} of {len(records)} packets of {file} {holds} no IPv4 datagram (link type {links}): passed over",
            err=True,
        )
    return found, fault
