"""`tunlab watch`: the links of a lab as they are now, and what happens to them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias

import click

if TYPE_CHECKING:
    from tunlab.cli.signals import SignalPipe
    from tunlab.kernel.link_events import LinkEvent, LinkEvents
    from tunlab.kernel.tables import Link
    from tunlab.lab.live_lab import LiveLab
    from tunlab.lab.persistent.down_watcher import DownWatcher
    from tunlab.topology.plan import LabPlan

Ends: TypeAlias = "Mapping[tuple[str, str], Link]"
"""The links of all nodes: by the node's name and the interface's."""

_BETWEEN = 1.0  # no more than tunlab.lab.persistent.down_watcher.LOOK
_CLEAR = "\x1b[H\x1b[J"  # ECMA-48: to the first line, and erase all below


@click.command("watch", short_help="Watch the links of a lab.")
@click.argument("name", required=False, metavar="[LAB]")
@click.option("--json", "as_json", is_flag=True, help="Print what happens to links, an object a line.")
def watch_command(name: str | None, as_json: bool) -> None:
    """Watch the links of a lab until Ctrl-C, or until it is taken down: who is up, and what each end sends.

    On a terminal a table, renewed each second and whenever a link changes. Elsewhere, and with --json, only the
    changes are printed: a line each. LAB may be left out if only one is up.

    Example: tunlab watch router --json
    """
    from tunlab.cli.signals import SignalPipe
    from tunlab.lab.lab import Lab
    from tunlab.lab.persistent.down_watcher import DownWatcher

    lab = Lab.open(name)
    with SignalPipe() as signals, DownWatcher(lab) as ending, lab.live() as live, live.events() as events:
        # Said only now that nothing that happens from here on is missed: people and programs wait for it.
        if as_json or not sys.stdout.isatty():
            click.echo(f"watching lab {lab.name}", err=True)
            _print_changes(events, signals, ending, as_json)
        else:
            _renew_table(live, events, signals, ending)
    if signals.number is None:  # what is held open in it is let go by now
        click.echo(f"lab {lab.name} is down", err=True)


def _print_changes(events: LinkEvents, signals: SignalPipe, ending: DownWatcher, as_json: bool) -> None:
    while _wait(events, signals, ending):
        for event in events.take():
            click.echo(_as_json(event) if as_json else _as_text(event))


def _renew_table(live: LiveLab, events: LinkEvents, signals: SignalPipe, ending: DownWatcher) -> None:
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
        if at - since >= _BETWEEN:
            before, since = now, at
        if not _wait(events, signals, ending):
            return
        events.take()


def _wait(events: LinkEvents, signals: SignalPipe, ending: DownWatcher) -> bool:
    """Wait for a change, a second at most; False when it is time to end."""
    import errno
    import select

    poll = select.poll()
    for fd in (*events.filenos(), signals.fileno()):
        poll.register(fd, select.POLLIN)
    output = sys.stdout.fileno()
    poll.register(output, 0)  # an error there: a pipe whose reader has ended
    poll.register(ending, 0)
    ready = dict(poll.poll(_BETWEEN * 1000))
    if output in ready:
        raise BrokenPipeError(errno.EPIPE, "")
    return signals.number is None and not ending.came


def links_of(live: LiveLab) -> Ends:
    """The links as they are now; what their queues have dropped is counted with what they themselves have."""
    from msgspec.structs import replace

    from tunlab.kernel.qdisc import queue_drops

    found = {}
    for node in (live[node.name] for node in live.plan.nodes):
        drops = queue_drops(node.rtnl)
        for link in node.rtnl.links():
            found[node.name, link.name] = replace(link, tx_dropped=link.tx_dropped + drops.get(link.index, 0))
    return found


def table(plan: LabPlan, before: Ends, now: Ends, seconds: float) -> list[str]:
    """The lines of the table: what each end of each link sends, by two looks with so many seconds between them."""
    ways = [(one, other) for link in plan.links for one, other in (link.ends, link.ends[::-1])]
    tuns = [(node.name, each.ifname) for node in plan.nodes for each in node.interfaces if each.link < 0]
    rows = [("FROM", "TO", "STATE", "BIT/S", "PACKETS/S", "PACKETS", "DROPPED")]
    for one, other in [*ways, *((tun, None) for tun in tuns)]:
        link, old = now.get(one), before.get(one)
        far = " ".join(other) if other else "its reader"
        if link is None:
            rows.append((" ".join(one), far, "gone", "-", "-", "-", "-"))
            continue
        arrives = now.get(other) if other else None
        dropped = link.tx_dropped + (arrives.rx_dropped if arrives else 0)
        bits, packets = 0.0, 0.0
        if old is not None and seconds > 0:
            bits = max(0, link.tx_bytes - old.tx_bytes) * 8 / seconds
            packets = max(0, link.tx_packets - old.tx_packets) / seconds
        state = "up" if link.running else "no carrier" if link.up else "down"
        rows.append((" ".join(one), far, state, short(bits), short(packets), str(link.tx_packets), str(dropped)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    nodes = sum(not node.implicit for node in plan.nodes)
    head = f"lab {plan.name}: {nodes} node{'s' * (nodes != 1)}; Ctrl-C ends"
    return [head, "", *(_laid_out(row, widths) for row in rows)]


def _laid_out(row: Iterable[str], widths: Iterable[int]) -> str:
    cells = zip(row, widths, strict=True)
    laid_out = (cell.ljust(width) if place < 3 else cell.rjust(width) for place, (cell, width) in enumerate(cells))
    return "  ".join(laid_out).rstrip()


def short(number: float) -> str:
    """ "0", "950", "1.2 k", "34 M": two digits or more, and never more than six characters."""
    for unit in ("", " k", " M"):
        if number < 999.5:
            return f"{number:.1f}{unit}" if unit and number < 9.95 else f"{number:.0f}{unit}"
        number /= 1000
    return f"{number:.1f} G" if number < 9.95 else f"{number:.0f} G"


def _as_json(event: LinkEvent) -> str:
    import msgspec

    link = event.link
    said = {"time_ns": event.time, "node": event.where, "event": event.kind, "ifname": link.name}
    said |= {"up": link.up, "running": link.running, "mtu": link.mtu, "link": msgspec.to_builtins(link)}
    return msgspec.json.encode(said).decode()


def _as_text(event: LinkEvent) -> str:
    from datetime import datetime

    link = event.link
    time = datetime.fromtimestamp(event.time // 10**9)
    state = "up" if link.running else "up, without a carrier" if link.up else "down"
    said = "is gone" if event.kind == "deleted" else f"{state}, mtu {link.mtu}"
    new = "new: " if event.kind == "new" else ""
    return f"{time:%H:%M:%S}.{event.time // 1000 % 10**6:06} {event.where} {link.name} {new}{said}"
