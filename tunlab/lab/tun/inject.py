"""Writing to a lab's TUN, whoever is attached to it.

Source: packet(7): octets sent on a TUN by a packet socket come out at the descriptor's reader.
"""

from __future__ import annotations

from collections.abc import Sequence

from tunlab.errors import LabError, MalformedError
from tunlab.kernel.device.packet_socket import PacketSocket
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.lab.lab import Lab
from tunlab.lab.tun.inject_server import request_inject
from tunlab.lab.tun.reader import attach

_LARGEST = 65_535
TO_READER = "tunlab inject --to-reader"


def check(octets: bytes) -> None:
    """Nothing, if the kernel takes the octets from a TUN. Raises MalformedError."""
    if len(octets) > _LARGEST:
        rule = f"a datagram has {_LARGEST} octets at most (RFC 791 section 3.1)"
        raise MalformedError(layer="IP", field="length", value=len(octets), rule=rule)
    if not octets or octets[0] >> 4 not in (4, 6):
        rule = f"the kernel takes only 4 and 6 from a TUN; {TO_READER} puts any octets before the TUN's reader"
        value = octets[0] >> 4 if octets else None
        raise MalformedError(layer="IP", field="version", value=value, rule=rule, offset=0)


def inject(
    lab: Lab, datagrams: Sequence[bytes], *, node: str = "", ifname: str = "", to_reader: bool = False
) -> list[bytes]:
    """Hand the kernel datagrams as received on a TUN of the lab; returns what it sent at once, if we alone read that.

    node        by default the lab's only one with a TUN
    ifname      the TUN's name; by default the node's first
    to_reader   instead, hand them to the program that reads the TUN, as if the kernel had sent them

    Raises MalformedError for octets that are no IP, before anything is sent; LabError if a program that is no tunlab
    holds the TUN, or with `to_reader` if none does; KernelError.
    """
    node = lab.node_name(node)
    ifname = ifname or lab.ifname_of(node)
    if to_reader:
        _to_reader(lab, datagrams, node, ifname)
        return []
    for octets in datagrams:
        check(octets)
    with lab.netns(node) as netns:
        device = attach(netns, ifname)
        if device is not None:
            with device:
                answers = list[bytes]()
                for octets in datagrams:
                    device.write(octets)
                    answers += device.read_all()
                return answers
    for octets in datagrams:
        if not request_inject(lab.directory_of(node), ifname, octets):
            problem = f"another program is attached to {ifname} in lab {lab.name!r}, and writes for nobody else"
            remedy = f"end it, or put the octets before it, as if the kernel had sent them: {TO_READER}"
            raise LabError(lab.name, problem, remedy=remedy)
    return []


def _to_reader(lab: Lab, datagrams: Sequence[bytes], node: str, ifname: str) -> None:
    with lab.netns(node) as netns:
        with Rtnl(netns) as rtnl:
            # Without a carrier the kernel takes what is sent, and drops it without a word.
            if not rtnl.link(ifname).carrier:
                problem = f"nobody reads {ifname} in lab {lab.name!r}"
                raise LabError(lab.name, problem, remedy=f"start your program, or tunlab dump {lab.name}")
        with PacketSocket(netns, ifname, receive=False) as opened:
            for octets in datagrams:
                opened.send(octets)
