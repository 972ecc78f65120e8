"""Sentences for kernel counters and drop reasons, which explain a lost packet or an error.

Sources of the counters: Documentation/networking/snmp_counter.rst, RFC 4293, net/ipv4 and net/ipv6 in Linux. Source of
the drop reasons: include/net/dropreason-core.h in Linux.
"""

from __future__ import annotations

from collections.abc import Mapping

SETTINGS = frozenset({"Ip.Forwarding", "Ip.DefaultTTL", "Tcp.RtoAlgorithm", "Tcp.RtoMin", "Tcp.RtoMax", "Tcp.MaxConn"})
"""Settings that the kernel lists among its counters."""

# The first matching entry is used, so combinations of counters come before single counters. {n} becomes "1 packet", {c}
# becomes "1 TCP connection".
_EVENTS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("IpExt.InCsumErrors", "Ip.InHdrErrors"), "dropped {n}: bad IP header checksum"),
    (("Icmp.OutTimeExcds", "Ip.InHdrErrors"), "dropped {n}: TTL expired; answered with ICMP 11/0"),
    (("Ip.InHdrErrors",), "dropped {n}: invalid IP header (IHL, total length, option), or TTL expired"),
    (("IpExt.InTruncatedPkts",), "dropped {n}: shorter than its total length"),
    (("Icmp.OutDestUnreachs", "Ip.InUnknownProtos"), "dropped {n}: unknown protocol; answered with ICMP 3/2"),
    (("Ip.InUnknownProtos",), "dropped {n}: unknown protocol"),
    (("Icmp.OutDestUnreachs", "Udp.NoPorts"), "dropped {n}: no socket on the UDP port; answered with ICMP 3/3"),
    (("Udp.NoPorts",), "dropped {n}: no socket on the UDP port"),
    (("TcpExt.IPReversePathFilter",), "dropped {n}: rp_filter: no route to its source on that device"),
    (("Ip.InAddrErrors",), "dropped {n}: destination is not local and forwarding is off, or it is invalid"),
    (("IpExt.InNoRoutes",), "dropped {n}: no route to forward it"),
    (("Ip.OutNoRoutes",), "could not send {n}: no route to the destination"),
    (("Ip.InDiscards",), "dropped {n} on receipt: no memory, a firewall, or a policy"),
    (("Ip.OutDiscards",), "did not send {n}: no buffer space, no neighbour, or a firewall"),
    (("Ip.ReasmTimeout", "Ip.ReasmFails"), "dropped {n}: reassembly timed out, other fragments did not arrive"),
    (("IpExt.ReasmOverlaps", "Ip.ReasmFails"), "dropped {n}: its fragments overlap"),
    (("Ip.ReasmFails",), "could not reassemble {n}"),
    (("Ip.ReasmReqds",), "keeps {n} until the other fragments arrive"),
    (("Icmp.OutDestUnreachs", "Ip.FragFails"), "dropped {n}: larger than the next MTU; answered with ICMP 3/4"),
    (("Ip.FragFails",), "did not send {n}: larger than the MTU, and DF is set"),
    (("Icmp.InCsumErrors", "Icmp.InErrors"), "dropped {n}: bad ICMP checksum"),
    (("Icmp.InErrors",), "dropped {n}: invalid ICMP message (too short, or of unknown type)"),
    (("Icmp.OutErrors",), "could not send {n} with ICMP"),
    (("Icmp.OutRateLimitGlobal",), "sent no ICMP answer to {n}: global limit (icmp_msgs_per_sec) reached"),
    (("Icmp.OutRateLimitHost",), "sent no ICMP answer to {n}: limit per host (icmp_ratelimit) reached"),
    (("Icmp.OutDestUnreachs",), "answered {n} with ICMP destination unreachable"),
    (("Icmp.OutTimeExcds",), "answered {n} with ICMP time exceeded"),
    (("Icmp.OutParmProbs",), "answered {n} with ICMP parameter problem"),
    (("Icmp.OutRedirects",), "answered {n} with ICMP redirect"),
    (("Icmp.InDestUnreachs",), "received ICMP destination unreachable for {n}"),
    (("Icmp.InTimeExcds",), "received ICMP time exceeded for {n}"),
    (("Tcp.InCsumErrors", "Tcp.InErrs"), "dropped {n}: bad TCP checksum"),
    (("Tcp.InErrs",), "dropped {n}: invalid TCP segment (too short, or bad data offset)"),
    (("Udp.InCsumErrors", "Udp.InErrors"), "dropped {n}: bad UDP checksum"),
    (("Udp.RcvbufErrors", "Udp.InErrors"), "dropped {n}: the UDP socket's receive buffer is full"),
    (("Udp.MemErrors", "Udp.InErrors"), "dropped {n}: no memory for UDP"),
    (("Udp.InErrors",), "dropped {n}: invalid UDP length, or the socket refused it"),
    (("Udp.SndbufErrors",), "did not send {n}: the UDP socket's send buffer is full"),
    (("TcpExt.ListenOverflows", "TcpExt.ListenDrops"), "dropped {n}: the listening socket's queue is full (backlog)"),
    (("TcpExt.ListenDrops",), "dropped {n}: the listening socket could not accept the SYN"),
    (("TcpExt.TCPReqQFullDrop",), "dropped {n}: the listening socket's SYN queue is full"),
    (("TcpExt.TCPBacklogDrop",), "dropped {n}: the TCP socket was busy and its backlog is full"),
    (("TcpExt.TCPRcvQDrop",), "dropped {n}: the TCP receive queue is full"),
    (("TcpExt.TCPZeroWindowDrop",), "dropped {n}: data beyond a TCP window of zero"),
    (("TcpExt.TCPOFODrop",), "dropped {n}: out of order, and the queue is full"),
    (("TcpExt.OfoPruned",), "discarded {n} received out of order, to free memory"),
    (("TcpExt.RcvPruned",), "dropped {n}: the TCP receive buffer is full"),
    (("TcpExt.TCPDeferAcceptDrop",), "dropped {n}: an ACK without data, and TCP_DEFER_ACCEPT waits for data"),
    (("TcpExt.TCPMinTTLDrop",), "dropped {n}: its TTL is below the socket's IP_MINTTL"),
    (("TcpExt.PFMemallocDrop",), "dropped {n}: the machine is short of memory"),
    (("TcpExt.BeyondWindow",), "refused {n}: a TCP sequence number beyond the window"),
    (("TcpExt.PAWSActive",), "refused {n}: a SYN-ACK whose timestamp is older than the SYN's (PAWS)"),
    (("TcpExt.PAWSEstab",), "refused {n}: a TCP timestamp older than the last (PAWS)"),
    (("TcpExt.PAWSOldAck",), "ignored {n}: an old ACK with an old timestamp (PAWS)"),
    (("TcpExt.TSEcrRejected",), "refused {n}: its TCP timestamp echoes a value that was never sent"),
    (("TcpExt.TCPACKSkippedSeq",), "did not answer {n}: outside the window, and such answers are rate-limited"),
    (("TcpExt.TCPACKSkippedPAWS",), "did not answer {n}: an old timestamp, and such answers are rate-limited"),
    (("TcpExt.TCPACKSkippedChallenge",), "sent no challenge ACK for {n}: challenge ACKs are rate-limited"),
    (("TcpExt.TCPSYNChallenge", "TcpExt.TCPChallengeACK"), "sent a challenge ACK for {n}: a SYN on a connection"),
    (("TcpExt.TCPChallengeACK",), "sent a challenge ACK for {n}: inexact sequence number (RFC 5961)"),
    (("TcpExt.OutOfWindowIcmps",), "ignored {n} with ICMP: its TCP sequence number is not in flight"),
    (("TcpExt.LockDroppedIcmps",), "dropped {n} with ICMP: the TCP socket was busy"),
    (("TcpExt.TCPMD5NotFound",), "dropped {n}: TCP MD5 signature required but missing"),
    (("TcpExt.TCPMD5Unexpected",), "dropped {n}: unexpected TCP MD5 signature"),
    (("TcpExt.TCPMD5Failure",), "dropped {n}: bad TCP MD5 signature"),
    (("TcpExt.TCPAORequired",), "dropped {n}: TCP-AO required but missing"),
    (("TcpExt.TCPAOBad",), "dropped {n}: bad TCP-AO signature"),
    (("TcpExt.TCPAOKeyNotFound",), "dropped {n}: unknown TCP-AO key"),
    (("TcpExt.SyncookiesFailed",), "dropped {n}: an ACK with an invalid SYN cookie"),
    (("TcpExt.ArpFilter",), "did not answer {n} with ARP: arp_filter"),
    (("TcpExt.TCPAbortOnTimeout",), "aborted {c}: no answer"),
    (("TcpExt.TCPAbortOnData",), "reset {c}: data arrived for a closed socket"),
    (("TcpExt.TCPAbortOnClose",), "reset {c}: closed with unread data"),
    (("TcpExt.TCPAbortOnLinger",), "reset {c}: closed with SO_LINGER 0"),
    (("TcpExt.TCPAbortOnMemory",), "reset {c}: no memory, or too many orphans"),
    (("TcpExt.EmbryonicRsts",), "received RST for {c} before it was established"),
    (("Tcp.AttemptFails",), "could not establish {c}"),
    (("Tcp.EstabResets",), "saw {c} reset"),
    (("Tcp.OutRsts",), "sent {n} with RST"),
    (("TcpExt.TCPSynRetrans", "Tcp.RetransSegs"), "retransmitted {n}: a SYN without an answer"),
    (("Tcp.RetransSegs",), "retransmitted {n}: not acknowledged in time"),
    (("TcpExt.TCPTimeouts",), "got no acknowledgement for {n}: a TCP timer expired"),
    (("Icmp6.OutTimeExcds", "Ip6.InHdrErrors"), "dropped {n} with IPv6: hop limit expired; answered with ICMPv6 3/0"),
    (("Icmp6.OutParmProblems", "Ip6.InHdrErrors"), "dropped {n} with IPv6: unknown option; answered with ICMPv6 4/2"),
    (
        ("Icmp6.OutParmProblems", "Ip6.InUnknownProtos"),
        "dropped {n} with IPv6: unknown next header; answered with ICMPv6 4/1",
    ),
    (
        ("Icmp6.OutDestUnreachs", "Ip6.InNoRoutes"),
        "dropped {n} with IPv6: no route to the destination; answered with ICMPv6 1/0",
    ),
    (
        ("Icmp6.OutDestUnreachs", "Udp6.NoPorts"),
        "dropped {n} with IPv6: no socket on the UDP port; answered with ICMPv6 1/4",
    ),
    (("Ip6.InTooBigErrors",), "dropped {n} with IPv6: larger than the next MTU; answered with packet too big"),
    (("Ip6.InHdrErrors",), "dropped {n} with IPv6: invalid header, or hop limit expired"),
    (("Ip6.InNoRoutes",), "dropped {n} with IPv6: no route to the destination"),
    (("Ip6.InAddrErrors",), "dropped {n} with IPv6: destination is not local and forwarding is off, or it is invalid"),
    (("Ip6.InUnknownProtos",), "dropped {n} with IPv6: unknown next header"),
    (("Ip6.InTruncatedPkts",), "dropped {n} with IPv6: shorter than its payload length"),
    (("Ip6.InDiscards",), "dropped {n} with IPv6 on receipt: no memory, or a firewall"),
    (("Ip6.OutNoRoutes",), "did not send {n} with IPv6: no route to the destination"),
    (("Ip6.OutDiscards",), "did not send {n} with IPv6: no memory, or a firewall"),
    (("Ip6.ReasmFails",), "could not reassemble {n} with IPv6"),
    (("Ip6.ReasmReqds",), "keeps {n} with IPv6 until the other fragments arrive"),
    (("Icmp6.InCsumErrors", "Icmp6.InErrors"), "dropped {n}: bad ICMPv6 checksum"),
    (("Icmp6.InErrors",), "dropped {n}: invalid ICMPv6 message"),
    (("Udp6.InCsumErrors", "Udp6.InErrors"), "dropped {n} with IPv6: bad UDP checksum"),
    (("Udp6.RcvbufErrors", "Udp6.InErrors"), "dropped {n} with IPv6: the UDP socket's receive buffer is full"),
    (("Udp6.InErrors",), "dropped {n} with IPv6: invalid UDP length or zero checksum, or the socket refused it"),
    (("Udp6.NoPorts",), "dropped {n} with IPv6: no socket on the UDP port"),
    (("Icmp6.OutRateLimitHost",), "sent no ICMPv6 answer to {n}: limit per host (net.ipv6.icmp.ratelimit) reached"),
    (("Icmp6.OutDestUnreachs",), "answered {n} with ICMPv6 destination unreachable"),
    (("Icmp6.OutPktTooBigs",), "answered {n} with ICMPv6 packet too big"),
    (("Icmp6.OutTimeExcds",), "answered {n} with ICMPv6 time exceeded"),
    (("Icmp6.OutParmProblems",), "answered {n} with ICMPv6 parameter problem"),
    (("Icmp6.OutRedirects",), "answered {n} with ICMPv6 redirect"),
    (("Icmp6.InDestUnreachs",), "received ICMPv6 destination unreachable for {n}"),
    (("Icmp6.InPktTooBigs",), "received ICMPv6 packet too big for {n}"),
    (("Icmp6.InTimeExcds",), "received ICMPv6 time exceeded for {n}"),
)  # fmt: skip

# The kernel counts each fragment that arrives. If no reassembly has succeeded or failed, the fragments still wait for
# others.
_WAITING = {"Ip.ReasmReqds": ("Ip.ReasmOKs", "Ip.ReasmFails"), "Ip6.ReasmReqds": ("Ip6.ReasmOKs", "Ip6.ReasmFails")}
# Reports leave out these counters because they repeat others.
_NOISE = ("IcmpMsg.", "Icmp6.InType", "Icmp6.OutType", "Ip.OutTransmits", "Ip6.OutTransmits")

REASONS: Mapping[str, str] = {
    "NOT_SPECIFIED": "no reason given",
    "NO_SOCKET": "no socket on the port",
    "SOCKET_FILTER": "rejected by the socket's filter",
    "SOCKET_RCVBUFF": "the socket's receive buffer is full",
    "SOCKET_BACKLOG": "the socket was busy and its backlog is full",
    "PKT_TOO_SMALL": "too short for its header",
    "PKT_TOO_BIG": "larger than the MTU",
    "TCP_CSUM": "bad TCP checksum",
    "UDP_CSUM": "bad UDP checksum",
    "ICMP_CSUM": "bad ICMP checksum",
    "SKB_CSUM": "bad checksum",
    "NETFILTER_DROP": "a firewall rule (netfilter)",
    "OTHERHOST": "the frame is addressed to another host",
    "IP_CSUM": "bad IP header checksum",
    "IP_INHDR": "invalid IP header, or TTL expired",
    "IP_RPFILTER": "rp_filter: no route to its source on that device",
    "IP_NOPROTO": "unknown protocol",
    "IP_LOCAL_SOURCE": "source is an address of this host",
    "IP_INVALID_SOURCE": "invalid source address",
    "IP_INVALID_DEST": "invalid destination address",
    "IP_LOCALNET": "an address of 127.0.0.0/8 on a device other than lo",
    "IP_INADDRERRORS": "destination is not a local address and forwarding is off",
    "IP_INNOROUTES": "no route to the destination",
    "IP_OUTNOROUTES": "no route to send it",
    "UNICAST_IN_L2_MULTICAST": "unicast IP address in a multicast frame",
    "PROTO_MEM": "no memory for the protocol",
    "TCP_FLAGS": "TCP flags that are invalid in this state",
    "TCP_ZEROWINDOW": "data beyond a TCP window of zero",
    "TCP_OLD_DATA": "TCP data that was already received",
    "TCP_OVERWINDOW": "TCP data beyond the window",
    "TCP_OLD_SEQUENCE": "a TCP sequence number before the window",
    "TCP_INVALID_SEQUENCE": "a TCP sequence number outside the window",
    "TCP_INVALID_END_SEQUENCE": "a TCP segment that ends outside the window",
    "TCP_INVALID_ACK_SEQUENCE": "a TCP acknowledgement outside the window",
    "TCP_ACK_UNSENT_DATA": "it acknowledges data that was never sent",
    "TCP_OLD_ACK": "an old TCP acknowledgement",
    "TCP_TOO_OLD_ACK": "a TCP acknowledgement that is far too old",
    "TCP_RESET": "the TCP connection was reset",
    "TCP_INVALID_SYN": "a SYN on an established connection",
    "TCP_CLOSE": "the TCP socket is closed",
    "TCP_ABORT_ON_DATA": "data for a closed TCP socket",
    "TCP_LISTEN_OVERFLOW": "the listening socket's queue is full",
    "TCP_RFC7323_PAWS": "a TCP timestamp older than the last (PAWS)",
    "TCP_RFC7323_PAWS_ACK": "an old ACK with an old timestamp (PAWS)",
    "TCP_RFC7323_TSECR": "its TCP timestamp echoes a value that was never sent",
    "TCP_MINTTL": "its TTL is below the socket's IP_MINTTL",
    "TCP_MD5NOTFOUND": "TCP MD5 signature required but missing",
    "TCP_MD5UNEXPECTED": "unexpected TCP MD5 signature",
    "TCP_MD5FAILURE": "bad TCP MD5 signature",
    "DUP_FRAG": "duplicate or overlapping fragment",
    "FRAG_REASM_TIMEOUT": "reassembly timed out",
    "FRAG_TOO_FAR": "a fragment too far from the others",
    "NEIGH_CREATEFAIL": "the neighbour table is full",
    "NEIGH_FAILED": "the neighbour did not answer (ARP)",
    "NEIGH_QUEUEFULL": "too many packets wait for the neighbour's answer (ARP)",
    "NEIGH_DEAD": "the neighbour entry was deleted",
    "IPV6DISABLED": "IPv6 is disabled",
    "QDISC_DROP": "dropped by the queueing discipline",
    "QDISC_OVERLIMIT": "the queueing discipline's queue is full",
    "TC_INGRESS": "a traffic control filter on ingress",
    "TC_EGRESS": "a traffic control filter on egress",
    "XDP": "an XDP program",
    "DEV_READY": "the device is down",
    "DEV_HDR": "the link header could not be built",
    "FULL_RING": "the device's queue is full: no program reads the TUN",
    "TAP_FILTER": "the TUN's filter",
    "TAP_TXFILTER": "the TUN's filter",
    "UNHANDLED_PROTO": "unknown protocol",
    "NOMEM": "no memory",
    "XFRM_POLICY": "an IPsec policy",
    "SECURITY_HOOK": "a security module",
    "BPF_CGROUP_EGRESS": "a BPF program of the control group",
}


def describe_counters(changes: Mapping[str, int]) -> tuple[list[str], dict[str, int]]:
    """Return a sentence for each event that the counters show, and the counters that belong to no known event."""
    left = {name: value for name, value in changes.items() if name not in SETTINGS}
    sentences = []
    for names, sentence in _EVENTS:
        if any(changes.get(each) for each in _WAITING.get(names[0], ())):
            continue
        count = min(left.get(name, 0) for name in names)
        if count > 0:
            text = sentence.format(n=_pluralize(count, "packet"), c=_pluralize(count, "TCP connection"))
            sentences.append(f"{text} ({', '.join(names)})")
            for name in names:
                left[name] -= count
    return sentences, {name: value for name, value in left.items() if value and not _is_noise(name)}


def describe_drop_reasons(reasons: Mapping[str, int]) -> list[str]:
    """Return a line of text for each drop reason, with its number of drops."""
    return [
        f"{REASONS.get(reason, reason)} ({reason}{f', {n} times' if n > 1 else ''})" for reason, n in reasons.items()
    ]


def _pluralize(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _is_noise(name: str) -> bool:
    return name.startswith(_NOISE) or name.endswith(("Octets", "NoECTPkts"))
