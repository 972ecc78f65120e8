"""The status of persistent labs, and the result of `down`."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Condition = Literal["up", "coming up", "broken", "gone"]


class Removed(Struct, frozen=True):
    """The result of `down`: everything it removed.

    Attributes:
        name: the lab's name.
        processes: PIDs of the processes killed in the lab.
        ifname: the name of the first TUN; "" if there was none.
        namespace: True if a namespace existed.
        nodes: the nodes whose namespaces existed, without containers.
        tuns: the names of all TUNs.
        containers: IDs of the containers started for the lab.
    """

    name: str
    processes: list[int]
    ifname: str
    namespace: bool
    nodes: list[str] = []
    tuns: list[str] = []
    containers: list[str] = []


class EndedProgram(Struct, frozen=True):
    """A program of a lab that has ended.

    Attributes:
        node: the name of its node.
        program: its number in `run`, from 1 on.
        command: its arguments.
        status: its exit status, negative for a signal.
        ended: when it ended, UTC, in the format of RFC 3339.
    """

    node: str
    program: int
    command: tuple[str, ...]
    status: int
    ended: str


class Status(Struct, frozen=True):
    """The status of a lab, as `tunlab ls` shows it.

    Attributes:
        name: the lab's name.
        condition: "up"; "coming up" while `up` runs; "broken" if `up` was killed; "gone" if the namespaces no longer
            exist, as after a reboot.
        since: when `up` started, UTC, in the format of RFC 3339; "" if unknown.
        ifname: the TUN of the first node that has one; "" without one.
        addresses: that TUN's addresses in the kernel; the recorded ones without CAP_SYS_ADMIN.
        attached: True if a program reads that TUN; None if unknown.
        processes: PIDs of the processes in the lab.
        nodes: the names of its nodes.
        links: the number of its links.
        ended: the programs of `run` that have ended.
    """

    name: str
    condition: Condition
    since: str
    ifname: str
    addresses: list[str]
    attached: bool | None
    processes: list[int]
    nodes: list[str] = []
    links: int = 0
    ended: list[EndedProgram] = []
