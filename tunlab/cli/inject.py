"""`tunlab inject`: write packets to a lab's TUN."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tunlab.errors import PacketError


@click.command("inject", short_help="Inject packets into a lab's TUN.")
@click.argument("source", metavar="HEX|FILE|-")
@click.option(
    "--lab",
    "target",
    default="",
    metavar="LAB|NODE|LAB/NODE",
    help="Lab or node.  [default: the only lab that is up]",
)
@click.option(
    "-i",
    "--interface",
    "ifname",
    default="",
    metavar="NAME",
    help="TUN of the node.  [default: the first]",
)
@click.option("--to-reader", is_flag=True, help="Send to the program that has the TUN open instead of to the kernel.")
@click.option("--as-is", is_flag=True, help="Inject bytes that do not start with an IP header, too.")
def inject_command(source: str, target: str, ifname: str, to_reader: bool, as_is: bool) -> None:
    """Inject packets into a lab's TUN, so that its kernel receives them. Malformed packets are allowed.

    HEX is one packet, FILE a pcapng or pcap file. "-" reads either from standard input, hexadecimal with one packet per
    line. The kernel's answers go to the program that has the TUN open; if there is none, inject prints them.

    While a program other than tunlab has the TUN open, only that program can write to it, and inject fails. With
    --to-reader the bytes go to that program, as if the kernel had sent them.

    Example: tunlab inject "45 00 00 1c 00 00 00 00 40 01 62 dc 0a 01 02 03 0a 01 02 01 08 00 f7 fe 00 00 00 01"
    """
    from tunlab.errors import LabError
    from tunlab.lab import resolve
    from tunlab.lab.tun.inject import inject
    from tunlab.packet import summary

    packets, error_at_end = _read_input(source)
    if not as_is and not to_reader:
        _check_ip(packets)
    lab, node = resolve(target, prefix="--lab")
    tuns = [each.ifname for each in lab.plan.node(node).interfaces if each.link < 0]
    if not tuns or ifname not in ("", *tuns):
        problem = f"node {node} of lab {lab.name!r} has no TUN {ifname}".rstrip()
        raise LabError(
            lab.name, problem, remedy=f"its TUNs are {', '.join(tuns)}" if tuns else "choose a node with a TUN"
        )
    answers = inject(lab, packets, node=node, ifname=ifname, to_reader=to_reader)
    for packet in packets:
        click.echo(f"injected: {summary(packet)}")
    for packet in answers:
        click.echo(f"answered: {summary(packet)}")
    if error_at_end is not None:
        raise error_at_end


def _check_ip(packets: list[bytes]) -> None:
    """Raise PacketError for bytes that do not start with an IP header, because they are usually a mistake."""
    from tunlab.errors import PacketError
    from tunlab.packet import parse

    for number, packet in enumerate(packets, 1):
        try:
            parse(packet)
        except PacketError as error:
            name = f"packet {number} of {len(packets)}" if len(packets) > 1 else "the input"
            raise PacketError(
                f"{name} is not an IP packet: {error.problem}. Give --as-is to inject it anyway."
            ) from None


def _read_input(source: str) -> tuple[list[bytes], PacketError | None]:
    """Return the packets to inject, and the error after the last readable packet if a recording is damaged.

    Raises:
        PacketError: There is no packet.
        KernelError: The file cannot be read.
    """
    from tunlab.cli.hex_input import looks_hexadecimal, parse_hex
    from tunlab.errors import PacketError

    if source == "-":
        given = sys.stdin.buffer.read()
        if b"\0" in given:  # a NUL byte shows that the input is a recording, not text
            return _read_recording(given, "standard input")
        lines = enumerate(given.decode("ascii", "replace").splitlines(), 1)
        packets = [parse_hex(line, f"line {number}") for number, line in lines if line.strip()]
    elif not source.strip():
        packets = []
    elif looks_hexadecimal(source) or not (Path(source).exists() or "." in source or "/" in source):
        packets = [parse_hex(source, f"{source!r}")]
    else:
        return _read_recording(source, source)
    if not all(packets) or not packets:
        name = "standard input" if source == "-" else repr(source)
        raise PacketError(f"{name} has no bytes. Give a packet in hexadecimal, a pcapng file, or - for standard input.")
    return packets, None


def _read_recording(source: str | bytes, file: str) -> tuple[list[bytes], PacketError | None]:
    from tunlab.errors import PacketError
    from tunlab.recorder import RecordedPacket, extract_ip, read_pcapng

    records, error_at_end = list[RecordedPacket](), None
    try:
        records.extend(read_pcapng(source))  # if this raises an error, `records` has the packets read so far
    except PacketError as error:
        error.file, error_at_end = file, error
    found, skipped = list[bytes](), list[int]()
    for number, record in enumerate(records, 1):
        packet = extract_ip(record)
        if packet is None:
            skipped.append(record.interface.linktype)
        elif record.wire_length > len(record.data):
            raise PacketError(
                f"packet {number} of {file} was truncated in the capture: the file has {len(record.data)} of its"
                f" {record.wire_length} bytes. Capture without a snapshot length."
            )
        else:
            found.append(packet)
    count, links = len(skipped), ", ".join(map(str, sorted(set(skipped))))
    if not found and error_at_end is not None:
        raise error_at_end
    if not found:
        problem = (
            f"none of the {count} packets in {file} is IP (link type {links})" if count else f"{file} has no packets"
        )
        raise PacketError(f"{problem}. Give a recording with IP packets.")
    if skipped:
        verb = "is" if count == 1 else "are"
        click.echo(
            f"skipped {count} of {len(records)} packets in {file}, which {verb} not IP (link type {links})", err=True
        )
    return found, error_at_end
