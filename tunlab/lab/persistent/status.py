"""What is said of a lab that stays: how it is, and what of it was removed. Data only."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Condition = Literal["up", "coming up", "broken", "gone"]


class Removed(Struct, frozen=True):
    """What `down` has removed.

    processes   those that lived in the lab, by id, killed
    ifname      the TUN, the first one's name; "" if there was none (any more)
    namespace   whether one was there
    nodes       whose namespaces were there, and gone now: not those of containers, which are their engine's
    tuns        all its TUNs, by name, node after node
    containers  those that were started for it, by id
    """

    name: str
    processes: list[int]
    ifname: str
    namespace: bool
    nodes: list[str] = []
    tuns: list[str] = []
    containers: list[str] = []


class Status(Struct, frozen=True):
    """A lab as `tunlab ls` shows it.

    condition   "up"; "coming up": its maker is at work; "broken": that ended half-way; "gone": it was up, and its
                namespaces are no more, as after a reboot
    since       UTC, as RFC 3339 has it; "" where it is not recorded
    ifname      of its TUN, the first of the first node that has one; "" for none
    addresses   of that device, as the kernel has them now; as recorded, without the right to ask
    attached    whether somebody reads it; None without the right to ask, and where there is none
    processes   those that live in the lab, by id
    nodes       its nodes, but for the bridges that stand for links
    links       how many it has
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
