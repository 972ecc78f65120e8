"""Becoming the other end of a TUN that is there.

Source: Documentation/networking/tuntap.rst; net/core/link_watch.c for why a carrier is waited for.
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
    """Attach to the device and wait until the kernel sends to it; None where somebody else is attached.

    Raises KernelError, PrivilegeError.
    """
    try:
        device = TunDevice.attach(netns, ifname)
    except KernelError as error:
        if error.errno == errno.EBUSY:
            return None
        raise
    try:
        # The carrier comes at once, but the queue behind it only when the kernel's link watch has run: what is sent
        # before is dropped. Newer kernels settle that in answering; of others we ask again.
        deadline = time.monotonic() + _CARRIER_TIMEOUT
        while (link := device.link).up and not link.running:
            if time.monotonic() > deadline:
                reason = "the device got no carrier"
                raise KernelError(errno.ENETDOWN, f"attach to {ifname}", reason=reason, ifname=ifname)
            os.sched_yield()
    except BaseException:
        device.close()
        raise
    return device
