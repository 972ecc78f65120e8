"""The kernel's protocol counters of a namespace.

Source: /proc/net/snmp, netstat and snmp6 (proc_pid_net(5)). Documentation/networking/snmp_counter.rst explains the
names, most of which are from RFC 4293.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from pathlib import Path

from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.os_errors import translate_os_errors

_PROC = Path("/proc/thread-self/net")  # /proc/net would show the main thread's namespace instead of this thread's.
_V6 = re.compile(r"(Ip6|Icmp6|Udp6|UdpLite6)(\w+)\s+(\d+)")


def read_counters(netns: Netns) -> dict[str, int]:
    """Return every counter by name: "Ip.InHdrErrors", "IpExt.InCsumErrors", "Icmp.InEchos", "Ip6.InReceives".

    They count events since the namespace was created, except a few current values ("Tcp.CurrEstab"). Raises
    KernelError.
    """
    with translate_os_errors("read the counters", netns=str(netns)):
        return netns.call(_read)


def counter_changes(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Return the counters that changed, with the difference, in the order of `after`."""
    return {name: difference for name, value in after.items() if (difference := value - before.get(name, 0))}


def _read() -> dict[str, int]:
    counters: dict[str, int] = {}
    for file in ("snmp", "netstat"):
        lines = (_PROC / file).read_text(encoding="ascii").splitlines()
        # The file has two lines per protocol, names and values: "Ip: Forwarding DefaultTTL …", "Ip: 2 64 …".
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            prefix, *fields = names.split()
            counters.update(
                zip([prefix[:-1] + "." + field for field in fields], map(int, values.split()[1:]), strict=True)
            )
    try:
        text = (_PROC / "snmp6").read_text(encoding="ascii")
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return counters  # The kernel has no IPv6.
    counters |= {f"{prefix}.{name}": int(value) for prefix, name, value in _V6.findall(text)}
    return counters
