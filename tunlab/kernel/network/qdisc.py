"""Queueing disciplines that hold back, lose and reorder what leaves by a device: tbf for the rate, netem for the rest.

Source: tc-tbf(8), tc-netem(8), <linux/pkt_sched.h>, <linux/rtnetlink.h>; the messages are packed here, for the times of
pyroute2's are in ticks of a clock that it reads from /proc/net/psched.
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
_TCA_STATS_QUEUE = 3  # <linux/gen_stats.h>, of struct gnet_stats_queue: qlen, backlog, drops, requeues, overlimits
_RATE_HANDLE, _DELAY_HANDLE = 0x10000, 0x100000  # 1: and 10:

_TCA_TBF_PARMS, _TCA_TBF_RATE64, _TCA_TBF_BURST = 1, 4, 6
_RATESPEC = struct.Struct("=BBHhHI")  # cell_log, linklayer, overhead, cell_align, mpu, rate
_TBF = struct.Struct("=III")  # limit in octets, buffer and mtu in ticks: the burst attribute stands for both
_ETHERNET = 1  # TC_LINKLAYER_ETHERNET: the kernel needs no table of rates to find that out

_NETEM = struct.Struct("=IIIIII")  # latency in ticks, limit in packets, loss, gap, duplicate, jitter in ticks
_TCA_NETEM_REORDER, _TCA_NETEM_LATENCY64, _TCA_NETEM_JITTER64 = 3, 10, 11
_NETEM_LIMIT = 10_000  # packets that are on their way at once; netem's own 1,000 are 12 ms of a gigabit

_QUEUE_SECONDS = 0.05
_NO_NETEM = "this kernel has no netem"
_REMEDY = "load it (modprobe sch_netem), or leave out delay, jitter, loss, reorder and duplicate; rate works without"


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
    """Let a device do so, and nothing else, to what leaves by it; without an argument it is as it was made.

    rate                      bits per second, 0 for no limit; a queue of 50 ms stands before it
    delay_us, jitter_us       microseconds
    loss, reorder, duplicate  a share from 0 to 1
    mtu                       octets: the least burst is two such packets

    Raises KernelError; ENOENT with the remedy where the kernel has no netem.
    """
    delays = bool(delay_us or jitter_us or loss or reorder or duplicate)
    _delete_root(rtnl, ifindex)
    if rate:
        _add(rtnl, ifindex, "tbf", TC_H_ROOT, _RATE_HANDLE, _tbf(rate, mtu))
    if delays:
        # The rate outside: what was delayed is let out one by one, as on a slow line behind a long one.
        parent = _RATE_HANDLE | 1 if rate else TC_H_ROOT
        options = netem_options(delay_us, jitter_us, loss, reorder, duplicate)
        _add(rtnl, ifindex, "netem", parent, _DELAY_HANDLE, options)


def read_queue_drops(rtnl: Rtnl) -> dict[int, int]:
    """How many packets each link's queue has dropped so far, by the link's index, where it has a queue.

    The link's own counters do not have them: what a full tbf or netem drops never reaches the device.
    """
    request = pack_message(RTM_GETQDISC, NLM_F_DUMP, TCMSG.pack(0, 0, 0, 0, 0))
    drops: dict[int, int] = {}
    for reply in rtnl.exchange(request, "read the qdiscs"):
        _, ifindex, _, parent, _ = TCMSG.unpack_from(reply, NLMSG_HEADER_SIZE)
        statistics = unpack_attributes(reply[NLMSG_HEADER_SIZE + TCMSG.size :]).get(_TCA_STATS2, b"")
        queue = unpack_attributes(statistics).get(_TCA_STATS_QUEUE)
        if parent == TC_H_ROOT and queue is not None:  # the root's count has those of the qdiscs below it
            drops[ifindex] = int.from_bytes(queue[8:12], sys.byteorder)
    return drops


def has_netem(rtnl: Rtnl) -> bool:
    """Whether this kernel has netem, tried on lo: for a namespace that is thrown away."""
    try:
        _add(rtnl, 1, "netem", TC_H_ROOT, _DELAY_HANDLE, netem_options(1, 0, 0.0, 0.0, 0.0))
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True


def netem_error(operation: str) -> KernelError:
    """The error for a kernel without netem."""
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
        if error.errno not in (errno.ENOENT, errno.EINVAL):  # there is none but the kernel's own
            raise


def _tbf(rate: int, mtu: int) -> bytes:
    octets = max(rate // 8, 1)
    burst = max(2 * (mtu + 18), octets // 250)  # with its Ethernet header and a VLAN tag; 4 ms' worth
    limit = burst + max(int(octets * _QUEUE_SECONDS), 2 * (mtu + 18))
    rates = _RATESPEC.pack(0, _ETHERNET, 0, 0, 0, min(octets, 0xFFFFFFFF)) + _RATESPEC.pack(0, 0, 0, 0, 0, 0)
    # In this order: the kernel reads the rate of 64 bits only where that of 32 is full, and does not mind it before.
    attributes = [
        pack_attribute(_TCA_TBF_PARMS, rates + _TBF.pack(min(limit, 0xFFFFFFFF), 0, 0)),
        pack_attribute(_TCA_TBF_RATE64, struct.pack("=Q", octets)),
        pack_attribute(_TCA_TBF_BURST, struct.pack("=I", min(burst, 0xFFFFFFFF))),
    ]
    return b"".join(attributes)


def netem_options(delay_us: int, jitter_us: int, loss: float, reorder: float, duplicate: float) -> bytes:
    """TCA_OPTIONS of netem: struct tc_netem_qopt, and the attributes after it."""
    # Without a gap netem reorders nothing; of each packet, then, the share goes at once (tc-netem(8)).
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
