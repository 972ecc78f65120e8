"""`tunlab demo`: from a TUN in a namespace to a real ping, read, parsed and answered, in one command."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tunlab.packet import Packet
    from tunlab.traffic import Tun

_TARGET = "10.1.2.3"


@click.command("demo", short_help="See what tunlab does, in one command.")
def demo_command() -> None:
    """Show what tunlab does, in a throw-away namespace: a real ping, read from a TUN, parsed, and answered.

    Changes nothing on this machine. Needs root, or a machine that lets users have namespaces of their own.

    Example: tunlab demo
    """
    import shutil

    from tunlab.kernel import userns
    from tunlab.kernel.refusal import holds
    from tunlab.traffic import Tun

    if not holds("CAP_SYS_ADMIN"):
        _tell("No root here: entering a user namespace first, in which we have every right.")
        userns.enter_user_namespace()
    with Tun.create() as tun:
        _tell(f"A network namespace of our own, {tun.netns}: no name, no process, gone when we are.")
        _tell(f"In it a TUN device, {tun.ifname} with {tun.address}/{tun.network.prefixlen}. We hold its other end:")
        _tell("what that kernel sends to 10.1.2.0/24 comes out here, as octets.")
        if shutil.which("ping"):
            answered = _with_program(tun)
        else:
            answered = _without(tun)
    if not answered:
        _tell("tunlab: the reply did not reach ping; tunlab doctor says what is missing")
        raise click.exceptions.Exit(1)
    _tell("That was the kernel's own stack on one side and this program on the other. Next: tunlab up, or")
    _tell("`def test_x(tun):` in pytest.")


def _with_program(tun: Tun) -> bool:
    command = ["ping", "-c", "1", "-W", "1", _TARGET]
    _tell(f"\n$ {' '.join(command)}          (in the namespace, where nobody has that address)\n")
    ping = tun.popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    _answer(tun)
    output, _ = ping.communicate()
    click.echo(output, nl=False)
    click.echo(err=True)
    return ping.returncode == 0


def _without(tun: Tun) -> bool:
    from tunlab.errors import ExpectationError

    _tell(f"\nThere is no ping program here; the namespace's kernel sends an echo request to {_TARGET} all the same:\n")
    ping = tun.ping(_TARGET)
    _answer(tun)
    try:
        reply = ping.reply()
    except ExpectationError:
        return False
    click.echo(f"{8 + len(reply.payload)} octets from {reply.address}: sequence number {reply.sequence_number}")
    click.echo(err=True)
    return True


def _answer(tun: Tun) -> None:
    from tunlab.packet import ICMP, build, hexdump, listing, reply, summary

    request: Packet = tun.expect(ICMP.where(type=8))
    _tell("The echo request, as the TUN gave it:\n")
    click.echo(listing(request))
    click.echo()
    click.echo(hexdump(build(request)))
    click.echo()
    octets = tun.inject(*reply(request), request.payload)
    _tell(f"We answer in its place: {summary(octets)}\n")


def _tell(sentence: str) -> None:
    click.echo(sentence, err=True)
