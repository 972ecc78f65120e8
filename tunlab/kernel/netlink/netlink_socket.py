"""A netlink socket, and the packing of netlink messages and attributes.

Source: netlink(7), <linux/netlink.h>, Documentation/userspace-api/netlink/intro.rst.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence

from tunlab.kernel.closeable import Closeable
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

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence number, port
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
_NLA_F_NESTED, _NLA_TYPE_MASK = 0x8000, 0x3FFF

# A dump is requested again if the table changed during the dump (NLM_F_DUMP_INTR), up to this number of requests.
_MAX_DUMPS = 100

# rtnetlink reports a missing capability as EPERM. EACCES only means that IPv6 is disabled on the interface.
_REASONS = {
    errno.EACCES: (
        "IPv6 is disabled on this interface",
        "create the namespace with ipv6=True, or give an IPv4 address",
    )
}


def pack_message(kind: int, flags: int, fields: bytes, attributes: Sequence[bytes] = ()) -> bytes:
    """Return a request: netlink header, the family's fixed fields, attributes. `exchange` sets the sequence number."""
    body = fields + b"".join(attributes)
    return _HEADER.pack(_HEADER.size + len(body), kind, NLM_F_REQUEST | flags, 0, 0) + body


def pack_attribute(kind: int, value: bytes | str | Sequence[bytes]) -> bytes:
    """Return one padded attribute.

    Args:
        kind: The attribute's type.
        value: Bytes; text, which gets a NUL; or a sequence of packed attributes, which are nested.
    """
    if isinstance(value, str):
        value = value.encode() + b"\0"
    elif not isinstance(value, bytes):
        kind, value = kind | _NLA_F_NESTED, b"".join(value)
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def iter_attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the type and value of each attribute in `data`, in order."""
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, offset)
        yield kind & _NLA_TYPE_MASK, data[offset + _ATTRIBUTE.size : offset + size]
        offset += max(size + 3 & ~3, _ATTRIBUTE.size)


def unpack_attributes(data: bytes) -> dict[int, bytes]:
    """Return the values of the attributes in `data` by type; if a type is repeated, the last value."""
    return dict(iter_attributes(data))


class NetlinkSocket(Closeable):
    """A netlink socket opened inside a namespace; for one thread at a time."""

    __slots__ = ("_first", "_sequence", "_socket")

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self._sequence = self._first = 0
        # Netlink's error messages came with Linux 4.12, strict checking with 4.20. Older kernels work without them.
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            try:
                opened.setsockopt(_SOL_NETLINK, option, 1)
            except OSError as error:
                if error.errno != errno.ENOPROTOOPT:
                    raise

    def close(self) -> None:
        """Close the socket. May be called again."""
        self._socket.close()

    def fileno(self) -> int:
        """Return the socket's descriptor; -1 if closed."""
        return self._socket.fileno()

    def exchange(self, message: bytes | bytearray, operation: str, *, ifname: str = "") -> list[bytes]:
        """Send one message and return the replies, each with its netlink header.

        Args:
            message: A message with its header. Its flags must include NLM_F_ACK or NLM_F_DUMP, which mark the end of
                the replies. The sequence number is set here; replies to older requests are dropped.
            operation: A description of the message, for errors: "add the address 10.1.2.1/24".
            ifname: The interface, for errors.

        Raises:
            PrivilegeError: CAP_NET_ADMIN is missing.
            KernelError: The kernel refused the request; `reason` is its own message where it gives one.
        """
        for _ in range(_MAX_DUMPS):
            request = self._numbered([message])
            replies: list[bytes] = []
            try:
                self._socket.send(request)
                interrupted = self._collect(replies)
            except OSError as error:
                raise kernel_error(error, operation, needs="CAP_NET_ADMIN", reasons=_REASONS, ifname=ifname) from None
            if not interrupted:
                return replies
        reason = f"the kernel's table changed during each of {_MAX_DUMPS} dumps"
        raise kernel_error(OSError(errno.EAGAIN, ""), operation, reason=reason, ifname=ifname)

    def exchange_batch(self, messages: Sequence[bytes], operation: str) -> None:
        """Send several messages as one nfnetlink batch, which takes effect as a whole or not at all.

        The last message but one (before the end of the batch) must have NLM_F_ACK. Raises the errors of `exchange`.
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
        """Return the messages joined, each with its sequence number."""
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
        """Append the replies to the last request; return True if the table changed during the dump."""
        interrupted = False
        while True:
            for kind, flags, message in self._receive():
                interrupted |= bool(flags & _NLM_F_DUMP_INTR)
                if kind in (_NLMSG_ERROR, _NLMSG_DONE):
                    _check(kind, flags, message)
                    return interrupted
                replies.append(message)

    def _receive(self) -> Iterator[tuple[int, int, bytes]]:
        # Ask for the length first, because the message of an interface with many virtual functions exceeds any fixed
        # buffer.
        length = self._socket.recv_into(bytearray(1), 1, socket.MSG_PEEK | socket.MSG_TRUNC)
        data = self._socket.recv(length)
        offset = 0
        while offset + _HEADER.size <= length:
            size, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
            if self._first <= sequence <= self._sequence:
                yield kind, flags, data[offset : offset + size]
            offset += size + 3 & ~3


def _check(kind: int, flags: int, message: bytes) -> None:
    """Raise the OSError that an acknowledgement or the end of a dump reports."""
    if len(message) < _HEADER.size + 4:
        return
    code: int
    (code,) = struct.unpack_from("=i", message, _HEADER.size)
    if code >= 0:
        return
    explanation = ""
    if flags & _NLM_F_ACK_TLVS:
        offset = _HEADER.size + 4
        if kind == _NLMSG_ERROR:
            # After the error number, the kernel repeats the request's header, and its body unless it was capped.
            (quoted,) = struct.unpack_from("=I", message, offset)
            offset += _HEADER.size if flags & _NLM_F_CAPPED else quoted + 3 & ~3
        text = unpack_attributes(message[offset:]).get(_NLMSGERR_ATTR_MSG, b"")
        explanation = text.rstrip(b"\0").decode(errors="replace")
    raise OSError(-code, explanation or os.strerror(-code))
