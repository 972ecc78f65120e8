"""A program as a child of this process, which passes on its signals and ends with its exit code.

Only a child can enter a PID namespace, so `tunlab exec` cannot replace itself by the program.
Source: pid_namespaces(7), sigaction(2) for si_code, credentials(7) for the foreground process group.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from tunlab.errors import TunlabError
from tunlab.kernel import libc
from tunlab.kernel.namespace.processes import has_ended
from tunlab.kernel.os_errors import translate_os_errors

_FORWARDED = {signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
_WAITED = _FORWARDED | {signal.SIGCHLD, signal.SIGTSTP}
_FROM_KERNEL = 0x80  # SI_KERNEL in <asm-generic/siginfo.h>


def run_as_child(
    command: Sequence[str], enter: Callable[[], None], environment: Mapping[str, str], *, directory: str = ""
) -> NoReturn:
    """Run a program and exit with its exit code: 128 + N if signal N ended it, 126 or 127 if it cannot be executed.

    Args:
        command: the program and its arguments.
        enter: moves the child into its namespaces.
        environment: the program's environment.
        directory: its working directory in a container's file system; "" if `enter` sets it.
    """
    own = os.pidfd_open(os.getpid())
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED)
    terminal = next((fd for fd in range(3) if _is_in_foreground(fd)), -1)
    child = os.fork()
    if not child:
        _execute(command, enter, environment, directory, own, before)
    code = _wait(child)
    if terminal >= 0 and not _is_in_foreground(terminal):  # A shell left its job in the foreground.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        with contextlib.suppress(OSError):  # The terminal was closed.
            os.tcsetpgrp(terminal, os.getpgrp())
    os._exit(code)


def _is_in_foreground(fd: int) -> bool:
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:  # The descriptor is not this process's controlling terminal.
        return False


def _wait(child: int) -> int:
    """Wait for the child and pass signals on to it; return its exit code."""
    while True:
        received = signal.sigwaitinfo(_WAITED)
        if received.si_signo in _FORWARDED:
            # Do not pass on Ctrl-C and Ctrl-\ from the terminal, which sends them to the child too.
            if received.si_code != _FROM_KERNEL or received.si_signo == signal.SIGHUP:
                os.kill(child, received.si_signo)
            continue
        pid, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
        if not pid:
            continue
        if os.WIFSTOPPED(status):  # Stop this process as well, so that the shell that started it sees the stop.
            os.kill(os.getpid(), signal.SIGSTOP)
            os.kill(child, signal.SIGCONT)
            continue
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code


def _execute(
    command: Sequence[str],
    enter: Callable[[], None],
    environment: Mapping[str, str],
    directory: str,
    parent: int,
    mask: set[int | signal.Signals],
) -> NoReturn:
    program = command[0]
    code = 70  # EX_SOFTWARE in <sysexits.h>, for an unexpected exception
    try:
        # Restore the defaults: Python ignores SIGPIPE, for example, and execve(2) would keep that.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        enter()
        libc.die_with_parent(signal.SIGKILL)
        if has_ended(parent):
            os._exit(code)
        place = "in the container" if directory else "on this machine"
        reasons = {
            errno.ENOENT: (f"there is no program {program!r} {place}", "install it, or give its full path"),
            errno.EACCES: (f"{program!r} is not executable", "give it the execute permission (chmod +x)"),
        }
        code = 126
        with translate_os_errors(f"run {program}", reasons=reasons):
            if directory:
                os.chdir(directory)
            os.execvpe(program, list(command), dict(environment))
    except TunlabError as error:
        if code != 126:
            code = error.exit_code
        elif isinstance(error, OSError) and error.errno == errno.ENOENT:
            code = 127
        os.write(2, f"tunlab: {error}\n".encode())
    finally:
        os._exit(code)  # Skip exit handlers and buffered output, which belong to the parent.
