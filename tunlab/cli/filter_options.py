"""The options that select packets, of `tunlab dump` and `tunlab report`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def _parsed_by(parser: str) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """Return an option callback that parses the value with a function of tunlab.cli.packet_filter."""

    def parse(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Any:
        if value is None:
            return None
        from tunlab.cli import packet_filter

        try:
            return getattr(packet_filter, parser)(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, parameter) from None

    return parse


def network_option(name: str, text: str) -> Callable[[Any], Any]:
    """Return the decorator for an option whose value is an address or a network."""
    return click.option(name, callback=_parsed_by("parse_network"), metavar="ADDRESS[/LENGTH]", help=text)


address_option = network_option("--address", "Only packets from or to this address or network.")
protocol_option = click.option(
    "--protocol",
    callback=_parsed_by("parse_protocol"),
    metavar="PROTOCOL",
    help="Only this protocol: a name like tcp, icmp6 or arp, or its number in IP.",
)
