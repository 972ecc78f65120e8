"""Netlink sockets: requests, replies and error acknowledgements."""

import errno
import socket
import struct

import pytest

from tunlab.errors import KernelError
from tunlab.kernel.netlink.netlink_socket import NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkSocket, _check

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_GETADDR = 16, 17, 18, 22
NLMSG_ERROR, NLMSG_DONE = 2, 3


def link_message(command, flags, index=0):
    return struct.pack("=IHHIIBxHiII", 32, command, NLM_F_REQUEST | flags, 0, 0, 0, 0, index, 0, 0)


@pytest.fixture
def netlink(netns):
    netlink = NetlinkSocket(netns.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, socket.NETLINK_ROUTE))
    yield netlink
    netlink.close()


def test_exchange_of_get_request_returns_reply(netlink):
    (reply,) = netlink.exchange(link_message(RTM_GETLINK, NLM_F_ACK, 1), "get lo")
    length, kind, _, sequence, _ = struct.unpack_from("=IHHII", reply)
    assert (length, kind, sequence) == (len(reply), RTM_NEWLINK, 1)
    assert b"lo\0" in reply


def test_exchange_of_change_request_returns_no_reply(netlink):
    assert netlink.exchange(struct.pack("=IHHIIBxHiII", 32, 16, 5, 0, 0, 0, 0, 1, 1, 1), "set lo up") == []


def test_exchange_of_dump_request_returns_replies_of_every_datagram(netlink, rtnl):
    for number in range(20):
        rtnl.add_veth(f"near{number}", f"far{number}")
    replies = netlink.exchange(link_message(RTM_GETLINK, NLM_F_DUMP), "list")
    assert len(replies) == 41
    assert sum(map(len, replies)) > 32768  # The reply needs more than one datagram from the kernel.


def test_exchange_increments_sequence_number(netlink):
    for expected in (1, 2, 3):
        (reply,) = netlink.exchange(link_message(RTM_GETLINK, NLM_F_ACK, 1), "get lo")
        assert struct.unpack_from("=I", reply, 8) == (expected,)


def test_sequence_number_of_exchange_wraps_at_32_bits(netlink):
    netlink._sequence = 0xFFFFFFFF
    (reply,) = netlink.exchange(link_message(RTM_GETLINK, NLM_F_ACK, 1), "get lo")
    assert struct.unpack_from("=I", reply, 8) == (1,)


def test_exchange_skips_stale_replies(netlink):
    # Send requests on the raw socket, so that their replies are queued before the next exchange.
    netlink._socket.send(link_message(RTM_GETLINK, NLM_F_ACK, 1))
    netlink._socket.send(link_message(RTM_DELLINK, NLM_F_ACK, 99))
    (reply,) = netlink.exchange(link_message(RTM_GETLINK, NLM_F_ACK, 1), "get lo")
    assert struct.unpack_from("=I", reply, 8) == (1,)


def test_error_of_exchange_has_errno_and_kernel_message(netlink):
    with pytest.raises(KernelError) as raised:
        netlink.exchange(struct.pack("=IHHIIBxHiII", 32, RTM_GETLINK, 5, 0, 0, 0, 0, 0, 0, 0), "get nothing")
    assert raised.value.errno == errno.EINVAL
    assert str(raised.value).startswith("get nothing: ")


def test_exchange_lets_the_kernel_check_requests_strictly(netlink):
    # Without strict checking, the kernel would ignore this invalid field of a dump request.
    message = struct.pack("=IHHIIBBBBI", 24, RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, 0, 0, socket.AF_INET, 24, 0, 0, 0)
    with pytest.raises(KernelError) as raised:
        netlink.exchange(message, "list the addresses")
    assert raised.value.errno == errno.EINVAL
    assert "Invalid values in header for address dump request" in raised.value.reason


def test_exchange_works_after_error(netlink):
    with pytest.raises(KernelError):
        netlink.exchange(link_message(RTM_DELLINK, NLM_F_ACK, 99), "delete 99", ifname="gone")
    assert len(netlink.exchange(link_message(RTM_GETLINK, NLM_F_ACK, 1), "get lo")) == 1


def test_error_of_exchange_names_interface(netlink):
    with pytest.raises(KernelError) as raised:
        netlink.exchange(link_message(RTM_DELLINK, NLM_F_ACK, 99), "delete 99", ifname="gone")
    assert (raised.value.errno, raised.value.ifname) == (errno.ENODEV, "gone")


def test_exchange_does_not_modify_request(netlink):
    message = bytearray(link_message(RTM_GETLINK, NLM_F_ACK, 1))
    before = bytes(message)
    netlink.exchange(message, "get lo")
    assert message == before


def test_netlink_socket_may_be_closed_twice(netlink):
    netlink.close()
    netlink.close()
    assert netlink.fileno() == -1
    with pytest.raises(KernelError) as raised:
        netlink.exchange(link_message(RTM_GETLINK, NLM_F_ACK, 1), "get lo")
    assert raised.value.errno == errno.EBADF


def test_exchange_works_with_other_netlink_family(netns):
    netlink = NetlinkSocket(netns.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4))  # protocol NETLINK_SOCK_DIAG
    try:
        # Request a dump of listening TCP sockets; there are none.
        request = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 0, 1 << 10) + bytes(48)
        header = struct.pack("=IHHII", 16 + len(request), 20, NLM_F_REQUEST | NLM_F_DUMP, 0, 0)
        assert netlink.exchange(header + request, "list the listeners") == []
    finally:
        netlink.close()


# ---- acknowledgements with an error message of the kernel


def acknowledgement(code, *, flags_quote=b"", attributes=b""):
    return struct.pack("=IHHIIi", 36, NLMSG_ERROR, 0, 1, 0, code) + struct.pack("=IHHII", 32, 16, 5, 1, 0) + attributes


def error_text(text, kind=1):
    value = text + b"\0"
    attribute = struct.pack("=HH", 4 + len(value), kind) + value
    return attribute.ljust(len(attribute) + 3 & ~3, b"\0")


@pytest.mark.parametrize("code", [0, 5])
def test_acknowledgement_without_error_raises_nothing(code):
    _check(NLMSG_ERROR, 0, acknowledgement(code))
    _check(NLMSG_DONE, 0, struct.pack("=IHHIIi", 20, NLMSG_DONE, 0, 1, 0, code))
    _check(NLMSG_DONE, 0, struct.pack("=IHHII", 16, NLMSG_DONE, 0, 1, 0))


def test_error_acknowledgement_without_text_uses_system_text():
    with pytest.raises(OSError, match="Invalid argument") as raised:
        _check(NLMSG_ERROR, 0, acknowledgement(-errno.EINVAL))
    assert raised.value.errno == errno.EINVAL


def test_text_in_error_acknowledgement_after_capped_request_is_found():
    message = acknowledgement(-errno.EINVAL, attributes=error_text(b"offset", 2) + error_text(b"bad value"))
    with pytest.raises(OSError, match="bad value"):
        _check(NLMSG_ERROR, 0x300, message)


def test_text_in_error_acknowledgement_after_whole_request_is_found():
    message = acknowledgement(-errno.EINVAL, attributes=bytes(16) + error_text(b"bad value"))
    with pytest.raises(OSError, match="bad value"):
        _check(NLMSG_ERROR, 0x200, message)


def test_error_text_at_end_of_dump_reply_is_found():
    message = struct.pack("=IHHIIi", 20, NLMSG_DONE, 0, 1, 0, -errno.EINVAL) + error_text(b"bad value")
    with pytest.raises(OSError, match="bad value"):
        _check(NLMSG_DONE, 0x200, message)


@pytest.mark.parametrize("attributes", [b"\0\0\0\0", b"\x02\0", struct.pack("=HH", 200, 1) + b"cut", b"\1\0\1\0"])
def test_unpack_attributes_tolerates_malformed_attributes(attributes):
    with pytest.raises(OSError):
        _check(NLMSG_ERROR, 0x300, acknowledgement(-errno.EINVAL, attributes=attributes))
