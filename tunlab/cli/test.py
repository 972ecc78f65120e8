"""`tunlab test`: a suite in a container, as if it ran here."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from tunlab.cli import discard_output

if TYPE_CHECKING:
    from tunlab.engines.connection.engine import Engine
    from tunlab.engines.containers.container import Privileges

_HANDED_ON = (
    "CI", "PYTEST_ADDOPTS", "PYTEST_XDIST_AUTO_NUM_WORKERS", "NO_COLOR", "FORCE_COLOR", "PY_COLORS", "TERM",
)  # fmt: skip
"""Variables of this environment that pytest inside sees as well."""

_CUT_OFF = 1
"""Exit code where nobody reads the output any more: pytest's own, for a suite that was not run to its end."""


@click.command(
    "test",
    short_help="Run a test suite in a container.",
    context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]},
)
@click.option("--engine", "spec", default="local", metavar="SPEC", help="local, ctx:NAME, unix://, ssh://, tcp://.")
@click.option("--privileged", "privileges", flag_value="privileged", help="All rights.  [default where CI is set]")
@click.option("--least", "privileges", flag_value="least", help="Only the rights that tunlab needs.  [default else]")
@click.option("--cap", "caps", multiple=True, metavar="NAME", help="With --least, one more, as SYS_PTRACE. Repeatable.")
@click.option("--image", metavar="IMAGE", help="One of yours, with tunlab in it, in place of tunlab's own.")
@click.option("--pythons", metavar="V,V…", help="Run it on each of these versions: 3.11,3.12,3.13.")
@click.option("--install", multiple=True, metavar="ARGS", help='For pip, as "-e .[test]"; "" for nothing. Repeatable.')
@click.option("--packages", multiple=True, metavar="NAMES", help="Debian packages to have in the image. Repeatable.")
@click.option("--env", "env", multiple=True, metavar="NAME[=VALUE]", help="A variable for pytest to see. Repeatable.")
@click.option("--mount", multiple=True, metavar="HERE:THERE", help="Of the engine's machine, read-only. Repeatable.")
@click.argument("pytest_args", nargs=-1, type=click.UNPROCESSED, metavar="[--] [PYTEST ARGS]…")
def test_command(
    spec: str,
    privileges: Privileges | None,
    caps: tuple[str, ...],
    image: str | None,
    pythons: str | None,
    install: tuple[str, ...],
    packages: tuple[str, ...],
    env: tuple[str, ...],
    mount: tuple[str, ...],
    pytest_args: tuple[str, ...],
) -> None:
    """Run the test suite of the project that you are in, inside a container: no root is needed, and no Docker client.

    Whatever is no option of this command is pytest's. The project's files, as git knows them, are carried in, to the
    same path; what the run writes there (junit, coverage, pcapng) is carried back; the exit code is pytest's. The image
    is built when what it is made of has changed: tunlab, and what the project needs, which is its test extra or its
    requirements.txt unless --install says otherwise. [tool.tunlab.test] in pyproject.toml may hold install, packages,
    capabilities, image, env, mounts, and include: files to carry in that git ignores.

    Example: tunlab test -n auto --junitxml=junit.xml
    """
    from tunlab.engines.connection.engine import Engine
    from tunlab.engines.containers import cleanup
    from tunlab.engines.project import discovery, settings
    from tunlab.engines.project.archive import heavy
    from tunlab.engines.suite_run.output_paths import added, outside

    arguments = pytest_args[1:] if pytest_args[:1] == ("--",) else pytest_args
    here = Path.cwd()
    root = discovery.find_root(here)
    said = settings.of(root)
    _refuse("--install", install, settings.CHECKS["install"])
    _refuse("--env", env, settings.CHECKS["env"])
    _refuse("--mount", mount, settings.CHECKS["mounts"])
    rights: Privileges = privileges or ("privileged" if _is_ci() else "least")
    environment = _environment((*said.get("env", ()), *env))
    mounts = dict(settings.mount(each) for each in (*said.get("mounts", ()), *mount))
    versions = _versions(pythons) if pythons else [""]
    image = image or said.get("image")
    if image and pythons:
        raise click.UsageError("--pythons builds an image for each version, and --image names one")
    _refuse_to_wait([*added(environment), *arguments])
    wanted = install or said.get("install")
    names = discovery.files(root, said.get("include", ()))
    if told := heavy(root, names):
        click.echo(f"tunlab: {told}", err=True)

    with _sigterm_ends_us(), Engine.connect(spec) as engine:
        if abandoned := cleanup.remove_abandoned_containers(engine):
            containers = "container" if len(abandoned) == 1 else "containers"
            click.echo(f"removed {len(abandoned)} {containers} of a tunlab that was killed", err=True)

        def one(version: str) -> int:
            its = _for_version(arguments, version)
            seen = dict(environment)
            if version and (from_environment := added(environment)):
                seen["PYTEST_ADDOPTS"] = shlex.join(_for_version(from_environment, version))
            chosen = image or _build(engine, root, names, version, wanted, (*said.get("packages", ()), *packages))
            if image:
                _pull(engine, image)
            from tunlab.engines.suite_run.runner import Suite, run

            own = discovery.is_tunlab(root)  # its package is the one that the image has installed
            suite = Suite(
                root=root, directory=here, arguments=its,
                names=[name for name in names if not own or not name.startswith("tunlab/")],
                outside=outside([*added(seen), *its], here, root), privileges=rights,
                capabilities=(*said.get("capabilities", ()), *caps), environment=seen, mounts=mounts,
            )  # fmt: skip
            outcome = run(engine, chosen, suite, _write)
            _say_files(outcome.files, root)
            return outcome.status

        status = one("") if not pythons else _matrix(versions, one)
    raise click.exceptions.Exit(status)


def _matrix(versions: Sequence[str], one: Callable[[str], int]) -> int:
    """Each version's run, one after the other; the first status that is not 0."""
    from tunlab.errors import EngineError

    statuses = {}
    for version in versions:
        click.echo(f"== Python {version}", err=True)
        try:
            statuses[version] = one(version)
        except EngineError as error:
            click.echo(f"tunlab: Python {version}: {error}", err=True)
            statuses[version] = error.exit_code
    for version, status in statuses.items():
        click.echo(f"Python {version}: {'passed' if status == 0 else f'exit code {status}'}", err=True)
    return next((status for status in statuses.values() if status), 0)


def _build(
    engine: Engine,
    root: Path,
    names: Sequence[str],
    version: str,
    install: Sequence[str] | None,
    packages: tuple[str, ...],
) -> str:
    """The image of tunlab with what the project needs; install: None where nobody says what that is."""
    from tunlab.engines.images.project_image import ensure_project_image
    from tunlab.engines.images.suite_image import ensure_suite_image
    from tunlab.engines.project import discovery

    own = discovery.is_tunlab(root)
    with _telling("the image") as progress:
        base = ensure_suite_image(
            engine, python=version, packages=" ".join(packages), extras="test" if own else "", progress=progress
        )
    asked = discovery.needs(root) if install is None and not own else install or ()
    needed = [each for each in asked if each.strip()]
    if not needed:
        return base
    with _telling(f"the image with {', '.join(needed)}") as progress:
        return ensure_project_image(engine, base, root, names, needed, progress=progress)


def _pull(engine: Engine, image: str) -> None:
    from tunlab.engines.images.build import pull_image

    with _telling(f"the image {image}", "fetching") as progress:
        pull_image(engine, image, progress=progress)


@contextmanager
def _telling(what: str, doing: str = "building") -> Iterator[Callable[[str], None]]:
    """How far a build is: on a terminal in one line that changes, else that it begins, once; nothing where none is."""
    from tunlab.cli.progress import Progress

    step = ""

    def progress(line: str) -> None:
        nonlocal step
        if not step and not sys.stderr.isatty():
            click.echo(f"{doing} {what}", err=True)
        step = line if line.startswith("Step ") or not step else step

    def say() -> str:
        return f"{doing} {what}: {step}"[: _columns() - 1] if step else ""

    with Progress(say):
        yield progress


# ---- what pytest is given ------------------------------------------------------------------------------------------


def _is_ci() -> bool:
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def _environment(given: Sequence[str]) -> dict[str, str]:
    """Return the variables of this environment that pytest gets in the container, and those of --env."""
    found = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
    if sys.stdout.isatty():  # inside it is a pipe
        found.setdefault("PY_COLORS", "1")
        found["COLUMNS"] = str(_columns())
    for each in given:
        name, assigned, value = each.partition("=")
        if assigned:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
    return found


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns


def _refuse(option: str, given: Sequence[str], check: Callable[[str], object]) -> None:
    """Raise BadParameter for what the option cannot say."""
    for mistake in filter(None, map(check, given)):
        raise click.BadParameter(str(mistake), param_hint=option)


def _refuse_to_wait(arguments: Sequence[str]) -> None:
    """Raise UsageError for a prompt that nobody could answer; --tunlab-pause refuses itself."""
    for option in ("--pdb", "--trace"):
        if option in arguments:
            raise click.UsageError(f"{option} is interactive and does not work in a container: run pytest here")


def _versions(given: str) -> list[str]:
    found = list(dict.fromkeys(filter(None, map(str.strip, given.split(",")))))
    if not found:
        raise click.BadParameter(f"{given!r} names no version: write 3.12,3.13", param_hint="--pythons")
    return found


def _for_version(arguments: Sequence[str], version: str) -> list[str]:
    """pytest's arguments for one version of several: its junit file has the version in its name."""
    if not version:
        return list(arguments)
    changed = list(arguments)
    for option in ("--junitxml", "--junit-xml"):
        for place, each in enumerate(changed):
            if each.startswith(f"{option}="):
                changed[place] = f"{option}={_versioned(each.removeprefix(f'{option}='), version)}"
            elif each == option and place + 1 < len(changed):
                changed[place + 1] = _versioned(changed[place + 1], version)
    return changed


def _versioned(path: str, version: str) -> str:
    return str(Path(path).with_stem(f"{Path(path).stem}-py{version}"))


# ---- what comes of it ----------------------------------------------------------------------------------------------


def _write(stream: str, piece: bytes) -> None:
    to = sys.stderr.buffer if stream == "err" else sys.stdout.buffer
    try:
        to.write(piece)
        to.flush()
    except BrokenPipeError:  # its reader has seen enough
        discard_output()
        raise click.exceptions.Exit(_CUT_OFF) from None


def _say_files(files: Sequence[Path], root: Path) -> None:
    if not files:
        return
    shown = [str(path.relative_to(root)) if path.is_relative_to(root) else str(path) for path in files]
    more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
    click.echo(f"copied back: {', '.join(shown[:5])}{more}", err=True)


@contextmanager
def _sigterm_ends_us() -> Iterator[None]:
    """SIGTERM is raised as Ctrl-C is, so that what was begun is removed."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
