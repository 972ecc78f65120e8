"""A netlink socket: one request, all its replies, and the kernel's own sentence when it refuses.

Source: netlink(7), <linux/netlink.h>, Documentation/userspace-api/netlink/intro.rst. Octets in, octets out: what is in
a message is the business of whoever sends it (tunlab.kernel.network.rtnl).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence

from tunlab.kernel.os_errors import kernel_error

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400

_NLM_F_DUMP_INTR = 0x10
_NLM_F_CAPPED = 0x100
_NLM_F_ACK_TLVS = 0x200
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLMSGERR_ATTR_MSG = 1

_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_NLA_F_NESTED = 0x8000

# A dump is begun anew when the table changed under it (NLM_F_DUMP_INTR); nothing changes that often for that long.
_DUMPS = 100


# Who lacks a capability is told EPERM here.
_REASONS = {errno.EACCES: ("IPv6 is off on that link", "make the namespace with ipv6=True, or give an IPv4 address")}


def pack_message(kind: int, flags: int, fields: bytes, attributes: Sequence[bytes] = ()) -> bytes:
    """A whole request: header, the family's own fields, attributes. The sequence number is `exchange`'s to set."""
    body = fields + b"".join(attributes)
    return _HEADER.pack(_HEADER.size + len(body), kind, NLM_F_REQUEST | flags, 0, 0) + body


def pack_attribute(kind: int, value: bytes | str | Sequence[bytes]) -> bytes:
    """One attribute, padded: octets as they are, text with its NUL, a list as the attributes nested in it."""
    if isinstance(value, str):
        value = value.encode() + b"\0"
    elif not isinstance(value, bytes):
        kind, value = kind | _NLA_F_NESTED, b"".join(value)
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def unpack_attributes(octets: bytes) -> dict[int, bytes]:
    """The attributes that stand one behind the other in `octets`: each one's value by its kind."""
    found: dict[int, bytes] = {}
    offset = 0
    while offset + _ATTRIBUTE.size <= len(octets):
        size, kind = _ATTRIBUTE.unpack_from(octets, offset)
        found[kind & ~_NLA_F_NESTED] = octets[offset + _ATTRIBUTE.size : offset + size]
        offset += max(size + 3 & ~3, _ATTRIBUTE.size)
    return found


class NetlinkSocket:
    """A netlink socket that was opened inside a namespace; for one thread at a time."""

    __slots__ = ("_first", "_sequence", "_socket")

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self._sequence = self._first = 0
        # Before Linux 4.12 and 4.20 there was no sentence and no strictness; neither is needed to work.
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            try:
                opened.setsockopt(_SOL_NETLINK, option, 1)
            except OSError as error:
                if error.errno != errno.ENOPROTOOPT:
                    raise

    def close(self) -> None:
        """Close the socket. May be repeated."""
        self._socket.close()

    def fileno(self) -> int:
        """The socket's descriptor; -1 when closed."""
        return self._socket.fileno()

    def exchange(self, message: bytes | bytearray, operation: str, *, ifname: str = "") -> list[bytes]:
        """Send one message, header included, and return the replies, each with its header.

        The sequence number is set here, and replies to anything older are dropped. The message's flags must have
        NLM_F_ACK or NLM_F_DUMP, or there is no telling when the replies end.

        Raises PrivilegeError without CAP_NET_ADMIN, KernelError with the kernel's sentence for any other refusal.
        """
        for _ in range(_DUMPS):
            request = self._numbered([message])
            replies: list[bytes] = []
            try:
                self._socket.send(request)
                interrupted = self._collect(replies)
            except OSError as error:
                raise kernel_error(error, operation, needs="CAP_NET_ADMIN", reasons=_REASONS, ifname=ifname) from None
            if not interrupted:
                return replies
        reason = "what was asked for kept changing while it was read"
        raise kernel_error(OSError(errno.EAGAIN, ""), operation, reason=reason, ifname=ifname)

    def exchange_batch(self, messages: Sequence[bytes], operation: str) -> None:
        """Send several messages at once, which take effect together or not at all (nfnetlink), and wait for the answer.

        The last but one, which the batch's end follows, must have NLM_F_ACK. Raises as `exchange`.
        """
        request = self._numbered(messages)
        last = self._sequence - 1
        try:
            self._socket.send(request)
            while True:
                for kind, flags, reply in self._receive():
                    if kind == _NLMSG_ERROR:
                        _check(kind, flags, reply)
                        if _HEADER.unpack_from(reply)[3] == last:
                            return
        except OSError as error:
            raise kernel_error(error, operation, needs="CAP_NET_ADMIN") from None

    def _numbered(self, messages: Sequence[bytes | bytearray]) -> bytearray:
        """The messages in one, with their sequence numbers."""
        if self._sequence + len(messages) > 0xFFFFFFFF:
            self._sequence = 0
        self._first = self._sequence + 1
        request = bytearray()
        for each in messages:
            self._sequence += 1
            start = len(request)
            request += each
            struct.pack_into("=I", request, start + 8, self._sequence)
        return request

    def _collect(self, replies: list[bytes]) -> bool:
        """Append the replies to the last request; returns whether they are a dump that a change cut through."""
        interrupted = False
        while True:
            for kind, flags, message in self._receive():
                interrupted |= bool(flags & _NLM_F_DUMP_INTR)
                if kind in (_NLMSG_ERROR, _NLMSG_DONE):
                    _check(kind, flags, message)
                    return interrupted
                replies.append(message)

    def _receive(self) -> Iterator[tuple[int, int, bytes]]:
        # Ask for the length first: a link with many virtual functions makes a message larger than any fixed buffer.
        length = self._socket.recv_into(bytearray(1), 1, socket.MSG_PEEK | socket.MSG_TRUNC)
        octets = self._socket.recv(length)
        offset = 0
        while offset + _HEADER.size <= length:
            size, kind, flags, sequence, _ = _HEADER.unpack_from(octets, offset)
            if self._first <= sequence <= self._sequence:
                yield kind, flags, octets[offset : offset + size]
            offset += size + 3 & ~3


def _check(kind: int, flags: int, message: bytes) -> None:
    """Raise the OSError that an acknowledgement, or the end of a dump, reports."""
    if len(message) < _HEADER.size + 4:
        return
    code: int
    (code,) = struct.unpack_from("=i", message, _HEADER.size)
    if code >= 0:
        return
    sentence = ""
    if flags & _NLM_F_ACK_TLVS:
        offset = _HEADER.size + 4
        if kind == _NLMSG_ERROR:  # the request's header follows, and the request unless it was capped
            (quoted,) = struct.unpack_from("=I", message, offset)
            offset += _HEADER.size if flags & _NLM_F_CAPPED else quoted + 3 & ~3
        said = unpack_attributes(message[offset:]).get(_NLMSGERR_ATTR_MSG, b"")
        sentence = said.rstrip(b"\0").decode(errors="replace")
    raise OSError(-code, sentence or os.strerror(-code))
