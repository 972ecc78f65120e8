"""`tunlab doctor`: check what tunlab needs from this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tunlab.kernel.probe import Probe

_ENGINE_TIMEOUT = 2
_NO_PERMISSION = 77  # EX_NOPERM in <sysexits.h>, also the exit code for PrivilegeError


@click.command("doctor", short_help="Check what tunlab needs from this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def doctor_command(as_json: bool) -> None:
    """Check what tunlab needs from this machine, and print how to install or allow what is missing.

    As an unprivileged user, doctor runs its checks in a user namespace where possible ("rootless"). The exit code is 0
    if a network namespace with a TUN device can be created, else 77.

    Example: tunlab doctor --json
    """
    import msgspec

    from tunlab.kernel.probe import probe

    probes = [*probe(), _engine()]
    able = all(each.ok for each in probes if each.needed)
    if as_json:
        click.echo(msgspec.json.encode(probes))
    else:
        width = max(len(each.name) for each in probes)
        for each in probes:
            verdict = "ok" if each.ok else "MISSING" if each.needed else "missing"
            click.echo(f"{verdict:<7}  {each.name:<{width}}  {each.detail}{', rootless' if each.rootless else ''}")
            if each.remedy and not each.ok:
                click.echo(f"{'':<7}  {'':<{width}}  → {each.remedy}")
        rootless = ", rootless; tunlab up needs root" if any(each.rootless for each in probes) else ""
        result = f"works on this machine{rootless}" if able else "does not work on this machine; see MISSING above"
        click.echo(f"\ntunlab {result}", err=True)
    if not able:
        raise click.exceptions.Exit(_NO_PERMISSION)


def _engine() -> Probe:
    """Return the result of the check that a Docker Engine answers."""
    from tunlab.errors import EngineError
    from tunlab.kernel.probe import Probe

    name = "Docker Engine"
    try:
        from tunlab.engines.connection.engine import Engine

        with Engine.connect(timeout=_ENGINE_TIMEOUT) as engine:
            return Probe(name, ok=True, detail=f"version {engine.version}")
    except ImportError:
        return Probe(name, ok=False, detail="the Docker SDK is not installed", remedy="pip install docker")
    except EngineError as error:
        remedy = f"{error.remedy}. Only tunlab test, --tunlab-workers and labs with containers need it"
        return Probe(name, ok=False, detail=error.problem, remedy=remedy)
