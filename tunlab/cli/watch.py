"""`tunlab watch`: show the state and traffic of a lab's links."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias

import click

if TYPE_CHECKING:
    from tunlab.cli.signals import SignalPipe
    from tunlab.kernel.network.link_events import LinkEvent, LinkEvents
    from tunlab.kernel.network.models import Link
    from tunlab.lab.lab import Lab
    from tunlab.lab.persistent.down_watcher import DownWatcher
    from tunlab.topology.plan import LabPlan

Links: TypeAlias = "Mapping[tuple[str, str], Link]"
"""The interfaces of all nodes, by (node, ifname)."""

_INTERVAL = 1.0  # seconds between updates; at most CHECK_INTERVAL in tunlab.lab.persistent.down_watcher
_CLEAR = "\x1b[H\x1b[J"  # ECMA-48: go to the first line, erase everything below


@click.command("watch", short_help="Show the state and traffic of a lab's links.")
@click.argument("name", required=False, metavar="[LAB]")
@click.option("--json", "as_json", is_flag=True, help="Print link changes, one JSON object per line.")
def watch_command(name: str | None, as_json: bool) -> None:
    """Show the state and traffic of a lab's links until Ctrl-C or tunlab down.

    On a terminal, watch shows a table and updates it every second and when a link changes. Otherwise, and with --json,
    it prints one line per link change. LAB may be omitted if only one lab is up.

    Example: tunlab watch router --json
    """
    from tunlab.cli.signals import SignalPipe
    from tunlab.lab.persistent.down_watcher import DownWatcher
    from tunlab.lab.persistent.lab import PersistentLab

    lab = PersistentLab.open(name)
    with SignalPipe() as signals, DownWatcher(lab) as ending, lab.live() as live, live.events() as events:
        # Scripts wait for this line: watch misses no link change that happens after it.
        if as_json or not sys.stdout.isatty():
            click.echo(f"watching lab {lab.name}", err=True)
            _print_changes(events, signals, ending, as_json)
        else:
            _update_table(live, events, signals, ending)
    if signals.number is None:  # no signal came, so watch ended because the lab was taken down
        click.echo(f"lab {lab.name} is down", err=True)


def _print_changes(events: LinkEvents, signals: SignalPipe, ending: DownWatcher, as_json: bool) -> None:
    while _wait(events, signals, ending):
        for event in events.read():
            click.echo(_to_json(event) if as_json else _to_text(event))


def _update_table(live: Lab, events: LinkEvents, signals: SignalPipe, ending: DownWatcher) -> None:
    import time
    from shutil import get_terminal_size

    before, since = links_of(live), time.monotonic()
    while True:
        now, at = links_of(live), time.monotonic()
        rows = table(live.plan, before, now, at - since)
        size = get_terminal_size()
        if len(rows) > size.lines - 1:
            rows = [*rows[: size.lines - 2], f"… and {len(rows) - size.lines + 2} more"]
        click.echo(_CLEAR + "\n".join(row[: size.columns] for row in rows))
        if at - since >= _INTERVAL:
            before, since = now, at
        if not _wait(events, signals, ending):
            return
        events.read()


def _wait(events: LinkEvents, signals: SignalPipe, ending: DownWatcher) -> bool:
    """Wait for a link change, at most one second. Return False after a signal or if the lab is down."""
    import errno
    import select

    poll = select.poll()
    for fd in (*events.filenos(), signals.fileno()):
        poll.register(fd, select.POLLIN)
    output = sys.stdout.fileno()
    poll.register(output, 0)  # poll(2) reports an error if standard output is a pipe whose reader has ended
    poll.register(ending, 0)
    ready = dict(poll.poll(_INTERVAL * 1000))
    if output in ready:
        raise BrokenPipeError(errno.EPIPE, "")
    return signals.number is None and not ending.is_down


def links_of(live: Lab) -> Links:
    """Return the current links, with the drops of their queueing disciplines added to tx_dropped."""
    from msgspec.structs import replace

    from tunlab.kernel.network.qdisc import read_queue_drops

    found = {}
    for node in (live[node.name] for node in live.plan.nodes):
        drops = read_queue_drops(node.rtnl)
        for link in node.rtnl.links():
            found[node.name, link.name] = replace(link, tx_dropped=link.tx_dropped + drops.get(link.index, 0))
    return found


def table(plan: LabPlan, before: Links, now: Links, seconds: float) -> list[str]:
    """Return the lines of the table, with traffic rates from two snapshots taken `seconds` apart."""
    directions = [(one, other) for link in plan.links for one, other in (link.ends, link.ends[::-1])]
    tuns = [(node.name, each.ifname) for node in plan.nodes for each in node.interfaces if each.link < 0]
    rows = [("FROM", "TO", "STATE", "BIT/S", "PACKETS/S", "PACKETS", "DROPPED")]
    for one, other in [*directions, *((tun, None) for tun in tuns)]:
        link, old = now.get(one), before.get(one)
        target = " ".join(other) if other else "TUN reader"
        if link is None:
            rows.append((" ".join(one), target, "gone", "-", "-", "-", "-"))
            continue
        receiver = now.get(other) if other else None
        dropped = link.tx_dropped + (receiver.rx_dropped if receiver else 0)
        bits, packets = 0.0, 0.0
        if old is not None and seconds > 0:
            bits = max(0, link.tx_bytes - old.tx_bytes) * 8 / seconds
            packets = max(0, link.tx_packets - old.tx_packets) / seconds
        state = "up" if link.running else "no carrier" if link.up else "down"
        rows.append(
            (
                " ".join(one),
                target,
                state,
                format_number(bits),
                format_number(packets),
                str(link.tx_packets),
                str(dropped),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    nodes = sum(not node.implicit for node in plan.nodes)
    head = f"lab {plan.name}: {nodes} node{'s' * (nodes != 1)}; press Ctrl-C to end"
    return [head, "", *(_format_row(row, widths) for row in rows)]


def _format_row(row: Iterable[str], widths: Iterable[int]) -> str:
    cells = zip(row, widths, strict=True)
    aligned = (cell.ljust(width) if column < 3 else cell.rjust(width) for column, (cell, width) in enumerate(cells))
    return "  ".join(aligned).rstrip()


def format_number(number: float) -> str:
    """Return a number in at most six characters, with a unit prefix: "0", "950", "1.2 k", "34 M"."""
    for unit in ("", " k", " M"):
        if number < 999.5:
            return f"{number:.1f}{unit}" if unit and number < 9.95 else f"{number:.0f}{unit}"
        number /= 1000
    return f"{number:.1f} G" if number < 9.95 else f"{number:.0f} G"


def _to_json(event: LinkEvent) -> str:
    import msgspec

    link = event.link
    result = {"time_ns": event.time, "node": event.where, "event": event.kind, "ifname": link.name}
    result |= {"up": link.up, "running": link.running, "mtu": link.mtu, "link": msgspec.to_builtins(link)}
    return msgspec.json.encode(result).decode()


def _to_text(event: LinkEvent) -> str:
    from datetime import datetime

    link = event.link
    time = datetime.fromtimestamp(event.time // 10**9)
    state = "up" if link.running else "up, no carrier" if link.up else "down"
    change = "deleted" if event.kind == "deleted" else f"{state}, mtu {link.mtu}"
    new = "new: " if event.kind == "new" else ""
    return f"{time:%H:%M:%S}.{event.time // 1000 % 10**6:06} {event.where} {link.name} {new}{change}"
