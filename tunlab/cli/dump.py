"""`tunlab dump`: show the packets that cross a lab's TUN or any interface of a node."""

from __future__ import annotations

import errno
import select
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tunlab.cli.filter_options import address_option, network_option, protocol_option
from tunlab.cli.seconds import Seconds

if TYPE_CHECKING:
    from tunlab.cli.exec import ChildProcess
    from tunlab.cli.packet_filter import IPNetwork, Protocol
    from tunlab.cli.signals import SignalPipe
    from tunlab.cli.sniffer import Sniffer
    from tunlab.lab import PersistentLab
    from tunlab.lab.persistent.down_watcher import DownWatcher
    from tunlab.lab.tun.reader import Reader
    from tunlab.traffic import TraceEntry


class _DumpCommand(click.Command):
    """A click command that takes the arguments before `--`; those after it are a program to run."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        separator = args.index("--") if "--" in args else len(args)
        ctx.obj = tuple(args[separator + 1 :])
        if separator == len(args) - 1:
            raise click.UsageError("no command after --. Write `tunlab dump LAB -- COMMAND`.", ctx)
        return super().parse_args(ctx, args[:separator])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND…]"]


@click.command("dump", cls=_DumpCommand, short_help="Show the packets on a lab's TUN or a link.")
@click.argument("target", required=False, default="", metavar="[LAB|NODE|LAB/NODE]")
@click.option(
    "-i",
    "--interface",
    "ifname",
    metavar="NAME",
    help="Interface of the node.  [default: its first TUN, else its first]",
)
@click.option("-c", "--count", type=click.IntRange(1), metavar="N", help="Stop after N packets.")
@click.option("--timeout", type=Seconds(0), metavar="SECONDS", help="Stop after this time.")
@click.option("-a", "--all", "everything", is_flag=True, help="Include UDP and packets that are not IPv4.")
@protocol_option
@address_option
@network_option("--src", "Only from this source.")
@network_option("--dst", "Only to this destination.")
@click.option("--port", type=click.IntRange(0, 65535), metavar="PORT", help="Only from or to this TCP or UDP port.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line, with all fields and the bytes.")
@click.option("--oneline", is_flag=True, help="Print one line per packet, as tcpdump does.")
@click.option("-v", "--verbose", is_flag=True, help="Print every field, checksum verdicts and options.")
@click.option(
    "-w",
    "--write",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write the packets to a pcapng file.",
)
@click.pass_obj
def dump_command(
    command: tuple[str, ...],
    target: str,
    ifname: str | None,
    count: int | None,
    timeout: float | None,
    everything: bool,
    protocol: Protocol | None,
    address: IPNetwork | None,
    src: IPNetwork | None,
    dst: IPNetwork | None,
    port: int | None,
    as_json: bool,
    oneline: bool,
    verbose: bool,
    file: Path | None,
) -> None:
    """Show the packets on a lab's TUN, or on any interface of a node, parsed and in hexadecimal, until Ctrl-C.

    With COMMAND, run it in the node as soon as dump listens, show the packets until it ends, and exit with its exit
    code.

    LAB may be omitted if only one lab is up. Without filters, dump shows IPv4 except UDP; with an
    address, port or protocol, IPv6 and UDP too. If another program has the TUN open, dump only observes; otherwise
    dump opens the TUN itself and does not answer packets. On other interfaces dump only observes, and "out" marks
    packets that the node sends.

    Example: tunlab dump lab --oneline -- ping -c 1 10.1.2.3
    """
    from tunlab.cli import packet_format
    from tunlab.cli.exec import ChildProcess
    from tunlab.cli.packet_filter import PacketFilter
    from tunlab.cli.signals import SignalPipe
    from tunlab.lab import resolve
    from tunlab.lab.persistent.down_watcher import DownWatcher

    if as_json and oneline:
        raise click.UsageError("--json and --oneline exclude each other. Give one of them.")
    packet_filter = PacketFilter(everything, protocol, address, src, dst, port)
    lab, node = resolve(target, prefix="tunlab dump")
    with ExitStack() as stack:
        signals, watcher = stack.enter_context(SignalPipe()), stack.enter_context(DownWatcher(lab))
        record = _open_recorder(stack, file, ifname or lab.ifname(node))
        source, description = _open_source(stack, lab, node, ifname)
        scope = ": IPv4 except UDP; --all shows every packet" if packet_filter.is_default else ""
        # Scripts wait for this line: dump misses no packet that is sent after it.
        click.echo(f"listening on {description}{scope}", err=True)
        child = stack.enter_context(ChildProcess(lab, node, command)) if command else None

        def show(entry: TraceEntry) -> None:
            record(entry)
            if as_json:
                click.echo(packet_format.to_json(entry))
            elif oneline:
                click.echo(packet_format.to_line(entry))
            else:
                click.echo(packet_format.to_listing(entry, verbose=verbose))

        loop = _Loop(source, signals, watcher, child, timeout)
        shown = loop.run(lambda entry: packet_filter.matches(entry.packet), show, count)
        exit_code = child.wait() if child and loop.child_ended else 0
    click.echo(f"{shown} packet{'s' * (shown != 1)} shown", err=True)
    if count is not None and shown < count and signals.number is None:
        reason = "the command ended" if loop.child_ended else f"timeout of {timeout:g} s"
        click.echo(f"tunlab: {reason}: {shown} of {count} packets were shown", err=True)
        exit_code = exit_code or 1
    if exit_code:
        raise click.exceptions.Exit(exit_code)


def _open_source(stack: ExitStack, lab: PersistentLab, node: str, ifname: str | None) -> tuple[Reader | Sniffer, str]:
    """Return a source of packets, which is a TUN or a packet socket, and its description for the user."""
    from tunlab.cli.sniffer import Sniffer
    from tunlab.lab.tun.reader import Reader

    plan = lab.plan.node(node)
    place = f"in lab {lab.name}" if len(lab.plan.nodes) == 1 else f"in node {node} of lab {lab.name}"
    ifname = ifname or lab.ifname(node)
    if any(each.ifname == ifname and each.link < 0 for each in plan.interfaces):
        reader = stack.enter_context(Reader(lab, node, ifname))
        other_reader = "" if reader.attached else ", which another program has open"
        return reader, f"{ifname} {place}{other_reader}"
    with lab.netns(node) as netns:
        sniffer = stack.enter_context(Sniffer(netns, ifname, f"lab {lab.name}/{node}"))
    return sniffer, f"{ifname} {place}"


def _open_recorder(stack: ExitStack, file: Path | None, ifname: str) -> Callable[[TraceEntry], None]:
    if file is None:
        return lambda _: None
    from tunlab.recorder import LINKTYPE_RAW, PcapngWriter

    writer = stack.enter_context(PcapngWriter.create(file))
    interfaces = dict[int, int]()

    def record(entry: TraceEntry) -> None:
        linktype = LINKTYPE_RAW if entry.link_type is None else entry.link_type
        if linktype not in interfaces:
            interfaces[linktype] = writer.add_interface(ifname, linktype=linktype)
        writer.write(interfaces[linktype], entry.data, time_ns=entry.time_ns, direction=entry.direction)

    return record


class _Loop:
    """The main loop of `tunlab dump`: it shows packets until something ends it.

    Attributes:
        child_ended: True if the loop ended because the command did.
    """

    def __init__(
        self,
        source: Reader | Sniffer,
        signals: SignalPipe,
        watcher: DownWatcher,
        child: ChildProcess | None,
        timeout: float | None,
    ) -> None:
        self._source, self._signals, self._watcher, self._child = source, signals, watcher, child
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self.child_ended = False

    def run(self, matches: Callable[[TraceEntry], bool], show: Callable[[TraceEntry], None], count: int | None) -> int:
        """Show matching packets and return how many were shown.

        Ends at the first of: `count` packets, the timeout, a signal, the end of the command. With a command, `count`
        and signals do not end the loop: nothing more is shown, and the command gets the signal.

        Raises:
            LabError: The lab was taken down meanwhile.
            BrokenPipeError: The reader of standard output has ended.
        """
        shown = 0
        while True:
            # After the command has ended, read the queue once more: the queue can hold the command's last packets.
            last = self.child_ended
            entries = self._source.take()
            for entry in entries:
                if shown != count and matches(entry):
                    show(entry)
                    shown += 1
            finished = shown == count or self._signals.number is not None
            if (finished and self._child is None) or (last and not entries) or self._remaining() == 0:
                return shown
            if not last:
                self._wait()

    def _remaining(self) -> float:
        """Return the seconds until the deadline, at least 0; infinity if there is none."""
        return float("inf") if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _wait(self) -> None:
        """Wait until there may be a packet, or the loop may have to end."""
        from tunlab.lab.persistent.down_watcher import CHECK_INTERVAL

        poll = select.poll()
        for fd in self._source.filenos():
            poll.register(fd, select.POLLIN)
        poll.register(self._signals, select.POLLIN)
        output = sys.stdout.fileno()
        poll.register(output, 0)  # poll(2) reports an error if standard output is a pipe whose reader has ended
        poll.register(self._watcher, 0)
        if self._child is not None:
            poll.register(self._child, select.POLLIN)
        ready = dict(poll.poll(min(CHECK_INTERVAL, self._remaining()) * 1000))
        if self._child is not None:
            self.child_ended = self._child.fileno() in ready
            if self._signals.fileno() in ready and not self.child_ended:
                self._child.send_signal(self._signals.drain())
        # Ask the watcher too. If a second dump watches the other end, the link outlives the lab, and the packet socket
        # does not report that the lab is down.
        if (self._watcher.fileno() in ready or not ready) and self._watcher.is_down:
            raise self._source.gone_error()
        if output in ready:
            raise BrokenPipeError(errno.EPIPE, "")
