"""Change interfaces of a running lab: set them up or down, or set their impairment (delay, loss, rate …)."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from tunlab.errors import KernelError
from tunlab.kernel.network.qdisc import impair
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.topology.plan import Impairment, InterfacePlan, NodePlan


def set_impairment(rtnl: Rtnl, interface: InterfacePlan, impairment: Impairment | None = None) -> None:
    """Set the delay, loss and rate of packets that leave by an interface; by default as planned. Raises KernelError."""
    impairment = interface.impairment if impairment is None else impairment
    impair(
        rtnl,
        interface.ifindex,
        rate=impairment.rate,
        delay_us=impairment.delay_us,
        jitter_us=impairment.jitter_us,
        loss=impairment.loss,
        reorder=impairment.reorder,
        duplicate=impairment.duplicate,
        mtu=interface.mtu,
    )


def set_up(rtnl: Rtnl, node: NodePlan, interface: InterfacePlan, *, up: bool) -> None:
    """Set an interface up or down. Raises KernelError.

    The kernel drops the routes and IPv6 addresses of an interface that goes down; `up=True` adds them again.
    """
    rtnl.set_link(interface.ifindex, up=up)
    if not up:
        return
    for cidr in interface.addresses:
        if ":" in cidr:
            with _ignoring(errno.EEXIST):
                rtnl.add_address(interface.ifindex, cidr)
    for route in node.routes:
        # `node.routes` includes routes through other interfaces. Ignore the errors of those that still exist, or whose
        # interface is down.
        with _ignoring(errno.EEXIST, errno.ENETUNREACH, errno.EHOSTUNREACH):
            rtnl.add_route("default" if route.to == "default6" else route.to, via=route.via)


@contextmanager
def _ignoring(*codes: int) -> Iterator[None]:
    """Ignore kernel errors with these errno values in a `with` block."""
    try:
        yield
    except KernelError as error:
        if error.errno not in codes:
            raise
