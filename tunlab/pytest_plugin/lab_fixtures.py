"""A test's own lab."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tunlab.pytest_plugin.fixture_errors import fail_or_skip, make_or_fail, usage_error
from tunlab.pytest_plugin.options import LAB_MARKER
from tunlab.pytest_plugin.packet_recorder import TestRecorder, recorder_for

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

    from tunlab.lab.live_lab import LiveLab


@pytest.fixture
def make_lab(request: pytest.FixtureRequest) -> Iterator[Callable[..., LiveLab]]:
    """Makes labs: `make_lab("router.toml")`, a ready lab's name, TOML text, or `nodes={…}`; they end with the test."""
    from contextlib import ExitStack

    from tunlab.errors import PrivilegeError

    beside = (request.path.parent, request.config.rootpath)
    watch = recorder_for(request.node)
    with ExitStack() as resources:

        def make(which: str | os.PathLike[str] | None = None, **tables: Any) -> LiveLab:
            try:
                lab = _lab(which, beside, tables, watch, resources)
                watch.labs.append(lab)
                return lab
            except PrivilegeError as error:
                fail_or_skip(request.config, error)

        yield make


@pytest.fixture
def lab(request: pytest.FixtureRequest, make_lab: Callable[..., LiveLab]) -> LiveLab:
    """The lab that `@pytest.mark.lab("router.toml")` names, up: `lab["client"].run(["ping", "-c1", "server"])`."""
    marker = request.node.get_closest_marker("lab")
    if marker is None:
        usage_error('the fixture lab makes what @pytest.mark.lab("router.toml") names, and this test has no such mark')
    which = marker.args[0] if marker.args else None
    if len(marker.args) > 1 or not isinstance(which, str | os.PathLike | None) or not (marker.args or marker.kwargs):
        usage_error(f"@pytest.mark.lab takes one lab file, ready lab or TOML text: {LAB_MARKER}")
    if which is not None and (unknown := [key for key in marker.kwargs if key != "name"]):
        usage_error(f"@pytest.mark.lab has no setting {unknown[0]!r} beside a lab file; it takes name")
    return make_or_fail(make_lab, which=which, **marker.kwargs)


def _lab(
    which: str | os.PathLike[str] | None,
    beside: Sequence[Path],
    tables: dict[str, Any],
    watch: TestRecorder,
    resources: ExitStack,
) -> LiveLab:
    """The lab of a file, of a ready lab, of TOML text, which is known by its line breaks, or of tables."""
    from tunlab.lab.lab_files import find_lab_file, read_spec
    from tunlab.lab.live_lab import LiveLab
    from tunlab.topology import parse_lab, plan
    from tunlab.topology.lab_file.reader import parse_tables

    base = beside[0]
    if which is None:
        spec = parse_tables(tables)
    elif isinstance(which, str) and "\n" in which:
        spec = parse_lab(which).changed(**tables)
    else:
        file = find_lab_file(os.fspath(which), beside)
        spec, base = read_spec(file).changed(**tables), file.parent
    planned = plan(spec)
    containers = None
    if any(node.kind == "container" for node in planned.nodes):
        from tunlab.engines.nodes import Nodes

        containers = resources.enter_context(Nodes(planned, stays=False))
    hold = partial(watch.add_lab, planned)
    return resources.enter_context(LiveLab.make(planned, base=base, containers=containers, hold=hold))
