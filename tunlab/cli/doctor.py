"""`tunlab doctor`: what this machine can do, what is missing, and what to do about each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tunlab.kernel.probe import Probe

_ENGINE_TIMEOUT = 2
_NO_PERMISSION = 77  # EX_NOPERM, as PrivilegeError has it


@click.command("doctor", short_help="Say what this machine can do.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def doctor_command(as_json: bool) -> None:
    """Say what this machine can do and what is missing, each with its remedy.

    Without root, what can be tried in a user namespace is tried there ("rootless"). Ends with 0 if a namespace with a
    TUN device can be made here, one way or the other, else with 77.

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
        rootless = ", rootless; labs that stay (tunlab up) need root" if any(each.rootless for each in probes) else ""
        does = f"works here{rootless}" if able else "does not work here: see what is MISSING"
        click.echo(f"\ntunlab {does}", err=True)
    if not able:
        raise click.exceptions.Exit(_NO_PERMISSION)


def _engine() -> Probe:
    """Whether a Docker Engine answers: the suite runs in containers as well, and nothing else needs one."""
    from tunlab.errors import EngineError
    from tunlab.kernel.probe import Probe

    name = "Docker Engine"
    try:
        from tunlab.engines.connection import Engine

        with Engine.connect(timeout=_ENGINE_TIMEOUT) as engine:
            return Probe(name, ok=True, detail=f"version {engine.version}")
    except ImportError:
        return Probe(name, ok=False, detail="the Docker SDK is not installed", remedy="pip install docker")
    except EngineError as error:
        remedy = f"{error.remedy}; only the suite in containers and labs with containers need it"
        return Probe(name, ok=False, detail=error.problem, remedy=remedy)
