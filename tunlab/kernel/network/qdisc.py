"""Impairment of the packets that leave an interface: tbf for the rate, netem for delay, loss and reordering.

Source: tc-tbf(8), tc-netem(8), <linux/pkt_sched.h>, <linux/rtnetlink.h>. The messages are packed here because pyroute2
gives times in ticks of a clock that it reads from /proc/net/psched.
"""

from __future__ import annotations

import errno
import struct
import sys

from tunlab.errors import KernelError
from tunlab.kernel.netlink.constants import (
    NLMSG_HEADER_SIZE,
    RTM_DELQDISC,
    RTM_GETQDISC,
    RTM_NEWQDISC,
    TC_H_ROOT,
    TCMSG,
)
from tunlab.kernel.netlink.netlink_socket import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_REPLACE,
    pack_attribute,
    pack_message,
    unpack_attributes,
)
from tunlab.kernel.network.rtnl import Rtnl

_TCA_KIND, _TCA_OPTIONS, _TCA_STATS2 = 1, 2, 7
_TCA_STATS_QUEUE = 3  # from <linux/gen_stats.h>: qlen, backlog, drops, requeues, overlimits
_RATE_HANDLE, _DELAY_HANDLE = 0x10000, 0x100000  # the qdisc handles 1: and 10:, as tc writes them

_TCA_TBF_PARMS, _TCA_TBF_RATE64, _TCA_TBF_BURST = 1, 4, 6
_RATESPEC = struct.Struct("=BBHhHI")  # struct tc_ratespec: cell_log, linklayer, overhead, cell_align, mpu, rate
_TBF = struct.Struct("=III")  # end of struct tc_tbf_qopt: limit in bytes; buffer and mtu, which TCA_TBF_BURST replaces
_ETHERNET = 1  # TC_LINKLAYER_ETHERNET, without which the kernel needs a rate table

# struct tc_netem_qopt: latency in ticks, limit in packets, loss, gap, duplicate, jitter in ticks
_NETEM = struct.Struct("=IIIIII")
_TCA_NETEM_REORDER, _TCA_NETEM_LATENCY64, _TCA_NETEM_JITTER64 = 3, 10, 11
_NETEM_LIMIT = 10_000  # maximum number of delayed packets; netem's default of 1,000 is reached after 12 ms at 1 Gbit/s

_QUEUE_SECONDS = 0.05
_NO_NETEM = "this kernel has no netem"
_REMEDY = "load it with `modprobe sch_netem`, or use only rate, not delay, jitter, loss, reorder or duplicate"


def impair(
    rtnl: Rtnl,
    ifindex: int,
    *,
    rate: int = 0,
    delay_us: int = 0,
    jitter_us: int = 0,
    loss: float = 0.0,
    reorder: float = 0.0,
    duplicate: float = 0.0,
    mtu: int = 1500,
) -> None:
    """Replace the impairment of an interface's outgoing packets; without arguments, remove it.

    Args:
        rtnl: The rtnetlink socket.
        ifindex: The interface.
        rate: The limit in bits per second, with a queue of 50 ms; 0 for no limit.
        delay_us: The delay in microseconds.
        jitter_us: The variation of the delay in microseconds.
        loss: The share of lost packets, 0 to 1.
        reorder: The share of packets sent without delay, 0 to 1.
        duplicate: The share of duplicated packets, 0 to 1.
        mtu: The interface's MTU in bytes; the burst of the rate is at least two packets.

    Raises:
        KernelError: ENOENT if the kernel has no netem, among others.
    """
    delays = bool(delay_us or jitter_us or loss or reorder or duplicate)
    _delete_root(rtnl, ifindex)
    if rate:
        _add(rtnl, ifindex, "tbf", TC_H_ROOT, _RATE_HANDLE, _tbf(rate, mtu))
    if delays:
        # The rate limit is the outer qdisc, so delayed packets leave one after another at that rate.
        parent = _RATE_HANDLE | 1 if rate else TC_H_ROOT
        options = netem_options(delay_us, jitter_us, loss, reorder, duplicate)
        _add(rtnl, ifindex, "netem", parent, _DELAY_HANDLE, options)


def read_queue_drops(rtnl: Rtnl) -> dict[int, int]:
    """Return the number of packets dropped by each interface's qdisc so far, by interface index.

    The interface's own counters do not include them, because a packet dropped by tbf or netem never reaches it.
    """
    request = pack_message(RTM_GETQDISC, NLM_F_DUMP, TCMSG.pack(0, 0, 0, 0, 0))
    drops: dict[int, int] = {}
    for reply in rtnl.exchange(request, "read the qdiscs"):
        _, ifindex, _, parent, _ = TCMSG.unpack_from(reply, NLMSG_HEADER_SIZE)
        statistics = unpack_attributes(reply[NLMSG_HEADER_SIZE + TCMSG.size :]).get(_TCA_STATS2, b"")
        queue = unpack_attributes(statistics).get(_TCA_STATS_QUEUE)
        if parent == TC_H_ROOT and queue is not None:  # The root qdisc's count includes its children's.
            drops[ifindex] = int.from_bytes(queue[8:12], sys.byteorder)
    return drops


def has_netem(rtnl: Rtnl) -> bool:
    """Return True if the kernel has netem. This adds netem to lo, so use a temporary namespace."""
    try:
        _add(rtnl, 1, "netem", TC_H_ROOT, _DELAY_HANDLE, netem_options(1, 0, 0.0, 0.0, 0.0))
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True


def netem_error(operation: str) -> KernelError:
    """Return the error for a kernel without netem."""
    return KernelError(errno.ENOENT, operation, reason=_NO_NETEM, remedy=_REMEDY)


def _add(rtnl: Rtnl, ifindex: int, kind: str, parent: int, handle: int, options: bytes) -> None:
    operation = f"add the qdisc {kind} to the link {ifindex}"
    fields = TCMSG.pack(0, ifindex, handle, parent, 0)
    attributes = (pack_attribute(_TCA_KIND, kind), pack_attribute(_TCA_OPTIONS, options))
    try:
        rtnl.exchange(
            pack_message(RTM_NEWQDISC, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, fields, attributes), operation
        )
    except KernelError as error:
        if kind == "netem" and error.errno == errno.ENOENT:
            raise netem_error(operation) from None
        raise


def _delete_root(rtnl: Rtnl, ifindex: int) -> None:
    fields = TCMSG.pack(0, ifindex, 0, TC_H_ROOT, 0)
    try:
        rtnl.exchange(pack_message(RTM_DELQDISC, NLM_F_ACK, fields), f"delete the qdisc of the link {ifindex}")
    except KernelError as error:
        if error.errno not in (errno.ENOENT, errno.EINVAL):
            # Ignore ENOENT and EINVAL, which mean that the interface has only the kernel's default qdisc.
            raise


def _tbf(rate: int, mtu: int) -> bytes:
    byte_rate = max(rate // 8, 1)
    # The burst is two packets with Ethernet header and VLAN tag, or 4 ms of traffic.
    burst = max(2 * (mtu + 18), byte_rate // 250)
    limit = burst + max(int(byte_rate * _QUEUE_SECONDS), 2 * (mtu + 18))
    rates = _RATESPEC.pack(0, _ETHERNET, 0, 0, 0, min(byte_rate, 0xFFFFFFFF)) + _RATESPEC.pack(0, 0, 0, 0, 0, 0)
    # The kernel uses the 64-bit rate only if the 32-bit rate is at its maximum.
    attributes = [
        pack_attribute(_TCA_TBF_PARMS, rates + _TBF.pack(min(limit, 0xFFFFFFFF), 0, 0)),
        pack_attribute(_TCA_TBF_RATE64, struct.pack("=Q", byte_rate)),
        pack_attribute(_TCA_TBF_BURST, struct.pack("=I", min(burst, 0xFFFFFFFF))),
    ]
    return b"".join(attributes)


def netem_options(delay_us: int, jitter_us: int, loss: float, reorder: float, duplicate: float) -> bytes:
    """Return TCA_OPTIONS of netem: struct tc_netem_qopt and its attributes."""
    # netem reorders only if a gap is set. With a gap of 1, it may send each packet without delay (tc-netem(8)).
    parameters = _NETEM.pack(0, _NETEM_LIMIT, _share(loss), 1 if reorder else 0, _share(duplicate), 0)
    attributes = [
        pack_attribute(_TCA_NETEM_LATENCY64, struct.pack("=q", delay_us * 1000)),
        pack_attribute(_TCA_NETEM_JITTER64, struct.pack("=q", jitter_us * 1000)),
    ]
    if reorder:
        attributes.append(pack_attribute(_TCA_NETEM_REORDER, struct.pack("=II", _share(reorder), 0)))
    return parameters + b"".join(attributes)


def _share(share: float) -> int:
    return round(share * 0xFFFFFFFF)
