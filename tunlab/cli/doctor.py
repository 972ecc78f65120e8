"""`tunlab doctor`: what this machine can do, what is missing, and what to do about each."""

from __future__ import annotations

import os
import socket
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
    from tunlab.kernel.probe import Probe

    name = "Docker Engine"
    try:
        from docker.client import DockerClient
        from docker.errors import DockerException
    except ImportError:
        return Probe(name, ok=False, detail="the Docker SDK is not installed", remedy="pip install docker")
    remedy = "start one, or say where it is in DOCKER_HOST; only the suite in containers needs it"
    host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if host.startswith("unix://"):
        # Asked first: on a refusal the SDK leaves its socket open.
        try:
            with socket.socket(socket.AF_UNIX) as door:
                door.connect(host.removeprefix("unix://"))
        except OSError as error:
            return Probe(name, ok=False, detail=f"none at {host} ({error.strerror})", remedy=remedy)
    try:
        client = DockerClient.from_env(timeout=_ENGINE_TIMEOUT)
        try:
            version = client.version()["Version"]
        finally:
            client.close()
    except (DockerException, OSError, KeyError) as error:
        cause = str(error).split(": ", 1)[-1].split("\n")[0]
        return Probe(name, ok=False, detail=f"none answers ({cause})", remedy=remedy)
    return Probe(name, ok=True, detail=f"version {version}")
