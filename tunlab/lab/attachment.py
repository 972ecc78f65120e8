"""Attach this process to an existing TUN device.

Source: Documentation/networking/tuntap.rst; the kernel's net/core/link_watch.c for the wait for a carrier.
"""

from __future__ import annotations

import errno
import os
import time

from tunlab.errors import KernelError
from tunlab.kernel.device.tun import TunDevice
from tunlab.kernel.namespace.netns import Netns

_CARRIER_TIMEOUT = 5.0


def attach(netns: Netns, ifname: str) -> TunDevice | None:
    """Attach to a TUN device and return it when it has a carrier; return None if another program is attached.

    Raises KernelError, PrivilegeError.
    """
    try:
        device = TunDevice.attach(netns, ifname)
    except KernelError as error:
        if error.errno == errno.EBUSY:
            return None
        raise
    try:
        # The TUN has a carrier at once, but the kernel drops its packets until link_watch.c has processed the change.
        # Newer kernels process the change before they answer a query of the link. On older kernels, the query is
        # repeated until the link is running.
        deadline = time.monotonic() + _CARRIER_TIMEOUT
        while (link := device.link).up and not link.running:
            if time.monotonic() > deadline:
                reason = f"no carrier after {_CARRIER_TIMEOUT:g} s"
                raise KernelError(errno.ENETDOWN, f"attach to {ifname}", reason=reason, ifname=ifname)
            os.sched_yield()
    except BaseException:
        device.close()
        raise
    return device
