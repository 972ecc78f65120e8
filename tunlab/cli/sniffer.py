"""A packet socket that observes an interface of a lab's node, as tcpdump does. See packet(7)."""

from __future__ import annotations

from tunlab.errors import KernelError, LabError
from tunlab.kernel.closeable import Closeable
from tunlab.kernel.device.packet_socket import PacketSocket
from tunlab.kernel.namespace.netns import Netns
from tunlab.lab.capture import to_trace_entry
from tunlab.traffic import TraceEntry

_BATCH_SIZE = 64


class Sniffer(Closeable):
    """A capture of the IP packets on an interface, with the same methods as tunlab.lab.tun.reader.Reader."""

    attached = False

    def __init__(self, netns: Netns, ifname: str, node: str) -> None:
        """Open the socket.

        Args:
            netns: The node's namespace.
            ifname: The interface.
            node: Name of the node in errors, for example "lab router/client".

        Raises:
            KernelError: The interface does not exist.
            PrivilegeError: CAP_NET_RAW is missing.
        """
        self.ifname, self._node = ifname, node
        self._socket = PacketSocket(netns, ifname)

    def filenos(self) -> list[int]:
        """Return the descriptors for poll(2): call `take` when one is readable."""
        return [self._socket.fileno()]

    def take(self) -> list[TraceEntry]:
        """Return the packets since the last call.

        Raises:
            LabError: The interface is down or was deleted.
        """
        try:
            captured = self._socket.recv_all(_BATCH_SIZE)
        except KernelError as error:
            raise self.gone_error() from error
        return list(map(to_trace_entry, captured))

    def gone_error(self) -> LabError:
        """Return the error for an interface that is down or was deleted."""
        problem = f"{self.ifname} of {self._node} is down or was deleted"
        return LabError(self._node, problem, remedy="`tunlab ls` lists the labs that are up")

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
