"""Settings of a device under test."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from tunlab.kernel.validation import InterfaceAddress


class Services(Struct, frozen=True):
    """The ports on which a device under test offers the simple services, by TCP and UDP.

    Attributes:
        echo: Sends back everything (RFC 862).
        discard: Drops everything (RFC 863).
        chargen: Sends characters without end (RFC 864).
    """

    echo: int = 7
    discard: int = 9
    chargen: int = 19


class DutSettings(Struct, frozen=True):
    """Settings of a device under test.

    Attributes:
        addresses: Its addresses.
        ifname: Name of the device that a program opens.
        mode: "tun" for IP packets, "tap" for Ethernet frames.
        mtu: MTU of the device in bytes.
        timeout: Seconds that `expect` waits by default.
        start_timeout: Seconds that a program has to become ready.
        ready: When a program is ready: "device" when it has opened its device, "packet" when it has sent a packet,
            "line PATTERN" when a line of its output matches, "" at once. None is "device" for programs that open a
            device by name, else "".
        services: Ports of its services.
    """

    addresses: tuple[InterfaceAddress, ...]
    ifname: str = "tun0"
    mode: Literal["tun", "tap"] = "tun"
    mtu: int = 1500
    timeout: float = 2.0
    start_timeout: float = 10.0
    ready: str | None = None
    services: Services = Services()
