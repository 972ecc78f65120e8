"""The options --tunlab-workers, --tunlab-image and --tunlab-privileged: pytest-xdist workers in Docker containers.

The module engine_workers has the pytest hooks of a run with these options.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest

RESTARTS_PER_WORKER = 4
"""The default of --max-worker-restart for -n. pytest-xdist has no limit for --tx, which tunlab sets."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tunlab")
    group.addoption(
        "--tunlab-workers",
        action="append",
        metavar="SPEC[*N]",
        help="Run the tests in N workers, in containers on this Docker Engine (local, ctx:NAME, ssh://…, unix:///…,"
        " tcp://…), or in user namespaces of this machine (rootless). N defaults to the number of processors. May be"
        " repeated.",
    )
    group.addoption(
        "--tunlab-image",
        metavar="IMAGE",
        help="The workers' image, with tunlab, pytest, pytest-xdist and the packages that the tests import. By default"
        " it is built as for `tunlab test`, with tunlab and the project's dependencies.",
    )
    group.addoption(
        "--tunlab-privileged",
        action="store_true",
        help="Run the workers' containers privileged, instead of with the three capabilities that tunlab needs.",
    )


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config, parser: pytest.Parser) -> Generator[None]:
    """Set --dist for --tunlab-workers. pytest-cov reads --dist in this hook, so a later hook would be too late."""
    __tracebackhide__ = True
    known = early_config.known_args_namespace
    if known.tunlab_workers and hasattr(known, "dist"):  # The attribute exists only if pytest-xdist is loaded.
        typed = parser.parse_known_args([str(each) for each in early_config.invocation_params.args])
        check_worker_count_options("-n" if typed.numprocesses is not None else "--tx" if typed.tx else "")
        if known.dist == "no":
            known.dist = "load"
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, int | None, int | None]:
    """With --tunlab-workers, reset -n and --tx of the ini file, which are for runs without it, before pytest-xdist."""
    __tracebackhide__ = True
    if config.getoption("tunlab_workers") and hasattr(config.option, "dist") and not hasattr(config, "workerinput"):
        config.option.numprocesses, config.option.tx = None, []
        if config.option.dist == "no":
            config.option.dist = "load"
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Check the options, connect to the engines, and set the number of workers before pytest-xdist reads it."""
    specs = config.getoption("tunlab_workers")
    if not specs or hasattr(config, "workerinput"):
        return
    if config.option.collectonly or config.option.help or config.option.version:
        return
    check_incompatible_options(config)
    from tunlab.engines.workers.worker_pool import WorkerPool
    from tunlab.engines.workers.worker_setup import WorkerSetup
    from tunlab.engines.workers.worker_spec import parse_worker_specs
    from tunlab.errors import TunlabError
    from tunlab.pytest_plugin.engine_workers import EngineWorkers, exit_with_error

    try:
        setup = WorkerSetup(
            config.rootpath,
            config.invocation_params.dir,
            image=config.option.tunlab_image or "",
            privileges="privileged" if config.option.tunlab_privileged else "least",
        )
        pool = WorkerPool(parse_worker_specs(specs))
    except TunlabError as error:
        exit_with_error(error)
    config.option.tx = ["popen"] * len(pool.slots)
    if config.option.maxworkerrestart is None:
        config.option.maxworkerrestart = str(RESTARTS_PER_WORKER * len(pool.slots))
    config.pluginmanager.register(EngineWorkers(config, pool, setup), "tunlab-workers")


def check_worker_count_options(option: str) -> None:
    """Raise UsageError if another option on the command line also sets the number of workers."""
    if option:
        problem = f"--tunlab-workers and {option} both set the number of workers. Remove {option} and write 'local*4'"
        raise pytest.UsageError(problem)


def check_incompatible_options(config: pytest.Config) -> None:
    """Raise UsageError if pytest-xdist is not loaded or --pdb is given."""
    if not config.pluginmanager.hasplugin("xdist"):
        remedy = "Install it (pip install pytest-xdist), and remove -p no:xdist."
        raise pytest.UsageError(f"--tunlab-workers needs pytest-xdist. {remedy}")
    if config.getoption("usepdb", False):
        raise pytest.UsageError("--pdb does not work in a container. Run pytest without --tunlab-workers.")
