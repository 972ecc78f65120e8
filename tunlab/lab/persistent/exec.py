"""Becoming a program inside a node: this process, as it is, is the program from then on."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Sequence
from typing import NoReturn

from tunlab.kernel import libc
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.os_errors import translate_os_errors
from tunlab.lab.node import LAB_VARIABLE, NODE_VARIABLE, view_of
from tunlab.lab.persistent.exec_container import exec_in_container
from tunlab.lab.persistent.privilege import NEEDS_ROOT
from tunlab.topology.plan import LabPlan


def exec_in_node(command: Sequence[str], plan: LabPlan, node: str, netns: Netns) -> NoReturn:
    """Enter the node with all that its programs see, and execute `command`.

    A container's node is entered whole: the program is one of the container's.

    Raises PrivilegeError, KernelError (ENOENT for no such program); the process has entered the node then.
    """
    variables = {LAB_VARIABLE: plan.name, NODE_VARIABLE: node}
    if plan.node(node).kind == "container":
        exec_in_container(command, node, netns, variables)
    with translate_os_errors(f"enter lab {plan.name!r}", needs="CAP_SYS_ADMIN", grant=NEEDS_ROOT, netns=str(netns)):
        libc.setns(netns.fd, libc.CLONE_NEWNET)
    view_of(plan, plan.node(node)).enter()
    # Python ignores SIGPIPE, and what is ignored stays so across exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    program = command[0]
    reasons = {
        errno.ENOENT: (f"there is no program {program!r} on this machine", "install it, or give its full path"),
        errno.EACCES: (f"{program!r} may not be executed", "give it the execute permission (chmod +x)"),
    }
    with translate_os_errors(f"run {program}", reasons=reasons):
        os.execvpe(program, list(command), {**os.environ, **variables})
