"""`tunlab test`: run a test suite in a container."""

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

_PASSED_VARIABLES = (
    "CI", "PYTEST_ADDOPTS", "PYTEST_XDIST_AUTO_NUM_WORKERS", "NO_COLOR", "FORCE_COLOR", "PY_COLORS", "TERM",
)  # fmt: skip
"""Environment variables that are passed to the container."""

_CLOSED_OUTPUT = 1
"""The exit code if standard output was closed: pytest's code for a failed run, because not all tests were run."""


@click.command(
    "test",
    short_help="Run a test suite in a container.",
    context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]},
)
@click.option(
    "--engine", "spec", default="local", metavar="SPEC", help="Docker Engine: local, ctx:NAME, unix://, ssh://, tcp://."
)
@click.option(
    "--privileged", "privileges", flag_value="privileged", help="Run the container privileged.  [default if CI is set]"
)
@click.option("--least", "privileges", flag_value="least", help="Add only the capabilities tunlab needs.  [otherwise]")
@click.option("--cap", "caps", multiple=True, metavar="NAME", help="Add a capability to --least, e.g. SYS_PTRACE.")
@click.option("--image", metavar="IMAGE", help="Use this image, with tunlab installed, instead of building one.")
@click.option("--pythons", metavar="V,V…", help="Run the suite on each Python version, e.g. 3.12,3.13.")
@click.option("--install", multiple=True, metavar="ARGS", help='pip install arguments, e.g. "-e .[test]"; "" for none.')
@click.option("--packages", multiple=True, metavar="NAMES", help="Debian packages to install in the image.")
@click.option("--env", "env", multiple=True, metavar="NAME[=VALUE]", help="Pass or set an environment variable.")
@click.option("--mount", multiple=True, metavar="SRC:DST", help="Mount SRC of the engine's machine at DST, read-only.")
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
    """Run the test suite of the current project in a container. Neither root nor a Docker client is needed.

    All other options are passed to pytest. The project's files that git does not ignore are copied to the container, to
    the same path, and files that the run writes (junit, coverage, pcapng) are copied back. The exit code is pytest's.

    The image is built again when tunlab or the project's dependencies change. By default pip installs the project with
    its test extra, or its requirements.txt. --cap, --install, --packages, --env and --mount may be repeated.

    In pyproject.toml, [tool.tunlab.test] sets install, packages, capabilities, image, env, mounts, and include (files
    to copy although git ignores them).

    Example: tunlab test -n auto --junitxml=junit.xml
    """
    from tunlab.engines.connection.engine import Engine
    from tunlab.engines.containers import cleanup
    from tunlab.engines.project import discovery, settings
    from tunlab.engines.project.archive import size_warning
    from tunlab.engines.suite_run.output_paths import addopts, outside_paths

    arguments = pytest_args[1:] if pytest_args[:1] == ("--",) else pytest_args
    here = Path.cwd()
    root = discovery.find_root(here)
    table = settings.read_settings(root)
    _check_option("--install", install, settings.VALUE_CHECKS["install"])
    _check_option("--env", env, settings.VALUE_CHECKS["env"])
    _check_option("--mount", mount, settings.VALUE_CHECKS["mounts"])
    chosen_privileges: Privileges = privileges or ("privileged" if _is_ci() else "least")
    environment = _environment((*table.get("env", ()), *env))
    mounts = dict(settings.parse_mount(each) for each in (*table.get("mounts", ()), *mount))
    versions = _parse_versions(pythons) if pythons else [""]
    image = image or table.get("image")
    if image and pythons:
        raise click.UsageError("--pythons and --image exclude each other. Give one of them.")
    _check_not_interactive([*addopts(environment), *arguments])
    wanted = install or table.get("install")
    names = discovery.list_files(root, table.get("include", ()))
    if warning := size_warning(root, names):
        click.echo(f"tunlab: {warning}", err=True)

    with _exit_on_sigterm(), Engine.connect(spec) as engine:
        if abandoned := cleanup.remove_abandoned_containers(engine):
            containers = "container" if len(abandoned) == 1 else "containers"
            click.echo(f"removed {len(abandoned)} {containers} of a killed tunlab process", err=True)

        def run_version(version: str) -> int:
            suite_arguments = _arguments_for_version(arguments, version)
            variables = dict(environment)
            if version and (from_environment := addopts(environment)):
                variables["PYTEST_ADDOPTS"] = shlex.join(_arguments_for_version(from_environment, version))
            tag = image or _build(engine, root, names, version, wanted, (*table.get("packages", ()), *packages))
            if image:
                _pull(engine, image)
            from tunlab.engines.suite_run.runner import Suite, run

            own = discovery.is_tunlab(root)  # tunlab's own tests import the package in the image, not the source
            suite = Suite(
                root=root, directory=here, arguments=suite_arguments,
                names=[name for name in names if not own or not name.startswith("tunlab/")],
                outside=outside_paths([*addopts(variables), *suite_arguments], here, root),
                privileges=chosen_privileges, capabilities=(*table.get("capabilities", ()), *caps),
                environment=variables, mounts=mounts,
            )  # fmt: skip
            outcome = run(engine, tag, suite, _write)
            _report_files(outcome.files, root)
            return outcome.status

        status = run_version("") if not pythons else _run_versions(versions, run_version)
    raise click.exceptions.Exit(status)


def _run_versions(versions: Sequence[str], run_version: Callable[[str], int]) -> int:
    """Run the suite on each Python version; return the first exit code that is not 0, else 0."""
    from tunlab.errors import EngineError

    statuses = {}
    for version in versions:
        click.echo(f"== Python {version}", err=True)
        try:
            statuses[version] = run_version(version)
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
    """Build the image with tunlab and the project's dependencies, unless the engine has it; return its tag.

    `install` is None if neither an option nor the project sets it.
    """
    from tunlab.engines.images.project_image import ensure_project_image
    from tunlab.engines.images.suite_image import ensure_suite_image
    from tunlab.engines.project import discovery

    own = discovery.is_tunlab(root)
    with _progress("the image") as progress:
        base = ensure_suite_image(
            engine, python=version, packages=" ".join(packages), extras="test" if own else "", progress=progress
        )
    requested = discovery.default_install(root) if install is None and not own else install or ()
    pip_arguments = [each for each in requested if each.strip()]
    if not pip_arguments:
        return base
    with _progress(f"the image with {', '.join(pip_arguments)}") as progress:
        return ensure_project_image(engine, base, root, names, pip_arguments, progress=progress)


def _pull(engine: Engine, image: str) -> None:
    from tunlab.engines.images.build import pull_image

    with _progress(f"the image {image}", "pulling") as progress:
        pull_image(engine, image, progress=progress)


@contextmanager
def _progress(subject: str, action: str = "building") -> Iterator[Callable[[str], None]]:
    """Yield a function that takes each line of a build's output, and show the build's progress.

    On a terminal this is one line with the current step. Otherwise one line is printed when the build starts.
    """
    from tunlab.cli.progress import Progress

    step = ""

    def take_line(line: str) -> None:
        nonlocal step
        if not step and not sys.stderr.isatty():
            click.echo(f"{action} {subject}", err=True)
        step = line if line.startswith("Step ") or not step else step

    def status_line() -> str:
        return f"{action} {subject}: {step}"[: _columns() - 1] if step else ""

    with Progress(status_line):
        yield take_line


def _is_ci() -> bool:
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def _environment(entries: Sequence[str]) -> dict[str, str]:
    """Return the container's environment variables: those always passed on, and those in `entries` (NAME[=VALUE])."""
    found = {name: os.environ[name] for name in _PASSED_VARIABLES if name in os.environ}
    if sys.stdout.isatty():  # in the container, pytest writes to a pipe and cannot see the terminal's width
        found.setdefault("PY_COLORS", "1")
        found["COLUMNS"] = str(_columns())
    for each in entries:
        name, assigned, value = each.partition("=")
        if assigned:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
    return found


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns


def _check_option(option: str, values: Sequence[str], check: Callable[[str], object]) -> None:
    """Raise BadParameter if a value of the option is invalid."""
    for invalid in filter(None, map(check, values)):
        raise click.BadParameter(str(invalid), param_hint=option)


def _check_not_interactive(arguments: Sequence[str]) -> None:
    """Raise UsageError for options that prompt the user. --tunlab-pause checks for a terminal itself."""
    for option in ("--pdb", "--trace"):
        if option in arguments:
            raise click.UsageError(f"{option} is interactive and does not work in a container. Run `pytest {option}`.")


def _parse_versions(value: str) -> list[str]:
    found = list(dict.fromkeys(filter(None, map(str.strip, value.split(",")))))
    if not found:
        raise click.BadParameter(f"{value!r} has no version. Write 3.12,3.13.", param_hint="--pythons")
    return found


def _arguments_for_version(arguments: Sequence[str], version: str) -> list[str]:
    """Return pytest's arguments for one Python version, which is added to the name of the junit file."""
    if not version:
        return list(arguments)
    changed = list(arguments)
    for option in ("--junitxml", "--junit-xml"):
        for index, each in enumerate(changed):
            if each.startswith(f"{option}="):
                changed[index] = f"{option}={_add_version(each.removeprefix(f'{option}='), version)}"
            elif each == option and index + 1 < len(changed):
                changed[index + 1] = _add_version(changed[index + 1], version)
    return changed


def _add_version(path: str, version: str) -> str:
    return str(Path(path).with_stem(f"{Path(path).stem}-py{version}"))


def _write(stream: str, data: bytes) -> None:
    file = sys.stderr.buffer if stream == "err" else sys.stdout.buffer
    try:
        file.write(data)
        file.flush()
    except BrokenPipeError:
        discard_output()
        raise click.exceptions.Exit(_CLOSED_OUTPUT) from None


def _report_files(files: Sequence[Path], root: Path) -> None:
    if not files:
        return
    shown = [str(path.relative_to(root)) if path.is_relative_to(root) else str(path) for path in files]
    more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
    click.echo(f"copied back: {', '.join(shown[:5])}{more}", err=True)


@contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Raise SystemExit on SIGTERM, so that containers are removed as on Ctrl-C."""

    def raise_exit(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, raise_exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
