"""`tunlab replay`: inject a recording's packets again and compare the kernel's answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tunlab.cli.seconds import Seconds

if TYPE_CHECKING:
    from tunlab.errors import PacketError
    from tunlab.lab.replay.player import Outcome
    from tunlab.lab.replay.script import Script
    from tunlab.recorder import RecordedPacket
    from tunlab.traffic import Tun

_MAX_SKIPPED = 20


@click.command("replay", short_help="Replay a recording and compare the kernel's answers.")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.argument("target", required=False, default="", metavar="[LAB|NODE|LAB/NODE]")
@click.option(
    "-a",
    "--address",
    "addresses",
    multiple=True,
    metavar="CIDR",
    help="Address and prefix of the kernel; give one for IPv4 and one for IPv6.  [default: from the recording]",
)
@click.option(
    "-i",
    "--interface",
    "ifname",
    default="",
    metavar="NAME",
    help="Interface in the recording.  [default: its TUN]",
)
@click.option("--pace", is_flag=True, help="Keep the recorded intervals between packets.")
@click.option("--exact", is_flag=True, help="Compare the values that the kernel chooses, too.")
@click.option(
    "--timeout",
    type=Seconds(0),
    default=1.0,
    metavar="SECONDS",
    help="Wait this long for each packet.  [default: 1]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per packet.")
def replay_command(
    file: Path,
    target: str,
    addresses: tuple[str, ...],
    ifname: str,
    pace: bool,
    exact: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Inject the packets that a recording marks as injected, and compare the kernel's answers with the recorded ones.

    Without LAB, replay creates a temporary network namespace with a TUN, gives it the recorded addresses and opens the
    ports that were open. Each packet is injected as soon as the last one was answered. Values that the kernel chooses
    (IP identification, IPv6 flow label, initial sequence numbers, timestamps) may differ; injected packets are adapted
    to them. Packets that programs in the namespace sent are not sent again.

    ARP, the neighbor discovery of Ethernet frames and MLD reports are skipped.

    A recording has no routes, firewall rules or sysctls. To replay the recording of a router, name a lab with the same
    topology.

    The exit code is 0 if the answers are the same, else 1.

    Example: tunlab replay failure.pcapng
    """
    from tunlab.errors import PacketError
    from tunlab.lab.replay.limits import check_replayable
    from tunlab.lab.replay.player import Replay
    from tunlab.lab.replay.script import find_ifname, script

    records, error_at_end = _read_recording(file)
    try:
        played = script(records, ifname=ifname, addresses=addresses)
        ifname = ifname or find_ifname(records, addresses)
        if not target:
            check_replayable(records, ifname)
    except PacketError as error:
        error.file = str(file)
        raise
    skipped = _skipped(records, played, ifname)
    for line in _skipped_lines(skipped):
        click.echo(line, err=True)
    different = received = 0
    with _open_tun(target, played) as tun:
        replay = Replay(tun, played, exact=exact, pace=pace, timeout=timeout, act=not target)
        for outcome in replay.outcomes():
            click.echo(_to_json(outcome) if as_json else _to_text(outcome))
            received += outcome.direction == "out"
            different += outcome.direction == "out" and not outcome.same
    click.echo(_verdict(len(played.steps), len(skipped), received, different, tun.ifname), err=True)
    if error_at_end is not None:
        raise error_at_end
    if different:
        raise click.exceptions.Exit(1)


def _read_recording(file: Path) -> tuple[list[RecordedPacket], PacketError | None]:
    """Return the packets of a recording, and the error after the last readable packet if the file is damaged."""
    from tunlab.errors import PacketError
    from tunlab.recorder import RecordedPacket, read_pcapng

    records = list[RecordedPacket]()
    try:
        records.extend(read_pcapng(file))
    except PacketError as error:
        error.file = str(file)
        if not records:
            raise
        return records, error
    return records, None


def _skipped(records: list[RecordedPacket], played: Script, ifname: str) -> list[tuple[int, RecordedPacket]]:
    """Return the packets of the interface that are not replayed, with their numbers."""
    steps = {step.number for step in played.steps}
    return [
        (number, record)
        for number, record in enumerate(records, 1)
        if number not in steps and record.interface.name == ifname
    ]


def _skipped_lines(skipped: list[tuple[int, RecordedPacket]]) -> Iterator[str]:
    """Yield a line for each of these packets, at most 20, and the number of the others."""
    from tunlab.errors import PacketError
    from tunlab.packet import summary
    from tunlab.recorder import parse_record

    for number, record in skipped[:_MAX_SKIPPED]:
        try:
            text = summary(parse_record(record))
        except PacketError:
            text = summary(record.data, link_type=record.interface.linktype)
        yield f"{number:>5} {record.direction or '':<3}   skipped: {text}"
    if len(skipped) > _MAX_SKIPPED:
        yield f"{'':9}   skipped: {len(skipped) - _MAX_SKIPPED} more packets"


@contextmanager
def _open_tun(target: str, played: Script) -> Iterator[Tun]:
    """Open a TUN in a new namespace, or the TUN of a lab."""
    from tunlab.errors import LabError
    from tunlab.lab import resolve
    from tunlab.lab.attachment import attach
    from tunlab.lab.replay.player import prepare
    from tunlab.traffic import Tun

    if not target:
        with Tun.create(played.addresses) as tun:
            prepare(tun, played)
            ports = [f"TCP {port}" for port in played.tcp_ports] + [f"UDP {port}" for port in played.udp_ports]
            listening = f", listening on {', '.join(ports)}" if ports else ""
            own = ", ".join(played.addresses)
            click.echo(f"replaying to a new namespace with address {own}{listening}", err=True)
            yield tun
        return
    lab, node = resolve(target, prefix="tunlab replay FILE")
    ifname = lab.ifname(node)
    with lab.netns(node) as netns:
        device = attach(netns, ifname)
        if device is None:
            problem = f"another program has {ifname} in lab {lab.name!r} open and would read the answers"
            raise LabError(lab.name, problem, remedy="end that program, or replay without a lab")
        with Tun(netns, device) as tun:
            yield tun


def _to_text(outcome: Outcome) -> str:
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


def _to_json(outcome: Outcome) -> bytes:
    import msgspec

    from tunlab.packet import summary
    from tunlab.packet.match import format_value

    def packet(data: bytes | None) -> dict[str, str] | None:
        return None if data is None else {"bytes": data.hex(), "summary": summary(data)}

    result = {
        "number": outcome.number,
        "direction": outcome.direction,
        "same": outcome.same,
        "recorded": packet(outcome.recorded),
        "now": packet(outcome.now),
        "differences": [
            {"field": field, "recorded": format_value(was), "now": format_value(got)}
            for field, was, got in outcome.differences
        ],
    }
    return msgspec.json.encode(result)


def _verdict(steps: int, skipped: int, received: int, different: int, ifname: str) -> str:
    packets = f"{steps} packet{'s' * (steps != 1)} replayed{f', {skipped} skipped' * bool(skipped)}"
    if not received:
        return f"{packets}: no answer from {ifname}, as recorded"
    return f"{packets}: {'the answers are the same' if not different else f'{different} of {received} answers differ'}"
