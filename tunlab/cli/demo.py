"""`tunlab demo`: send, read, parse and answer one echo request on a TUN."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tunlab.traffic import Tun

_TARGET = "10.1.2.3"


@click.command("demo", short_help="See what tunlab does, in one command.")
def demo_command() -> None:
    """Create a temporary network namespace with a TUN device, ping through it, and read, parse and answer the request.

    The demo changes nothing on this machine. It needs root, or a kernel that allows unprivileged user namespaces.

    Example: tunlab demo
    """
    import shutil

    from tunlab.kernel.namespace import userns
    from tunlab.kernel.os_errors import has_capability
    from tunlab.traffic import Tun

    if not has_capability("CAP_SYS_ADMIN"):
        userns.enter_user_namespace()
        click.echo("Entered a user namespace, because this user is not root.")
    with Tun.create() as tun:
        click.echo(
            f"Created a network namespace with a TUN device: {tun.ifname}, {tun.address}/{tun.network.prefixlen}."
        )
        received = _ping_by_program(tun) if shutil.which("ping") else _ping_by_socket(tun)
    if not received:
        click.echo("tunlab: the reply did not arrive. Run `tunlab doctor` to see what is missing.", err=True)
        raise click.exceptions.Exit(1)
    click.echo("\nNext: `tunlab up` for a lab to work in, or `def test_ping(tun):` in pytest.")


def _ping_by_program(tun: Tun) -> bool:
    command = ["ping", "-c", "1", "-W", "1", _TARGET]
    click.echo(f"Running `{' '.join(command)}` in it. The echo request, read from {tun.ifname}:\n")
    ping = tun.popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    _show_and_answer(tun)
    output, _ = ping.communicate()
    click.echo(output, nl=False)
    return ping.returncode == 0


def _ping_by_socket(tun: Tun) -> bool:
    import time

    from tunlab.errors import ExpectationError

    click.echo(
        f"ping is not installed, so a ping socket (icmp(7)) is used. The echo request, read from {tun.ifname}:\n"
    )
    started = time.monotonic()
    ping = tun.ping(_TARGET)
    _show_and_answer(tun)
    try:
        reply = ping.reply()
    except ExpectationError:
        return False
    milliseconds = (time.monotonic() - started) * 1000
    size = 8 + len(reply.payload)
    click.echo(f"{size} bytes from {reply.address}: icmp_seq={reply.sequence_number} time={milliseconds:.3g} ms")
    return True


def _show_and_answer(tun: Tun) -> None:
    from tunlab.packet import ICMP, build, hexdump, listing, reply, summary

    request = tun.expect(ICMP.where(type=8))
    click.echo(listing(request))
    click.echo()
    click.echo(hexdump(build(request)))
    sent = tun.inject(*reply(request), request.payload)
    click.echo(f"\nInjected the reply: {summary(sent)}\n")
