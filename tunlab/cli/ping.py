"""`tunlab ping`: echo requests of a lab's kernel."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tunlab.traffic import EchoReply, Ping


def _address(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    try:
        return str(IPv4Address(value))
    except AddressValueError:
        raise click.BadParameter(f"{value!r} is no IPv4 address: give one like 10.1.2.2", ctx, parameter) from None


@click.command("ping", short_help="Have a lab's kernel send echo requests.")
@click.argument("address", callback=_address)
@click.option("--lab", "target", default="", metavar="LAB|NODE|LAB/NODE", help="Which; not needed if one is up.")
@click.option("-c", "--count", type=click.IntRange(1), default=1, metavar="N", help="So many, one after another.  [1]")
@click.option("--timeout", type=click.FloatRange(0.001), default=1.0, metavar="SECONDS", help="For each reply.  [1]")
@click.option("--payload", metavar="HEX", help="What they carry.  [56 octets, 00 01 02 …]")
@click.option("--json", "as_json", is_flag=True, help="An object a request.")
def ping_command(address: str, target: str, count: int, timeout: float, payload: str | None, as_json: bool) -> None:
    """Have the kernel of a lab send echo requests, and show the replies.

    Ends with 0 if each was answered, else with 1. Who answers is whoever is attached to the TUN; nobody does by
    itself, but for the lab's own address.

    Example: tunlab ping 10.1.2.2 --count 3
    """
    import json
    import socket
    import time
    from contextlib import ExitStack

    from tunlab.cli.hex_input import parse_hex
    from tunlab.kernel.refusal import SOCKET_REASONS, refusing
    from tunlab.lab import resolve
    from tunlab.lab.tun.reader import attach
    from tunlab.traffic import ECHO_PAYLOAD, Ping

    octets = ECHO_PAYLOAD if payload is None else parse_hex(payload, "--payload")
    lab, node = resolve(target, naming="--lab")
    tun = lab.plan.node(node).tun
    answered = 0
    with ExitStack() as stack:
        netns = stack.enter_context(lab.netns(node))
        # While nobody is attached there is no carrier, and the kernel refuses to send.
        if (device := attach(netns, tun) if tun else None) is not None:
            stack.enter_context(device)
        door = stack.enter_context(netns.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP))
        with refusing(f"ping {address}", reasons=SOCKET_REASONS):
            door.bind(("", 0))
        ping = Ping(door, address)
        for _ in range(count):
            started = time.monotonic()
            number = ping.send(octets)
            reply = _reply(ping, number, started + timeout)
            milliseconds = round((time.monotonic() - started) * 1000, 3)
            answered += reply is not None
            size = 8 + len(reply.payload) if reply else None
            if as_json:
                said = {"address": address, "sequence_number": number, "answered": reply is not None}
                click.echo(json.dumps({**said, "octets": size, "milliseconds": milliseconds if reply else None}))
            elif reply is not None:
                click.echo(f"{size} octets from {reply.address}: sequence number {number}, {milliseconds} ms")
            else:
                click.echo(f"no reply from {address} to sequence number {number} within {timeout:g} s")
    if answered < count:
        remedy = (
            f"nobody is attached to {tun}: start what should answer"
            if device is not None
            else f"tunlab dump {lab.name if tun else f'{lab.name}/{node}'} shows the requests"
        )
        click.echo(f"tunlab: {answered} of {count} echo requests were answered; {remedy}", err=True)
        raise click.exceptions.Exit(1)


def _reply(ping: Ping, number: int, deadline: float) -> EchoReply | None:
    """The reply to that request; earlier ones' that come late are passed over."""
    import time

    from tunlab.errors import ExpectationError

    while (remaining := deadline - time.monotonic()) > 0:
        try:
            reply = ping.reply(remaining)
        except ExpectationError:
            return None
        if reply.sequence_number == number:
            return reply
    return None
