"""`tunlab ping`: send ICMP echo requests from a lab's kernel."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import click

from tunlab.cli.seconds import Seconds

if TYPE_CHECKING:
    from tunlab.traffic import EchoReply, Ping


def _address(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    try:
        return str(ip_address(value))
    except ValueError:
        problem = f"{value!r} is not an IP address. Give one like 10.1.2.2 or fd00::2."
        raise click.BadParameter(problem, ctx, parameter) from None


@click.command("ping", short_help="Send ICMP echo requests from a lab.")
@click.argument("address", callback=_address)
@click.option(
    "--lab", "target", default="", metavar="LAB|NODE|LAB/NODE", help="Lab or node.  [default: the only lab that is up]"
)
@click.option(
    "-c",
    "--count",
    type=click.IntRange(1),
    default=1,
    metavar="N",
    help="Send N requests, each after the reply to the last.  [default: 1]",
)
@click.option(
    "--timeout",
    type=Seconds(0.001),
    default=1.0,
    metavar="SECONDS",
    help="Wait this long for each reply.  [default: 1]",
)
@click.option("--payload", metavar="HEX", help="Payload of the requests.  [default: 56 bytes, 00 01 02 …]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per request.")
def ping_command(address: str, target: str, count: int, timeout: float, payload: str | None, as_json: bool) -> None:
    """Send ICMP echo requests from a lab's kernel, without a ping program, and print the replies.

    The exit code is 0 if all requests were answered, else 1. On a TUN, only a program that has it open can answer.

    Example: tunlab ping 10.1.2.2 --count 3
    """
    import json
    import time
    from contextlib import ExitStack

    from tunlab.cli.hex_input import parse_hex
    from tunlab.lab import resolve
    from tunlab.lab.attachment import attach
    from tunlab.traffic import ECHO_PAYLOAD, Ping
    from tunlab.traffic.sockets import SocketFactory

    data = ECHO_PAYLOAD if payload is None else parse_hex(payload, "--payload")
    lab, node = resolve(target, prefix="--lab")
    tun = lab.plan.node(node).tun
    answered = 0
    with ExitStack() as stack:
        netns = stack.enter_context(lab.netns(node))
        # Open the TUN, because the kernel sends packets on it only while a program has it open.
        if (device := attach(netns, tun) if tun else None) is not None:
            stack.enter_context(device)
        opened, destination = SocketFactory(netns).ping(address, 0)
        ping = stack.enter_context(Ping(opened, address, destination))
        for _ in range(count):
            started = time.monotonic()
            sequence_number = ping.send(data)
            reply = _wait_for_reply(ping, sequence_number, started + timeout)
            milliseconds = round((time.monotonic() - started) * 1000, 3)
            answered += reply is not None
            size = 8 + len(reply.payload) if reply else None
            if as_json:
                result = {"address": address, "sequence_number": sequence_number, "answered": reply is not None}
                click.echo(json.dumps({**result, "bytes": size, "milliseconds": milliseconds if reply else None}))
            elif reply is not None:
                click.echo(f"{size} bytes from {reply.address}: icmp_seq={sequence_number} time={milliseconds} ms")
            else:
                click.echo(f"no reply from {address} within {timeout:g} s: icmp_seq={sequence_number}")
    if answered < count:
        remedy = (
            f"Start the program that should answer, because none has {tun} open."
            if device is not None
            else f"`tunlab dump {lab.name if tun else f'{lab.name}/{node}'}` shows the requests."
        )
        click.echo(f"tunlab: {answered} of {count} echo requests were answered. {remedy}", err=True)
        raise click.exceptions.Exit(1)


def _wait_for_reply(ping: Ping, sequence_number: int, deadline: float) -> EchoReply | None:
    """Return the reply to a request, or None at the deadline. Late replies to earlier requests are skipped."""
    import time

    from tunlab.errors import ExpectationError

    while (remaining := deadline - time.monotonic()) > 0:
        try:
            reply = ping.reply(remaining)
        except ExpectationError:
            return None
        if reply.sequence_number == sequence_number:
            return reply
    return None
