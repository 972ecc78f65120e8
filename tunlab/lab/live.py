"""A lab that stays when the command that made it has ended: a pinned namespace with a persistent TUN.

What is up is the kernel's to know; the lab's directory (tunlab.lab.state) records only what there is to remove. No
process stays behind.
Rule for editors: whatever a step of `up` makes is recorded before, or goes with the process that made it: after
SIGKILL at any instruction, `down` removes all of it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NoReturn, Self

from msgspec import Struct
from msgspec.structs import replace

from tunlab.errors import KernelError, LabError, PrivilegeError, TopologyError
from tunlab.kernel import libc
from tunlab.kernel.netns import Netns, unpin
from tunlab.kernel.refusal import refusing
from tunlab.kernel.rtnl import Rtnl
from tunlab.kernel.tun import TunDevice
from tunlab.lab import state as states
from tunlab.lab.privilege import NEEDS_ROOT, check_privilege
from tunlab.lab.state import NET, State
from tunlab.topology import LabSpec, check_lab_name

LAB_VARIABLE = "TUNLAB_LAB"
"""The environment variable by which programs inside a lab, and tunlab itself there, know which one it is."""

Condition = Literal["up", "coming up", "broken", "gone"]


class Removed(Struct, frozen=True):
    """What `down` has removed.

    processes   those that lived in the lab, by id, killed
    ifname      the device; "" if there was none (any more)
    namespace   whether it was there
    """

    name: str
    processes: list[int]
    ifname: str
    namespace: bool


class Status(Struct, frozen=True):
    """A lab as `tunlab ls` shows it.

    condition   "up"; "coming up": its maker is at work; "broken": that ended half-way; "gone": it was up, and its
                namespace is no more, as after a reboot
    since       UTC, as RFC 3339 has it; "" where it is not recorded
    addresses   of the device, as the kernel has them now; as recorded, without the right to ask
    attached    whether somebody reads the device; None without the right to ask
    processes   those that live in the lab, by id
    """

    name: str
    condition: Condition
    since: str
    ifname: str
    addresses: list[str]
    attached: bool | None
    processes: list[int]


class Lab:
    """A lab by its name. `up` makes one; `open` finds one that is up; what is left of any can be taken `down`."""

    def __init__(self, name: str) -> None:
        """For any state that it may be in. Raises TopologyError for what cannot be a name."""
        self.name = check_lab_name(name)

    @property
    def directory(self) -> Path:
        """Where its state is kept."""
        return states.run_directory() / self.name

    def __repr__(self) -> str:
        return f"<Lab {self.name}>"

    # ---- made ------------------------------------------------------------------------------------------------------

    @classmethod
    def up(cls, spec: LabSpec) -> Self:
        """Make the lab. Raises LabError if it is there, PrivilegeError and KernelError as the kernel floor does."""
        lab = cls(spec.name)
        check_privilege(f"make lab {lab.name!r}")
        try:
            directory = states.claim(lab.name)
        except FileExistsError:
            raise lab._is_there() from None
        # Who holds it now has come between, to look or to remove; `locked` tells which.
        with states.locked(directory, wait=True):
            try:
                lab._make(spec)
            except BaseException:  # Ctrl-C too
                lab._remove()
                raise
        return lab

    def _make(self, spec: LabSpec) -> None:
        node, state = spec.node, State.first(spec)
        states.write(self.directory, state)
        with Netns.create() as netns:
            state = replace(state, namespace=netns.identity)
            states.write(self.directory, state)
            try:
                netns.pin(self.directory / NET)
            except PrivilegeError as error:  # in a user namespace, which holds every capability, and no mount of root's
                error.remedy = NEEDS_ROOT
                raise
            with TunDevice.create(netns, node.ifname, exclusive=True) as device:
                device.configure([node.tun], mtu=node.mtu)
            states.write(self.directory, replace(state, phase="up"))

    # ---- found -----------------------------------------------------------------------------------------------------

    @classmethod
    def open(cls, name: str | None = None, *, naming: str = "") -> Self:
        """A lab that is up: of that name; of $TUNLAB_LAB; or the only one there is. Raises LabError for none.

        naming   what goes before a name to give one, for the error where there are several: "tunlab dump"
        """
        name = name or os.environ.get(LAB_VARIABLE)
        if name:
            lab = cls(name)
            if lab._condition(lab.state) != "up":
                raise lab._is_not_up()
            return lab
        up = [lab for lab in cls.all() if lab._condition(lab.state) == "up"]
        if not up:
            raise LabError("", "no lab is up", remedy="tunlab up makes one")
        if len(up) > 1:
            remedy = f"name one of them, as {naming} {up[0].name}" if naming else "name one of them"
            raise LabError("", f"{len(up)} labs are up: {', '.join(lab.name for lab in up)}", remedy=remedy)
        return up[0]

    @classmethod
    def all(cls) -> list[Self]:
        """Every lab there is something of, by name."""
        try:
            names = sorted(entry.name for entry in states.run_directory().iterdir() if entry.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        labs = []
        for name in names:
            with contextlib.suppress(TopologyError):  # somebody else's directory
                labs.append(cls(name))
        return labs

    @property
    def state(self) -> State | None:
        """What is recorded of it; None where nothing is."""
        return states.read(self.directory)

    @property
    def ifname(self) -> str:
        """Its device's name. Raises LabError if the lab is not up."""
        state = self.state
        if state is None:
            raise self._is_not_up()
        return state.ifname

    def netns(self) -> Netns:
        """Its namespace, held open: close it. Raises LabError if the lab is not up, PrivilegeError for no right."""
        netns = self._namespace(self.state)
        if netns is None:
            raise self._is_not_up()
        try:
            check_privilege(f"enter lab {self.name!r}")
        except PrivilegeError:
            netns.close()
            raise
        return netns

    def status(self) -> Status:
        """What `tunlab ls` shows of it."""
        state = self.state
        condition = self._condition(state)
        status = Status(self.name, condition, "", "", [], None, [])
        if state is None:
            return status
        status = replace(status, since=state.created, ifname=state.ifname, addresses=[state.address])
        netns = self._namespace(state)
        if netns is None:
            return status
        with netns:
            status = replace(status, processes=netns.processes())
            # The device may have been deleted or renamed by whoever works in the lab.
            with contextlib.suppress(PrivilegeError), Rtnl(netns) as rtnl:
                links = {link.name: link for link in rtnl.links()}
                link = links.get(state.ifname)
                addresses = [address.cidr for address in rtnl.addresses(link.index)] if link else []
                status = replace(status, addresses=addresses, attached=bool(link and link.carrier))
        return status

    def _namespace(self, state: State | None) -> Netns | None:
        """The namespace that is pinned, if it is the one recorded."""
        try:
            netns = Netns.open(self.directory / NET)
        except KernelError as error:
            if error.errno in (errno.ENOENT, errno.EINVAL, errno.ENOTDIR):
                return None
            raise
        if state is None or netns.identity != state.namespace:
            netns.close()
            return None
        return netns

    def _condition(self, state: State | None) -> Condition:
        if state is None:
            return "coming up" if states.is_locked(self.directory) else "broken"
        if state.phase == "coming up":
            return "coming up" if state.owner_lives() else "broken"
        netns = self._namespace(state)
        if netns is None:
            return "gone"
        netns.close()
        return "up"

    def _is_there(self) -> LabError:
        state = self.state
        removes = f"tunlab down {self.name} removes it"
        match self._condition(state):
            case "up":
                since = state.created if state else ""
                return LabError(self.name, f"lab {self.name!r} is up already (since {since})", remedy=removes)
            case "coming up":
                by = f" (process {state.owner})" if state else ""
                return LabError(self.name, f"lab {self.name!r} is coming up right now{by}", remedy="take another name")
            case "gone":
                problem = f"lab {self.name!r} is there, but its namespace is gone, as after a reboot"
                return LabError(self.name, problem, remedy=removes)
            case _:
                problem = f"lab {self.name!r} is there, but broken: the process that made it ended half-way"
                return LabError(self.name, problem, remedy=removes)

    def _is_not_up(self) -> LabError:
        if self.directory.is_dir():
            there = self._is_there()
            if "up already" not in there.problem:
                return there
        others = [lab.name for lab in type(self).all() if lab._condition(lab.state) == "up"]
        remedy = f"up are: {', '.join(others)}" if others else f"tunlab up --name {self.name} makes it"
        return LabError(self.name, f"there is no lab {self.name!r}", remedy=remedy)

    # ---- removed ---------------------------------------------------------------------------------------------------

    def down(self) -> Removed:
        """Remove whatever there is of the lab, and kill what lives in it; returns what that was.

        Raises LabError if there is nothing, if somebody else is making or removing it, or if we are inside it.
        """
        if not self.directory.is_dir():
            raise self._is_not_up()
        check_privilege(f"take down lab {self.name!r}")
        with states.locked(self.directory):
            return self._remove()

    def _remove(self) -> Removed:
        state = self.state
        killed, ifname = list[int](), ""
        netns = self._namespace(state)
        if netns is not None and state is not None:
            with netns:
                with Netns.current() as current:
                    if current.identity == netns.identity:
                        problem = f"this process is inside lab {self.name!r}"
                        raise LabError(self.name, problem, remedy="leave it first (exit), then take it down")
                killed = netns.kill_processes()
                # Not left to the end of the namespace: who reads the device from outside holds that open, and learns
                # from the device's end that it is over.
                with Rtnl(netns) as rtnl:
                    for link in rtnl.links():
                        if link.name == state.ifname:
                            rtnl.delete_link(link.index)
                            ifname = link.name
        _unpin(self.directory / NET)
        states.remove(self.directory)
        return Removed(self.name, killed, ifname, netns is not None)

    # ---- used ------------------------------------------------------------------------------------------------------

    def exec(self, command: Sequence[str]) -> NoReturn:
        """Become `command` inside the lab, with TUNLAB_LAB in its environment. Raises LabError, KernelError."""
        with (
            self.netns() as netns,
            refusing(f"enter lab {self.name!r}", needs="CAP_SYS_ADMIN", grant=NEEDS_ROOT, netns=str(netns)),
        ):
            libc.setns(netns.fd, libc.CLONE_NEWNET)
        # Python ignores SIGPIPE, and what is ignored stays so across exec.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        program = command[0]
        reasons = {
            errno.ENOENT: (f"there is no program {program!r} on this machine", "install it, or give its full path"),
            errno.EACCES: (f"{program!r} may not be executed", "give it the execute permission (chmod +x)"),
        }
        with refusing(f"run {program}", reasons=reasons):
            os.execvpe(program, list(command), {**os.environ, LAB_VARIABLE: self.name})


def _unpin(path: Path) -> None:
    try:
        unpin(path)
    except KernelError as error:
        if error.errno != errno.ENOENT:  # ENOENT: it was not pinned yet, or is no more
            raise
