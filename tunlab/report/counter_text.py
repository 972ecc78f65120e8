"""The kernel's counters and drop reasons in words: those that tell of a packet that went nowhere, or of trouble.

Source: Documentation/networking/snmp_counter.rst, RFC 4293, and where the kernel counts (net/ipv4, net/ipv6);
include/net/dropreason-core.h for the reasons.
"""

from __future__ import annotations

from collections.abc import Mapping

SETTINGS = frozenset({"Ip.Forwarding", "Ip.DefaultTTL", "Tcp.RtoAlgorithm", "Tcp.RtoMin", "Tcp.RtoMax", "Tcp.MaxConn"})
"""What stands among the counters and counts nothing."""

# Counters that move together for one event, the most telling first, and then each alone. "{n}" is "1 datagram".
_EVENTS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("IpExt.InCsumErrors", "Ip.InHdrErrors"), "dropped {n}: bad IP header checksum"),
    (("Icmp.OutTimeExcds", "Ip.InHdrErrors"), "dropped {n}: the TTL ran out on the way; its sender was told"),
    (("Ip.InHdrErrors",), "dropped {n}: no IP header can be so (IHL, total length, an option), or its TTL ran out"),
    (("IpExt.InTruncatedPkts",), "dropped {n}: shorter than its total length says"),
    (("Icmp.OutDestUnreachs", "Ip.InUnknownProtos"), "dropped {n}: nobody speaks its protocol; answered: ICMP 3/2"),
    (("Ip.InUnknownProtos",), "dropped {n}: nobody here speaks its protocol"),
    (("Icmp.OutDestUnreachs", "Udp.NoPorts"), "dropped {n}: no socket has that UDP port; answered: ICMP 3/3"),
    (("Udp.NoPorts",), "dropped {n}: no socket has that UDP port"),
    (("TcpExt.IPReversePathFilter",), "dropped {n}: rp_filter: no route leads back to its source over that device"),
    (("Ip.InAddrErrors",), "dropped {n}: addressed to nobody here, and this is no router, or its address cannot be"),
    (("IpExt.InNoRoutes",), "dropped {n}: no route leads where it was to be forwarded"),
    (("Ip.OutNoRoutes",), "sent {n} less than asked for: no route leads there"),
    (("Ip.InDiscards",), "dropped {n} that had nothing wrong with it: no memory, a firewall, or a policy"),
    (("Ip.OutDiscards",), "did not send {n} that had nothing wrong with it: no room, no neighbour, or a firewall"),
    (("Ip.ReasmTimeout", "Ip.ReasmFails"), "gave up {n}: the other fragments did not come in time"),
    (("IpExt.ReasmOverlaps", "Ip.ReasmFails"), "dropped {n}: its fragments overlap"),
    (("Ip.ReasmFails",), "could not put {n} together from its fragments"),
    (("Ip.ReasmReqds",), "keeps {n}: a fragment that waits for the rest"),
    (("Icmp.OutDestUnreachs", "Ip.FragFails"), "dropped {n}: longer than the next MTU, with DF; answered: ICMP 3/4"),
    (("Ip.FragFails",), "did not send {n}: longer than the MTU, and DF is set"),
    (("Icmp.InCsumErrors", "Icmp.InErrors"), "dropped {n}: bad ICMP checksum"),
    (("Icmp.InErrors",), "dropped {n}: no ICMP message can be so (too short, or of an unknown type)"),
    (("Icmp.OutErrors",), "could not send {n} of ICMP"),
    (("Icmp.OutRateLimitGlobal",), "did not answer {n} by ICMP: the limit for all (icmp_msgs_per_sec) was reached"),
    (("Icmp.OutRateLimitHost",), "did not answer {n} by ICMP: the limit for one host (icmp_ratelimit) was reached"),
    (("Icmp.OutDestUnreachs",), "told the sender of {n} that its destination cannot be reached"),
    (("Icmp.OutTimeExcds",), "told the sender of {n} that its time ran out"),
    (("Icmp.OutParmProbs",), "told the sender of {n} that a field of its header is wrong"),
    (("Icmp.OutRedirects",), "told the sender of {n} of a better way (a redirect)"),
    (("Icmp.InDestUnreachs",), "was told of {n} that the destination cannot be reached"),
    (("Icmp.InTimeExcds",), "was told of {n} that its time ran out"),
    (("Tcp.InCsumErrors", "Tcp.InErrs"), "dropped {n}: bad TCP checksum"),
    (("Tcp.InErrs",), "dropped {n}: no TCP segment can be so (too short, or its data offset)"),
    (("Udp.InCsumErrors", "Udp.InErrors"), "dropped {n}: bad UDP checksum"),
    (("Udp.RcvbufErrors", "Udp.InErrors"), "dropped {n}: the UDP socket's receive buffer is full"),
    (("Udp.MemErrors", "Udp.InErrors"), "dropped {n}: no memory is left for UDP"),
    (("Udp.InErrors",), "dropped {n}: its UDP length cannot be, or the socket did not take it"),
    (("Udp.SndbufErrors",), "did not send {n}: the UDP socket's send buffer is full"),
    (("TcpExt.ListenOverflows", "TcpExt.ListenDrops"), "dropped {n}: the listening socket's queue is full (backlog)"),
    (("TcpExt.ListenDrops",), "dropped {n} to a listening socket: a SYN it could not take"),
    (("TcpExt.TCPReqQFullDrop",), "dropped {n}: the listening socket has no room for another SYN"),
    (("TcpExt.TCPBacklogDrop",), "dropped {n}: the TCP socket was busy and its backlog is full"),
    (("TcpExt.TCPRcvQDrop",), "dropped {n}: the TCP receive queue is full"),
    (("TcpExt.TCPZeroWindowDrop",), "dropped {n}: data for a TCP window of zero"),
    (("TcpExt.TCPOFODrop",), "dropped {n}: out of order, and no room to keep it"),
    (("TcpExt.OfoPruned",), "threw away {n} that was out of order, to make room"),
    (("TcpExt.RcvPruned",), "dropped {n}: the TCP receive buffer is full"),
    (("TcpExt.TCPDeferAcceptDrop",), "dropped {n}: an ACK without data, and TCP_DEFER_ACCEPT waits for data"),
    (("TcpExt.TCPMinTTLDrop",), "dropped {n}: its TTL is below the socket's IP_MINTTL"),
    (("TcpExt.PFMemallocDrop",), "dropped {n}: memory is short on this machine"),
    (("TcpExt.BeyondWindow",), "refused {n}: a TCP sequence number beyond the window"),
    (("TcpExt.PAWSActive",), "refused {n}: a SYN-ACK whose timestamp is older than the SYN's (PAWS)"),
    (("TcpExt.PAWSEstab",), "refused {n}: a TCP timestamp older than the last (PAWS)"),
    (("TcpExt.PAWSOldAck",), "passed over {n}: an old ACK with an old timestamp (PAWS)"),
    (("TcpExt.TSEcrRejected",), "refused {n}: its TCP timestamp echoes what was never sent"),
    (("TcpExt.TCPACKSkippedSeq",), "did not answer {n}: out of the window, and such answers are limited"),
    (("TcpExt.TCPACKSkippedPAWS",), "did not answer {n}: an old timestamp, and such answers are limited"),
    (("TcpExt.TCPACKSkippedChallenge",), "sent no challenge ACK for {n}: their number is limited"),
    (("TcpExt.TCPSYNChallenge", "TcpExt.TCPChallengeACK"), "answered {n} by a challenge ACK: a SYN in a connection"),
    (("TcpExt.TCPChallengeACK",), "answered {n} by a challenge ACK: what it says cannot be trusted (RFC 5961)"),
    (("TcpExt.OutOfWindowIcmps",), "passed over {n} of ICMP: about a TCP sequence number that is not on its way"),
    (("TcpExt.LockDroppedIcmps",), "dropped {n} of ICMP: the TCP socket was busy"),
    (("TcpExt.TCPMD5NotFound",), "dropped {n}: a TCP MD5 signature is wanted, and it has none"),
    (("TcpExt.TCPMD5Unexpected",), "dropped {n}: it has a TCP MD5 signature, and none is wanted"),
    (("TcpExt.TCPMD5Failure",), "dropped {n}: bad TCP MD5 signature"),
    (("TcpExt.TCPAORequired",), "dropped {n}: TCP-AO is wanted, and it has none"),
    (("TcpExt.TCPAOBad",), "dropped {n}: bad TCP-AO signature"),
    (("TcpExt.TCPAOKeyNotFound",), "dropped {n}: its TCP-AO key is not known"),
    (("TcpExt.SyncookiesFailed",), "dropped {n}: an ACK with a SYN cookie that is none of ours"),
    (("TcpExt.ArpFilter",), "did not answer {n} of ARP: arp_filter"),
    (("TcpExt.TCPAbortOnTimeout",), "gave up {c}: no answer came"),
    (("TcpExt.TCPAbortOnData",), "reset {c}: data came for a socket that is closed"),
    (("TcpExt.TCPAbortOnClose",), "reset {c}: it was closed with data unread"),
    (("TcpExt.TCPAbortOnLinger",), "reset {c}: it was closed and did not linger"),
    (("TcpExt.TCPAbortOnMemory",), "reset {c}: no memory, or too many orphans"),
    (("TcpExt.EmbryonicRsts",), "was reset in {c} that was not established yet"),
    (("Tcp.AttemptFails",), "could not establish {c}"),
    (("Tcp.EstabResets",), "saw the reset of {c}"),
    (("Tcp.OutRsts",), "sent {n} with RST"),
    (("TcpExt.TCPSynRetrans", "Tcp.RetransSegs"), "sent {n} again: a SYN that nobody answered"),
    (("Tcp.RetransSegs",), "sent {n} again: nobody acknowledged it in time"),
    (("TcpExt.TCPTimeouts",), "waited in vain for {n}: a TCP timer ran out"),
    (("Ip6.InTooBigErrors",), "dropped {n} of IPv6: longer than the next MTU; answered with packet too big"),
    (("Ip6.InHdrErrors",), "dropped {n} of IPv6: no header can be so, or its hop limit ran out"),
    (("Ip6.InNoRoutes",), "dropped {n} of IPv6: no route leads there"),
    (("Ip6.InAddrErrors",), "dropped {n} of IPv6: addressed to nobody here"),
    (("Ip6.InUnknownProtos",), "dropped {n} of IPv6: nobody here speaks its next header"),
    (("Ip6.InTruncatedPkts",), "dropped {n} of IPv6: shorter than its payload length says"),
    (("Ip6.InDiscards",), "dropped {n} of IPv6 that had nothing wrong with it"),
    (("Ip6.OutNoRoutes",), "did not send {n} of IPv6: no route leads there"),
    (("Ip6.OutDiscards",), "did not send {n} of IPv6 that had nothing wrong with it"),
    (("Ip6.ReasmFails",), "could not put {n} of IPv6 together from its fragments"),
    (("Ip6.ReasmReqds",), "keeps {n} of IPv6: a fragment that waits for the rest"),
    (("Icmp6.InCsumErrors", "Icmp6.InErrors"), "dropped {n}: bad ICMPv6 checksum"),
    (("Icmp6.InErrors",), "dropped {n}: no ICMPv6 message can be so"),
    (("Udp6.InCsumErrors", "Udp6.InErrors"), "dropped {n} of IPv6: bad UDP checksum"),
    (("Udp6.RcvbufErrors", "Udp6.InErrors"), "dropped {n} of IPv6: the UDP socket's receive buffer is full"),
    (("Udp6.NoPorts",), "dropped {n} of IPv6: no socket has that UDP port"),
)  # fmt: skip

# Fragments are counted as they come: only where none was put together, and none given up, do they still wait.
_WAITING = {"Ip.ReasmReqds": ("Ip.ReasmOKs", "Ip.ReasmFails"), "Ip6.ReasmReqds": ("Ip6.ReasmOKs", "Ip6.ReasmFails")}
# Octets, and what says the same as another counter: of use to nobody who asks why.
_NOISE = ("IcmpMsg.", "Icmp6.InType", "Icmp6.OutType", "Ip.OutTransmits", "Ip6.OutTransmits")

REASONS: Mapping[str, str] = {
    "NOT_SPECIFIED": "no reason given",
    "NO_SOCKET": "no socket has that port",
    "SOCKET_FILTER": "the socket's filter",
    "SOCKET_RCVBUFF": "the socket's receive buffer is full",
    "SOCKET_BACKLOG": "the socket was busy and its backlog is full",
    "PKT_TOO_SMALL": "too short for its header",
    "PKT_TOO_BIG": "longer than the MTU",
    "TCP_CSUM": "bad TCP checksum",
    "UDP_CSUM": "bad UDP checksum",
    "ICMP_CSUM": "bad ICMP checksum",
    "SKB_CSUM": "bad checksum",
    "NETFILTER_DROP": "a firewall rule (netfilter)",
    "OTHERHOST": "the frame's address is another host's",
    "IP_CSUM": "bad IP header checksum",
    "IP_INHDR": "its IP header cannot be so, or its TTL ran out",
    "IP_RPFILTER": "rp_filter: no route leads back to its source over that device",
    "IP_NOPROTO": "nobody here speaks its protocol",
    "IP_LOCAL_SOURCE": "its source is an address of this very host",
    "IP_INVALID_SOURCE": "its source can be nobody's address",
    "IP_INVALID_DEST": "its destination can be nobody's address",
    "IP_LOCALNET": "an address of 127.0.0.0/8 from outside the loopback device",
    "IP_INADDRERRORS": "its destination is nobody here, and this is no router",
    "IP_INNOROUTES": "no route leads to its destination",
    "IP_OUTNOROUTES": "no route to send it by",
    "UNICAST_IN_L2_MULTICAST": "an IP address of one host in a frame to many",
    "PROTO_MEM": "no memory is left for the protocol",
    "TCP_FLAGS": "TCP flags that do not belong here",
    "TCP_ZEROWINDOW": "data for a TCP window of zero",
    "TCP_OLD_DATA": "TCP data that was received before",
    "TCP_OVERWINDOW": "TCP data beyond the window",
    "TCP_OLD_SEQUENCE": "a TCP sequence number before the window",
    "TCP_INVALID_SEQUENCE": "a TCP sequence number outside the window",
    "TCP_INVALID_END_SEQUENCE": "a TCP segment that ends outside the window",
    "TCP_INVALID_ACK_SEQUENCE": "a TCP acknowledgement outside the window",
    "TCP_ACK_UNSENT_DATA": "it acknowledges what was never sent",
    "TCP_OLD_ACK": "an old TCP acknowledgement",
    "TCP_TOO_OLD_ACK": "a TCP acknowledgement that is far too old",
    "TCP_RESET": "the TCP connection was reset",
    "TCP_INVALID_SYN": "a SYN inside a live connection",
    "TCP_CLOSE": "the TCP socket is closed",
    "TCP_ABORT_ON_DATA": "data for a TCP socket that is closed",
    "TCP_LISTEN_OVERFLOW": "the listening socket's queue is full",
    "TCP_RFC7323_PAWS": "a TCP timestamp older than the last (PAWS)",
    "TCP_RFC7323_PAWS_ACK": "an old ACK with an old timestamp (PAWS)",
    "TCP_RFC7323_TSECR": "its TCP timestamp echoes what was never sent",
    "TCP_MINTTL": "its TTL is below the socket's IP_MINTTL",
    "TCP_MD5NOTFOUND": "a TCP MD5 signature is wanted, and it has none",
    "TCP_MD5UNEXPECTED": "it has a TCP MD5 signature, and none is wanted",
    "TCP_MD5FAILURE": "bad TCP MD5 signature",
    "DUP_FRAG": "a fragment that was there already, or overlaps",
    "FRAG_REASM_TIMEOUT": "the other fragments did not come in time",
    "FRAG_TOO_FAR": "a fragment too far from the others",
    "NEIGH_CREATEFAIL": "no room for another neighbour",
    "NEIGH_FAILED": "the neighbour did not answer (ARP)",
    "NEIGH_QUEUEFULL": "too many wait for the neighbour's answer (ARP)",
    "NEIGH_DEAD": "the neighbour's entry is gone",
    "IPV6DISABLED": "IPv6 is switched off here",
    "QDISC_DROP": "the queueing discipline threw it away",
    "QDISC_OVERLIMIT": "the queueing discipline's queue is full",
    "TC_INGRESS": "a traffic control filter, on its way in",
    "TC_EGRESS": "a traffic control filter, on its way out",
    "XDP": "an XDP program",
    "DEV_READY": "the device is down",
    "DEV_HDR": "no link header could be made",
    "FULL_RING": "the device's queue is full: nobody reads the TUN",
    "TAP_FILTER": "the TUN's filter",
    "TAP_TXFILTER": "the TUN's filter",
    "UNHANDLED_PROTO": "no protocol of that number is known",
    "NOMEM": "no memory",
    "XFRM_POLICY": "an IPsec policy",
    "SECURITY_HOOK": "a security module",
    "BPF_CGROUP_EGRESS": "a BPF program of the control group",
}


def describe_counters(moved: Mapping[str, int]) -> tuple[list[str], dict[str, int]]:
    """A sentence for each thing that the counters tell of, with their names; and the counters that told of none."""
    left = {name: value for name, value in moved.items() if name not in SETTINGS}
    sentences = []
    for names, sentence in _EVENTS:
        if any(moved.get(each) for each in _WAITING.get(names[0], ())):
            continue
        count = min(left.get(name, 0) for name in names)
        if count > 0:
            words = sentence.format(n=_counted(count, "datagram"), c=_counted(count, "TCP connection"))
            sentences.append(f"{words} ({', '.join(names)})")
            for name in names:
                left[name] -= count
    return sentences, {name: value for name, value in left.items() if value and not _is_noise(name)}


def describe_drop_reasons(reasons: Mapping[str, int]) -> list[str]:
    """The reasons for drops, each with how often it was given."""
    return [
        f"{REASONS.get(reason, reason)} ({reason}{f', {n} times' if n > 1 else ''})" for reason, n in reasons.items()
    ]


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _is_noise(name: str) -> bool:
    return name.startswith(_NOISE) or name.endswith(("Octets", "NoECTPkts"))
