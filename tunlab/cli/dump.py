"""`tunlab dump`: the reader."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ipaddress import IPv4Network

    from tunlab.cli.signals import SignalPipe
    from tunlab.cli.sniffer import Sniffer
    from tunlab.lab import Lab
    from tunlab.lab.persistent.down_watcher import DownWatcher
    from tunlab.lab.tun.reader import Reader
    from tunlab.traffic import Crossing


def _parsed(parser: str) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """An option's callback: its value as that function of tunlab.cli.packet_filter reads it."""

    def parse(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Any:
        if value is None:
            return None
        from tunlab.cli import packet_filter

        try:
            return getattr(packet_filter, parser)(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, parameter) from None

    return parse


@click.command("dump", short_help="Show what crosses a lab's TUN, or a link.")
@click.argument("target", required=False, default="", metavar="[LAB|NODE|LAB/NODE]")
@click.option("-i", "--interface", "ifname", metavar="NAME", help="Of the node.  [default: its TUN, else its first]")
@click.option("-c", "--count", type=click.IntRange(1), metavar="N", help="End after N packets.")
@click.option("--timeout", type=click.FloatRange(0), metavar="SECONDS", help="End after so long.")
@click.option("-a", "--all", "everything", is_flag=True, help="UDP too, and what is no IPv4.")
@click.option("--protocol", callback=_parsed("parse_protocol"), metavar="P", help="icmp, igmp, tcp, udp, a number.")
@click.option("--address", callback=_parsed("parse_network"), metavar="A", help="Either end: an address or a network.")
@click.option("--src", callback=_parsed("parse_network"), metavar="A", help="The source.")
@click.option("--dst", callback=_parsed("parse_network"), metavar="A", help="The destination.")
@click.option("--port", type=click.IntRange(0, 65535), metavar="PORT", help="Either end, of TCP or UDP.")
@click.option("--json", "as_json", is_flag=True, help="An object a line, with all fields and the octets.")
@click.option("--oneline", is_flag=True, help="A line a packet, as tcpdump has it.")
@click.option("-v", "--verbose", is_flag=True, help="Every field, the verdicts on the checksums, the options.")
@click.option("-w", "--write", "file", type=click.Path(path_type=Path), metavar="FILE", help="Record it too (pcapng).")
def dump_command(
    target: str,
    ifname: str | None,
    count: int | None,
    timeout: float | None,
    everything: bool,
    protocol: int | None,
    address: IPv4Network | None,
    src: IPv4Network | None,
    dst: IPv4Network | None,
    port: int | None,
    as_json: bool,
    oneline: bool,
    verbose: bool,
    file: Path | None,
) -> None:
    """Show what crosses the TUN of a lab, or any interface of a node, parsed and in hexadecimal, until Ctrl-C.

    LAB may be left out if only one is up. By default IPv4 that is not UDP. If another program is attached to the TUN,
    dump watches beside it; else it is the TUN's other end itself, and answers nothing. On a link it is nobody's end,
    and "out" is what the node sends.

    Example: tunlab dump lab --protocol tcp --port 80 --verbose --write syn.pcapng
    """
    from tunlab.cli import packet_format
    from tunlab.cli.packet_filter import PacketFilter
    from tunlab.cli.signals import SignalPipe
    from tunlab.lab import resolve
    from tunlab.lab.persistent.down_watcher import DownWatcher

    if as_json and oneline:
        raise click.UsageError("--json and --oneline are two forms of the same packet: give one of them")
    chosen = PacketFilter(everything, protocol, address, src, dst, port)
    lab, node = resolve(target, naming="tunlab dump")
    with ExitStack() as stack:
        signals, ending = stack.enter_context(SignalPipe()), stack.enter_context(DownWatcher(lab))
        record = _recorder(stack, file, ifname or lab.ifname_of(node))
        reader, where = _source(stack, lab, node, ifname)
        # Said only now that nothing sent from here on is missed: people and programs wait for it.
        click.echo(f"listening on {where}", err=True)

        def show(crossing: Crossing) -> None:
            record(crossing)
            if as_json:
                click.echo(packet_format.to_json(crossing))
            elif oneline:
                click.echo(packet_format.to_line(crossing))
            else:
                click.echo(packet_format.to_listing(crossing, verbose=verbose))

        shown = _follow(reader, signals, ending, count, timeout, lambda crossing: chosen.matches(crossing.packet), show)
    click.echo(f"{shown} packet{'s' * (shown != 1)} shown", err=True)
    if count is not None and shown < count and signals.number is None:
        click.echo(f"tunlab: {count} were wanted, and {timeout:g} s have passed", err=True)
        raise click.exceptions.Exit(1)


def _source(stack: ExitStack, lab: Lab, node: str, ifname: str | None) -> tuple[Reader | Sniffer, str]:
    """What is read, and which it is, in words."""
    from tunlab.cli.sniffer import Sniffer
    from tunlab.lab.tun.reader import Reader

    planned = lab.plan.node(node)
    place = f"in lab {lab.name}" if len(lab.plan.nodes) == 1 else f"in node {node} of lab {lab.name}"
    ifname = ifname or lab.ifname_of(node)
    if any(each.ifname == ifname and each.link < 0 for each in planned.interfaces):
        reader = stack.enter_context(Reader(lab, node, ifname))
        beside = "" if reader.attached else ", beside the program that is attached to it"
        return reader, f"{ifname} {place}{beside}"
    with lab.netns(node) as netns:
        tap = stack.enter_context(Sniffer(netns, ifname, f"lab {lab.name}/{node}"))
    return tap, f"{ifname} {place}"


def _recorder(stack: ExitStack, file: Path | None, ifname: str) -> Callable[[Crossing], None]:
    if file is None:
        return lambda _: None
    from tunlab.recorder import PcapngWriter

    writer = stack.enter_context(PcapngWriter.create(file))
    interface = writer.add_interface(ifname)
    return lambda crossing: writer.write(
        interface, crossing.octets, time_ns=crossing.time_ns, direction=crossing.direction
    )


def _follow(
    reader: Reader | Sniffer,
    signals: SignalPipe,
    ending: DownWatcher,
    count: int | None,
    timeout: float | None,
    wanted: Callable[[Crossing], bool],
    show: Callable[[Crossing], None],
) -> int:
    """Show what is wanted until `count`, `timeout` seconds, a signal, or the end of who reads us; how many it was.

    Raises LabError when the lab goes: two who look at both ends of a link keep both, and their sockets tell nothing.
    """
    import select
    import time

    from tunlab.lab.persistent.down_watcher import LOOK

    deadline = None if timeout is None else time.monotonic() + timeout
    poll = select.poll()
    for fd in (*reader.filenos(), signals.fileno()):
        poll.register(fd, select.POLLIN)
    output = sys.stdout.fileno()
    poll.register(output, 0)  # an error there: a pipe whose reader has ended
    poll.register(ending, 0)
    shown = 0
    while True:
        for crossing in reader.take():
            if wanted(crossing):
                show(crossing)
                shown += 1
                if shown == count:
                    return shown
        remaining = None if deadline is None else deadline - time.monotonic()
        if signals.number is not None or (remaining is not None and remaining <= 0):
            return shown
        ready = dict(poll.poll((LOOK if remaining is None else min(LOOK, remaining)) * 1000))
        if (ending.fileno() in ready or not ready) and ending.came:
            raise reader.gone()
        if output in ready:
            raise BrokenPipeError(errno.EPIPE, "")
