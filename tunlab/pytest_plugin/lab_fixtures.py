"""The fixtures `lab` and `make_lab`, which start labs: virtual networks of namespaces."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tunlab.pytest_plugin.fixture_errors import fail_or_skip, fail_without_traceback, make_or_fail, usage_error
from tunlab.pytest_plugin.options import LAB_MARKER
from tunlab.pytest_plugin.packet_recorder import TestRecorder, recorder_for, recorder_key

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

    from tunlab.lab.lab import Lab


@pytest.fixture
def make_lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Lab]]:
    """Function that starts a lab from a file, a ready lab's name, TOML text or tables: `make_lab("router.toml")`.

    The labs are removed when the test ends.
    """
    from contextlib import ExitStack

    from tunlab.errors import PrivilegeError

    directories = (request.path.parent, request.config.rootpath)
    recorder = recorder_for(request.node)
    with ExitStack() as resources:

        def make(source: str | os.PathLike[str] | None = None, **tables: Any) -> Lab:
            try:
                lab = _start_lab(source, directories, tables, recorder, resources, tmp_path_factory.getbasetemp())
                recorder.labs.append(lab)
                return lab
            except PrivilegeError as error:
                fail_or_skip(request.config, error)

        yield make


@pytest.fixture
def lab(request: pytest.FixtureRequest, make_lab: Callable[..., Lab]) -> Lab:
    """The running lab of `@pytest.mark.lab("router.toml")`: `lab["client"].run(["ping", "-c1", "server"])`."""
    marker = request.node.get_closest_marker("lab")
    if marker is None:
        usage_error('the lab fixture needs a lab. Add @pytest.mark.lab("router.toml") to the test.')
    source = marker.args[0] if marker.args else None
    if len(marker.args) > 1 or not isinstance(source, str | os.PathLike | None) or not (marker.args or marker.kwargs):
        usage_error(f"@pytest.mark.lab takes one lab file, ready lab or TOML text: {LAB_MARKER}")
    if source is not None and (unknown := [key for key in marker.kwargs if key != "name"]):
        usage_error(f"@pytest.mark.lab has no setting {unknown[0]!r} besides a lab file. Its one setting is name.")
    return make_or_fail(make_lab, source=source, **marker.kwargs)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test at its end if a program that a lab file runs has ended; say so too if the test failed itself."""
    __tracebackhide__ = True
    try:
        result = yield
    except BaseException:
        if failures := _program_failures(item):
            item.add_report_section("call", "programs that ended", "\n".join(failures))
        raise
    if failures := _program_failures(item):
        fail_without_traceback("\n".join(failures))
    return result


def _program_failures(item: pytest.Item) -> list[str]:
    if recorder_key not in item.stash:
        return []
    return [str(failure) for lab in item.stash[recorder_key].labs if not lab.closed for failure in lab.failures()]


def _start_lab(
    source: str | os.PathLike[str] | None,
    directories: Sequence[Path],
    tables: dict[str, Any],
    recorder: TestRecorder,
    resources: ExitStack,
    visible: Path,
) -> Lab:
    """Start a lab. `source` is a file, a ready lab's name or TOML text (with a newline); None uses `tables`."""
    import msgspec

    from tunlab.lab.lab import Lab
    from tunlab.lab.lab_files import find_lab_file, read_spec
    from tunlab.topology import parse_lab, plan
    from tunlab.topology.lab_file.reader import parse_tables

    base = directories[0]
    if source is None:
        spec = parse_tables(tables)
    elif isinstance(source, str) and "\n" in source:
        spec = parse_lab(source).override(**tables)
    else:
        file = find_lab_file(os.fspath(source), directories)
        spec, base = read_spec(file).override(**tables), file.parent
    lab_plan = plan(spec)
    # A test and the programs of its nodes exchange files in `tmp_path`, also if a node has a /tmp of its own.
    nodes = tuple(msgspec.structs.replace(node, visible=(str(visible),)) for node in lab_plan.nodes)
    lab_plan = msgspec.structs.replace(lab_plan, nodes=nodes)
    containers = None
    if any(node.kind == "container" for node in lab_plan.nodes):
        from tunlab.engines.lab_nodes import LabContainers

        containers = resources.enter_context(LabContainers(lab_plan, persistent=False))
    lab = Lab.from_plan(lab_plan, base=base)
    lab.start(containers=containers, on_namespaces=partial(recorder.add_lab, lab_plan))
    return resources.enter_context(lab)
