"""Recordings that the report tests share, made from given packets."""

from __future__ import annotations

import io

from tunlab.packet import ICMP, IGMP, TCP, UDP, IPFlag, IPv4, TCPFlag, build, ip_options, tcp_options
from tunlab.recorder import LINKTYPE_ETHERNET, LINKTYPE_RAW, PcapngWriter

KERNEL, PEER = "10.1.2.1", "10.1.2.2"
BEGIN = 1_700_000_000 * 10**9
MARKUP = (
    "</script x></script><!--<script></script><script>window.executed = 1</script>"
    "<img src=x onerror='window.executed = 2'><!-- {{title}}"
)
SYN_OPTIONS = [
    tcp_options.MSS(1460), tcp_options.SACKPermitted(), tcp_options.Timestamps(1, 0), tcp_options.NOP,
    tcp_options.WindowScale(7),
]  # fmt: skip
UDP_TO_CLOSED_PORT = build(IPv4(src=PEER, dst=KERNEL), UDP(src_port=5353, dst_port=9), MARKUP.encode())

SESSION = [
    ("in", IPv4(src=PEER, dst=KERNEL), TCP(src_port=4000, dst_port=80, seq=9, flags=TCPFlag.SYN, options=SYN_OPTIONS)),
    ("out", IPv4(src=KERNEL, dst=PEER, flags=IPFlag.DF),
     TCP(src_port=80, dst_port=4000, seq=7, ack=10, flags=TCPFlag.SYN | TCPFlag.ACK, options=SYN_OPTIONS)),
    ("in", IPv4(src=PEER, dst=KERNEL),
     TCP(src_port=4000, dst_port=80, seq=10, ack=8, flags=TCPFlag.ACK | TCPFlag.PSH, checksum=0x1234), b"GET /\r\n"),
    ("in", UDP_TO_CLOSED_PORT),
    ("out", IPv4(src=KERNEL, dst=PEER, dscp=48, ecn=1), ICMP.unreachable(3), UDP_TO_CLOSED_PORT),
    ("in", IPv4(src=PEER, dst=KERNEL, options=[ip_options.RecordRoute(["0.0.0.0"] * 3)]), ICMP.echo_request(7, 1),
     bytes(range(56))),
    ("out", IPv4(src=KERNEL, dst="224.0.0.22", ttl=1, options=[ip_options.RouterAlert()]),
     IGMP.query("239.1.2.3", sources=["192.0.2.1", "192.0.2.2"])),
    ("in", b"\x60not IPv4"),
]  # fmt: skip
"""Packets of a TUN: direction and layers. The third has a bad checksum, the fourth a payload of markup."""


def recorded(packets, *, linktype=LINKTYPE_RAW, name="tun0", comments=None, annotations=None, step=1_000_000):
    """Return a pcapng file of packets, each a tuple (direction, *layers), 1 ms apart.

    `comments` and `annotations` are dicts by packet number, from 1.
    """
    file = io.BytesIO()
    writer = PcapngWriter(file)
    interface = writer.add_interface(name, linktype=linktype)
    for number, (direction, *layers) in enumerate(packets, 1):
        data = layers[0] if len(layers) == 1 and isinstance(layers[0], bytes) else build(*layers)
        comment, annotation = (comments or {}).get(number, ""), (annotations or {}).get(number)
        writer.write(
            interface,
            data,
            time_ns=BEGIN + number * step,
            direction=direction,
            comment=annotation.comment if annotation else comment,
            annotation=annotation.to_json() if annotation else "",
        )
    return file.getvalue()


def session():
    """Return SESSION as a pcapng file with two packet comments. One of them contains HTML markup."""
    return recorded(SESSION, comments={1: "injected at test_x.py:42", 4: MARKUP})


def framed(*datagrams, kind=b"\x08\x00", tags=b""):
    """Return a pcapng file of Ethernet frames, padded to 60 bytes."""
    head = bytes.fromhex("020000000001020000000002") + tags + kind
    return recorded([(None, (head + each).ljust(60, b"\0")) for each in datagrams], linktype=LINKTYPE_ETHERNET)
