"""Replace this process by a program that runs in a node, as `tunlab exec` does."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Sequence
from typing import NoReturn

from tunlab.kernel import libc
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.os_errors import translate_os_errors
from tunlab.lab.node import LAB_VARIABLE, NODE_VARIABLE, mount_overlay
from tunlab.lab.persistent.exec_container import exec_in_container
from tunlab.lab.persistent.privilege import NEEDS_ROOT
from tunlab.topology.plan import LabPlan


def exec_in_node(command: Sequence[str], plan: LabPlan, node: str, netns: Netns) -> NoReturn:
    """Replace this process by `command`, run in a node. In a container, run the program of the container's file system.

    Raises:
        PrivilegeError: without CAP_SYS_ADMIN.
        KernelError: if the program cannot be executed (ENOENT, EACCES). The process is already inside the node then.
    """
    variables = {LAB_VARIABLE: plan.name, NODE_VARIABLE: node}
    if plan.node(node).kind == "container":
        exec_in_container(command, node, netns, variables)
    with translate_os_errors(f"enter lab {plan.name!r}", needs="CAP_SYS_ADMIN", grant=NEEDS_ROOT, netns=str(netns)):
        libc.setns(netns.fd, libc.CLONE_NEWNET)
    mount_overlay(plan, plan.node(node)).enter()
    # Python ignores SIGPIPE, and an ignored signal stays ignored across execve(2), so restore the default.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    program = command[0]
    reasons = {
        errno.ENOENT: (f"there is no program {program!r} on this machine", "install it, or give its full path"),
        errno.EACCES: (f"{program!r} is not executable", "give it the execute permission (chmod +x)"),
    }
    with translate_os_errors(f"run {program}", reasons=reasons):
        os.execvpe(program, list(command), {**os.environ, **variables})
