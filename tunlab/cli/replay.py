"""`tunlab replay`: a recording played once more to a kernel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tunlab.errors import PacketError
    from tunlab.lab.replay.player import Outcome
    from tunlab.lab.replay.script import Script
    from tunlab.recorder import Record
    from tunlab.traffic import Tun


@click.command("replay", short_help="Play a recording to a kernel once more, and compare.")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.argument("target", required=False, default="", metavar="[LAB|NODE|LAB/NODE]")
@click.option("-a", "--address", default="", metavar="A", help="The kernel's, as 10.1.2.1/24.  [worked out]")
@click.option("-i", "--interface", "ifname", default="", metavar="NAME", help="Which of the recording.  [its TUN]")
@click.option("--pace", is_flag=True, help="Keep the recorded times between packets.")
@click.option("--exact", is_flag=True, help="Tolerate nothing: neither identifications nor sequence numbers.")
@click.option("--timeout", type=click.FloatRange(0), default=1.0, metavar="SECONDS", help="For each packet.  [1]")
@click.option("--json", "as_json", is_flag=True, help="An object a packet.")
def replay_command(
    file: Path, target: str, address: str, ifname: str, pace: bool, exact: bool, timeout: float, as_json: bool
) -> None:
    """Inject what a recording has as injected, and hold what the kernel sends against what it sent then.

    The kernel is that of a new namespace with a TUN, which has the recorded address, listens on the ports that were
    open, and is gone afterwards; or that of a lab that is up. What programs in the namespace sent then, they do not
    send again. Packets go out as fast as they are answered. The kernel's own choices (IP identification, initial
    sequence numbers, timestamps) may differ, and what is injected follows them.

    A recording has no routes, firewall rules or sysctls: of a kernel that was a router only a lab can play it.

    Ends with 0 if the same came out, else with 1.

    Example: tunlab replay failure.pcapng
    """
    from tunlab.errors import PacketError
    from tunlab.lab.replay.limits import check_replayable
    from tunlab.lab.replay.player import Replay
    from tunlab.lab.replay.script import ifname_of, script

    records, fault = _records(file)
    try:
        played = script(records, ifname=ifname, address=address)
        if not target:
            check_replayable(records, ifname or ifname_of(records, address))
    except PacketError as error:
        error.file = str(file)
        raise
    different = came = 0
    with _tun(target, played) as tun:
        replay = Replay(tun, played, exact=exact, pace=pace, timeout=timeout, act=not target)
        for outcome in replay.outcomes():
            click.echo(_json(outcome) if as_json else _lines(outcome))
            came += outcome.direction == "out"
            different += outcome.direction == "out" and not outcome.same
    click.echo(_verdict(len(played.steps), came, different, tun.ifname), err=True)
    if fault is not None:
        raise fault
    if different:
        raise click.exceptions.Exit(1)


def _records(file: Path) -> tuple[list[Record], PacketError | None]:
    """The recording's packets, and what is wrong with it behind them."""
    from tunlab.errors import PacketError
    from tunlab.recorder import Record, read_pcapng

    records = list[Record]()
    try:
        records.extend(read_pcapng(file))
    except PacketError as error:
        error.file = str(file)
        if not records:
            raise
        return records, error
    return records, None


@contextmanager
def _tun(target: str, played: Script) -> Iterator[Tun]:
    """A TUN of our own, or a lab's, whose other end we are."""
    from tunlab.errors import LabError
    from tunlab.lab import resolve
    from tunlab.lab.replay.player import prepare
    from tunlab.lab.tun.reader import attach
    from tunlab.traffic import Tun

    if not target:
        with Tun.create(played.address) as tun:
            prepare(tun, played)
            ports = [f"TCP {port}" for port in played.tcp] + [f"UDP {port}" for port in played.udp]
            listening = f", listening on {', '.join(ports)}" if ports else ""
            click.echo(f"a kernel with the address {played.address}{listening}", err=True)
            yield tun
        return
    lab, node = resolve(target, naming="tunlab replay FILE")
    ifname = lab.ifname_of(node)
    with lab.netns(node) as netns:
        device = attach(netns, ifname)
        if device is None:
            problem = f"another program is attached to {ifname} in lab {lab.name!r}, and reads what comes out"
            raise LabError(lab.name, problem, remedy="end it, or replay without a lab")
        with Tun(netns, device) as tun:
            yield tun


def _lines(outcome: Outcome) -> str:
    from tunlab.packet import summary
    from tunlab.packet.match import format_value

    number = f"{'' if outcome.number is None else outcome.number:>5} {outcome.direction:<3}"
    if outcome.direction == "in" and outcome.now is not None:
        return f"{number}  injected: {summary(outcome.now)}"
    if outcome.same and outcome.now is not None:
        return f"{number}      same: {summary(outcome.now)}"
    recorded = "nothing" if outcome.recorded is None else summary(outcome.recorded)
    now = "nothing" if outcome.now is None else summary(outcome.now)
    rows = [f"{number}  recorded: {recorded}", f"{'':9}≠     now: {now}"]
    rows += [
        f"{'':21}{field}: recorded {format_value(was)}, now {format_value(got)}"
        for field, was, got in outcome.differences
    ]
    return "\n".join(rows)


def _json(outcome: Outcome) -> bytes:
    import msgspec

    from tunlab.packet import summary
    from tunlab.packet.match import format_value

    def told(octets: bytes | None) -> dict[str, str] | None:
        return None if octets is None else {"octets": octets.hex(), "summary": summary(octets)}

    said = {
        "number": outcome.number,
        "direction": outcome.direction,
        "same": outcome.same,
        "recorded": told(outcome.recorded),
        "now": told(outcome.now),
        "differences": [
            {"field": field, "recorded": format_value(was), "now": format_value(got)}
            for field, was, got in outcome.differences
        ],
    }
    return msgspec.json.encode(said)


def _verdict(steps: int, came: int, different: int, ifname: str) -> str:
    packets = f"{steps} packet{'s' * (steps != 1)} replayed"
    if not came:
        return f"{packets}: nothing came out of {ifname}, then and now"
    return f"{packets}: {'the same came out' if not different else f'{different} of {came} that came out differ'}"
