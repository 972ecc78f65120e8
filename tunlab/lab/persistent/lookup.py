"""Find persistent labs, their condition and the namespaces of their nodes."""

from __future__ import annotations

import contextlib
import errno
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path

from msgspec.structs import replace

from tunlab.errors import KernelError, LabError, PrivilegeError, TopologyError
from tunlab.kernel.namespace.machine import read_statuses
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.namespace.processes import find_processes, is_node_init
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.lab.build.namespaces import Namespaces
from tunlab.lab.persistent import state as states
from tunlab.lab.persistent.state import INIT, NET, LabState
from tunlab.lab.persistent.status import Condition, EndedProgram, Status
from tunlab.lab.run_directory import run_directory
from tunlab.topology import LabPlan, check_lab_name


def lab_names() -> list[str]:
    """Return the names of all labs with a directory below /run/tunlab, up or not, sorted."""
    try:
        names = sorted(entry.name for entry in run_directory().iterdir() if entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    valid = []
    for name in names:
        with contextlib.suppress(TopologyError):  # not a valid lab name, so another program made the directory
            valid.append(check_lab_name(name))
    return valid


def condition_of(name: str, state: LabState | None, *, locked: bool = False) -> Condition:
    """Return the condition of a lab, such as "up"; give `locked=True` if this process holds the lab's lock."""
    directory = states.lab_directory(name)
    if state is None:
        return "coming up" if not locked and states.is_locked(directory) else "broken"
    if state.phase == "coming up":
        return "coming up" if state.is_owner_alive() else "broken"
    return "up" if states.has_all_namespaces(directory, state) else "gone"


def running_labs() -> list[str]:
    """Return the names of all labs that are up."""
    return [name for name in lab_names() if condition_of(name, states.read(states.lab_directory(name))) == "up"]


def read_running(name: str) -> LabState:
    """Return the record of a lab that is up. Raises LabError if it is not."""
    state = states.read(states.lab_directory(name))
    if condition_of(name, state) != "up" or state is None:
        raise not_up_error(name)
    return state


# ---- nodes -----------------------------------------------------------------------------------------------------------


def find_node(plan: LabPlan, name: str = "") -> str:
    """Check a node's name and return it; if it is empty, return the only node, else the only node with a TUN.

    Raises:
        LabError: if there is no such node, or no name is given and several nodes match.
    """
    named = [node.name for node in plan.nodes if not node.implicit]
    if name:
        if any(node.name == name for node in plan.nodes):
            return name
        close = get_close_matches(name, named, n=1)
        remedy = f"did you mean {close[0]}?" if close else f"its nodes are {', '.join(named)}"
        raise LabError(plan.name, f"lab {plan.name!r} has no node {name!r}", remedy=remedy)
    candidates = named if len(named) == 1 else [node.name for node in plan.nodes if node.tun]
    if len(candidates) == 1:
        return candidates[0]
    problem = f"lab {plan.name!r} has {len(named)} nodes: {', '.join(named)}"
    raise LabError(plan.name, problem, remedy=f"name one of them: {plan.name}/{named[0]}")


def pin_path(state: LabState, node: str) -> Path:
    """Return the path at which a node's namespace is bind-mounted."""
    return states.node_directory(states.lab_directory(state.name), state.plan, node) / NET


def init_path(state: LabState, node: str) -> Path:
    """Return the path of the socket of a node's init."""
    return pin_path(state, node).with_name(INIT)


def open_namespace(state: LabState, node: str) -> Netns | None:
    """Open a node's bind-mounted namespace; return None if it is missing or differs from the recorded one."""
    try:
        netns = Netns.open(pin_path(state, node))
    except KernelError as error:
        if error.errno in (errno.ENOENT, errno.EINVAL, errno.ENOTDIR):
            return None
        raise
    if netns.identity != state.namespaces.get(node):
        netns.close()
        return None
    return netns


def open_namespaces(state: LabState) -> Namespaces:
    """Open the namespaces of all nodes, in the plan's order; the caller closes each."""
    found = {name: open_namespace(state, name) for name in state.namespaces}
    return {name: netns for name, netns in found.items() if netns is not None}


# ---- status and errors -----------------------------------------------------------------------------------------------


def status_of(name: str) -> Status:
    """Return a lab's condition, addresses and processes, as `tunlab ls` shows them."""
    state = states.read(states.lab_directory(name))
    condition = condition_of(name, state)
    status = Status(name, condition, "", "", [], None, [])
    if state is None:
        return status
    nodes, links = [node.name for node in state.plan.nodes if not node.implicit], len(state.plan.links)
    status = replace(status, since=state.created, nodes=nodes, links=links)
    if state.namespaces and condition != "gone":
        found = find_processes(set(state.namespaces.values()))
        processes = [pid for pid in found if not is_node_init(pid)]
        status = replace(status, processes=processes, ended=_ended_programs(state))
    tun_node = next((node for node in state.plan.nodes if node.tun), None)
    if tun_node is None:
        return status
    recorded = next(list(each.addresses) for each in tun_node.interfaces if each.ifname == tun_node.tun)
    status = replace(status, ifname=tun_node.tun, addresses=recorded)
    netns = open_namespace(state, tun_node.name)
    if netns is None:
        return status
    # The TUN may be missing, because a program in the lab may have deleted or renamed it.
    with netns, contextlib.suppress(PrivilegeError), Rtnl(netns) as rtnl:
        links_now = {link.name: link for link in rtnl.links()}
        link = links_now.get(tun_node.tun)
        addresses = [address.cidr for address in rtnl.addresses(link.index)] if link else []
        status = replace(status, addresses=addresses, attached=bool(link and link.carrier))
    return status


def _ended_programs(state: LabState) -> list[EndedProgram]:
    ended = list[EndedProgram]()
    for node in state.plan.nodes:
        path = init_path(state, node.name)
        if not node.run or node.kind == "container" or not path.exists():
            continue
        with contextlib.suppress(KernelError):  # The user may not connect, or the init was killed meanwhile.
            for number, (status, time) in sorted(read_statuses(path).items()):
                if number >= 0 and status is not None:
                    at = datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds")
                    ended.append(EndedProgram(node.name, number + 1, node.run[number].arguments, status, at))
    return ended


def exists_error(name: str) -> LabError:
    """Return the error for a name that a lab already has; it says if that lab is up, coming up, broken or gone."""
    state = states.read(states.lab_directory(name))
    remedy = f"`tunlab down {name}` removes it"
    match condition_of(name, state):
        case "up":
            since = state.created if state else ""
            return LabError(name, f"lab {name!r} is already up (since {since})", remedy=remedy)
        case "coming up":
            owner = f" (process {state.owner})" if state else ""
            return LabError(name, f"lab {name!r} is coming up{owner}", remedy="wait for it, or choose another name")
        case "gone":
            are = "s no longer exist" if state and len(state.plan.nodes) > 1 else " no longer exists"
            return LabError(name, f"lab {name!r} was up, but its namespace{are}, as after a reboot", remedy=remedy)
        case _:
            return LabError(name, f"lab {name!r} is broken: the process that built it was killed", remedy=remedy)


def not_up_error(name: str) -> LabError:
    """Return the error for a lab that does not exist or is not up."""
    directory = states.lab_directory(name)
    if directory.is_dir() and condition_of(name, states.read(directory)) != "up":
        return exists_error(name)
    running = running_labs()
    remedy = f"running labs: {', '.join(running)}" if running else f"`tunlab up --name {name}` creates it"
    return LabError(name, f"there is no lab {name!r}", remedy=remedy)
