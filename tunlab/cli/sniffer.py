"""What passes an interface of a lab's node, seen from beside: nobody there notices, and nothing is answered.

Source: packet(7).
"""

from __future__ import annotations

from tunlab.errors import KernelError, LabError
from tunlab.kernel.closing import Closing
from tunlab.kernel.netns import Netns
from tunlab.kernel.packet_socket import ETH_P_IP, ETH_P_IPV6, PacketSocket
from tunlab.lab.capture import to_trace_entry
from tunlab.traffic import TraceEntry

_AT_ONCE = 64


class Sniffer(Closing):
    """As a Reader (tunlab.lab.tun.reader), for an interface with or without Ethernet; only IP is seen."""

    attached = False

    def __init__(self, netns: Netns, ifname: str, where: str) -> None:
        """Begin to look; `where` is the node, for errors. Raises KernelError (ENODEV), PrivilegeError."""
        self.ifname, self._where = ifname, where
        self._socket = PacketSocket(netns, ifname, link_header=False)

    def filenos(self) -> list[int]:
        """For poll(2): when it can be read, `take`."""
        return [self._socket.fileno()]

    def take(self) -> list[TraceEntry]:
        """What has passed since and was not taken yet. Raises LabError when the interface is gone, or down."""
        try:
            captured = self._socket.recv_all(_AT_ONCE)
        except KernelError as error:
            raise self.gone() from error
        return [to_trace_entry(each) for each in captured if each.protocol in (ETH_P_IP, ETH_P_IPV6)]

    def gone(self) -> LabError:
        """The error when there is nothing to be read any more."""
        problem = f"{self.ifname} of {self._where} is gone, or down"
        return LabError(self._where, problem, remedy="tunlab ls shows what is up")

    def close(self) -> None:
        """Look no longer."""
        self._socket.close()
