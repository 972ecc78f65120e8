"""Several namespaces at once: creation in one thread, killing their programs."""

import errno
import signal
import threading

import pytest

from tunlab.errors import KernelError
from tunlab.kernel.namespace.netns import Netns, kill_processes_in, kill_programs_in
from tunlab.kernel.namespace.netns_thread import run_in_thread


@pytest.fixture
def several():
    """Create three namespaces in one thread, the second with IPv6."""
    created = []

    def create():
        created.extend(Netns.unshare(ipv6=number == 1) for number in range(3))

    run_in_thread(create)
    yield created
    for netns in created:
        netns.close()


def test_unshare_creates_distinct_namespaces(several):
    assert len({netns.identity for netns in several}) == 3
    assert [netns.sysctl("net.ipv6.conf.all.disable_ipv6") for netns in several] == ["1", "0", "1"]


def test_enter_moves_one_thread_between_namespaces(several):
    visited = []

    def visit():
        for netns in several:
            netns.enter()
            with Netns.current() as here:
                visited.append(here.identity)

    run_in_thread(visit)
    assert visited == [netns.identity for netns in several]


def test_kill_programs_in_several_namespaces_kills_programs_of_each(several):
    programs = [netns.popen(["sleep", "600"]) for netns in several]
    assert kill_programs_in(several) == sorted(program.pid for program in programs)
    assert [program.returncode for program in programs] == [-9, -9, -9]
    assert kill_programs_in(several) == []


def test_kill_processes_in_machine_namespace_raises_before_killing(several):
    program = several[0].popen(["sleep", "600"])
    with Netns.current() as own, pytest.raises(KernelError) as caught:
        kill_processes_in([several[0], own])
    assert caught.value.errno == errno.EBUSY
    assert program.poll() is None
    kill_programs_in(several)


def test_uninterruptible_run_in_thread_delays_signal():
    """Ctrl-C during the creation of a lab must wait for the thread that creates it."""
    done = []

    def work():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        asleep.wait(0.2)
        done.append(True)

    asleep = threading.Event()
    with pytest.raises(KeyboardInterrupt):
        run_in_thread(work, uninterruptible=True)
    assert done == [True]
