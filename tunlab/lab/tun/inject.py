"""Inject packets into a persistent lab's TUN.

Source: packet(7): a packet sent by a packet socket on a TUN goes to the program that reads the TUN.
"""

from __future__ import annotations

from collections.abc import Sequence

from tunlab.errors import LabError, MalformedError
from tunlab.kernel.device.packet_socket import PacketSocket
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.lab.attachment import attach
from tunlab.lab.persistent.lab import PersistentLab
from tunlab.lab.tun.inject_server import request_inject

_LARGEST = 65_535
_TO_READER = "`tunlab inject --to-reader`"


def check(datagram: bytes) -> None:
    """Raise MalformedError if the kernel would reject these bytes from a TUN."""
    if len(datagram) > _LARGEST:
        rule = f"a datagram has at most {_LARGEST} bytes (RFC 791 section 3.1)"
        raise MalformedError(layer="IP", field="length", value=len(datagram), rule=rule)
    if not datagram or datagram[0] >> 4 not in (4, 6):
        rule = f"the kernel accepts only 4 and 6 from a TUN. {_TO_READER} sends any bytes to the TUN's reader."
        value = datagram[0] >> 4 if datagram else None
        raise MalformedError(layer="IP", field="version", value=value, rule=rule, offset=0)


def inject(
    lab: PersistentLab, datagrams: Sequence[bytes], *, node: str = "", ifname: str = "", to_reader: bool = False
) -> list[bytes]:
    """Inject datagrams into the kernel, which receives them on a TUN.

    Args:
        lab: the running lab.
        datagrams: the bytes of each IP datagram.
        node: the node; by default the only one with a TUN.
        ifname: the TUN; by default the node's first.
        to_reader: send them to the program that reads the TUN instead, as if the kernel had sent them.

    Returns:
        the kernel's immediate replies if no program is attached to the TUN; else [], as that program gets them.

    Raises:
        MalformedError: if a datagram is not IP; none is sent then.
        LabError: if a program other than tunlab is attached to the TUN; with `to_reader`, if none is.
        KernelError: if the kernel refuses.
    """
    node = lab.node_name(node)
    ifname = ifname or lab.ifname(node)
    if to_reader:
        _to_reader(lab, datagrams, node, ifname)
        return []
    for datagram in datagrams:
        check(datagram)
    with lab.netns(node) as netns:
        device = attach(netns, ifname)
        if device is not None:
            with device:
                replies = list[bytes]()
                for datagram in datagrams:
                    device.write(datagram)
                    replies += device.read_all()
                return replies
    for datagram in datagrams:
        if not request_inject(lab.node_directory(node), ifname, datagram):
            problem = f"a program other than tunlab is attached to {ifname} in lab {lab.name!r}"
            remedy = f"end the program, or send it the bytes as if from the kernel: {_TO_READER}"
            raise LabError(lab.name, problem, remedy=remedy)
    return []


def _to_reader(lab: PersistentLab, datagrams: Sequence[bytes], node: str, ifname: str) -> None:
    with lab.netns(node) as netns:
        with Rtnl(netns) as rtnl:
            # A TUN to which no program is attached has no carrier, so the kernel would silently drop the packets.
            if not rtnl.link(ifname).carrier:
                problem = f"no program reads {ifname} in lab {lab.name!r}"
                remedy = f"start the program under test, or run `tunlab dump {lab.name}`"
                raise LabError(lab.name, problem, remedy=remedy)
        with PacketSocket(netns, ifname, receive=False) as packet_socket:
            for datagram in datagrams:
                packet_socket.send(datagram)
