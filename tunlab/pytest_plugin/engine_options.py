"""`--tunlab-workers SPEC`: pytest-xdist's own workers, inside containers on any number of Docker Engines.

The options, and what they forbid; the hooks of a run that has them are in engine_workers.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest

RESTARTS_PER_WORKER = 4
"""pytest-xdist's default for -n. With --tx, which tunlab sets, it would allow any number."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tunlab")
    group.addoption(
        "--tunlab-workers",
        action="append",
        metavar="SPEC[*N]",
        help="Run the tests by N workers in containers on this Docker Engine (local, ctx:NAME, ssh://…, unix:///…,"
        " tcp://…), or in user namespaces here (rootless); N: one for each of its processors. May be repeated.",
    )
    group.addoption(
        "--tunlab-image",
        metavar="IMAGE",
        help="The workers' image, with tunlab, pytest, pytest-xdist and what the tests import. By default it is built,"
        " as for `tunlab test`: tunlab, and what the project says that it needs.",
    )
    group.addoption(
        "--tunlab-privileged",
        action="store_true",
        help="Give the workers' containers every privilege, instead of the three capabilities that tunlab needs.",
    )


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config, parser: pytest.Parser) -> Generator[None]:
    """Say that the tests are distributed before pytest-cov asks: it decides here, from the options known so far."""
    __tracebackhide__ = True
    known = early_config.known_args_namespace
    if known.tunlab_workers and hasattr(known, "dist"):  # else there is no pytest-xdist
        typed = parser.parse_known_args([str(each) for each in early_config.invocation_params.args])
        refuse_another_number("-n" if typed.numprocesses is not None else "--tx" if typed.tx else "")
        if known.dist == "no":
            known.dist = "load"
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, int | None, int | None]:
    """Pass over an -n of the ini file, for runs without --tunlab-workers, before pytest-xdist makes workers of it."""
    __tracebackhide__ = True
    if config.getoption("tunlab_workers") and hasattr(config.option, "dist") and not hasattr(config, "workerinput"):
        config.option.numprocesses, config.option.tx = None, []
        if config.option.dist == "no":
            config.option.dist = "load"
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Say how many workers there will be, before pytest-xdist looks; whoever mistook something is told now."""
    specs = config.getoption("tunlab_workers")
    if not specs or hasattr(config, "workerinput"):
        return
    if config.option.collectonly or config.option.help or config.option.version:
        return
    refuse_together(config)
    from tunlab.engines.workers.provision import Provision
    from tunlab.engines.workers.worker_pool import WorkerPool
    from tunlab.engines.workers.worker_spec import places
    from tunlab.errors import TunlabError
    from tunlab.pytest_plugin.engine_workers import EngineWorkers, end

    try:
        provision = Provision(
            config.rootpath,
            config.invocation_params.dir,
            image=config.option.tunlab_image or "",
            privileges="privileged" if config.option.tunlab_privileged else "least",
        )
        fleet = WorkerPool(places(specs))
    except TunlabError as error:
        end(error)
    config.option.tx = ["popen"] * len(fleet.seats)
    if config.option.maxworkerrestart is None:
        config.option.maxworkerrestart = str(RESTARTS_PER_WORKER * len(fleet.seats))
    config.pluginmanager.register(EngineWorkers(config, fleet, provision), "tunlab-workers")


def refuse_another_number(option: str) -> None:
    """Raise UsageError if another option on the command line also sets the number of workers."""
    if option:
        number = f"--tunlab-workers says how many workers there are ('local*4'), and so does {option}: remove one"
        raise pytest.UsageError(number)


def refuse_together(config: pytest.Config) -> None:
    """Raise UsageError for options that mean something else."""
    if not config.pluginmanager.hasplugin("xdist"):
        raise pytest.UsageError("--tunlab-workers needs pytest-xdist: pip install pytest-xdist, and no -p no:xdist")
    if config.getoption("usepdb", False):
        raise pytest.UsageError("--pdb does not work in a container: run the test here, without --tunlab-workers")
