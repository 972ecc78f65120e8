"""The fixtures `dut` and `make_dut`: the device under test, with its output in the report of a failure."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tunlab.pytest_plugin.dut_settings import dut_settings, expect_failure
from tunlab.pytest_plugin.fixture_errors import fail_or_skip, fail_without_traceback, usage_error
from tunlab.pytest_plugin.packet_recorder import recorder_for
from tunlab.pytest_plugin.strict import enable_strict
from tunlab.pytest_plugin.worker_process import die_with_controller

if TYPE_CHECKING:
    from tunlab.dut import Dut

_duts = pytest.StashKey[list["Dut"]]()
"""The test's devices under test. They stay listed after their end, for the report of a failing teardown."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of the fixture `dut` once for each `--dut`."""
    targets = metafunc.config.getoption("tunlab_dut")
    if "dut" in metafunc.fixturenames and len(targets) > 1:
        metafunc.parametrize("dut", targets, indirect=True)


@pytest.fixture
def make_dut(request: pytest.FixtureRequest) -> Iterator[Callable[..., Dut]]:
    """Function that starts a device under test: `make_dut("object:my_stack:Stack", address="10.1.2.1/24", …)`.

    Without a target it is that of the fixture `dut`. The other arguments are those of `@pytest.mark.dut`. The devices
    are ended when the test ends.
    """
    from contextlib import ExitStack

    from tunlab.errors import DeviceError, KernelError, PrivilegeError

    with ExitStack() as resources:

        def make(target: str = "", **settings: Any) -> Dut:
            from tunlab.dut import Target, open_dut

            target, checked, strict = dut_settings(request, target, settings)
            die_with_controller(request.config)
            message = ""
            try:
                parsed = Target.parse(target)
                expect_failure(request.node, parsed)
                netns = request.getfixturevalue("make_netns")() if parsed.kind == "kernel" else None
                dut = resources.enter_context(open_dut(parsed, checked, netns=netns))
            except PrivilegeError as error:
                fail_or_skip(request.config, error)
            except (DeviceError, KernelError) as error:
                message = str(error)
            if message:
                usage_error(message)
            recorder_for(request.node).add_endpoint(dut)
            request.node.stash.setdefault(_duts, []).append(dut)
            if strict:
                enable_strict(request.node, dut)
            return dut

        recorder_for(request.node)
        yield make


@pytest.fixture
def dut(request: pytest.FixtureRequest, make_dut: Callable[..., Dut]) -> Dut:
    """The device under test that `--dut`, `@pytest.mark.dut` or the ini option `tunlab_dut` names."""
    return make_dut(getattr(request, "param", ""))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test at its end if its device under test has ended, which no packet needs to have shown."""
    __tracebackhide__ = True
    result = yield
    from tunlab.errors import DeviceError

    for dut in item.stash.get(_duts, ()):
        try:
            dut.check()
        except DeviceError as error:
            message = f"{type(error).__name__}: {error}"
        else:
            continue
        fail_without_traceback(message)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the output of the devices under test to the report of a failure."""
    __tracebackhide__ = True
    report = yield
    for dut in item.stash.get(_duts, ()):
        lines = [dut.output.rstrip()] if dut.output.strip() else []
        if dut.dropped:
            lines.append(f"it did not read {dut.dropped} of the injected packets in time; they were dropped")
        if report.failed and lines:
            report.sections.append((f"output of {dut.target}", "\n".join(lines)))
    return report
