"""The types and codes of ICMPv6 messages ("ICMPv6 Parameters" of IANA)."""

from __future__ import annotations

from enum import IntEnum


class ICMPv6Type(IntEnum):
    """Message types ("ICMPv6 Parameters" of IANA)."""

    DESTINATION_UNREACHABLE = 1
    PACKET_TOO_BIG = 2
    TIME_EXCEEDED = 3
    PARAMETER_PROBLEM = 4
    ECHO_REQUEST = 128
    ECHO_REPLY = 129
    MULTICAST_LISTENER_QUERY = 130
    MULTICAST_LISTENER_REPORT = 131
    MULTICAST_LISTENER_DONE = 132
    ROUTER_SOLICITATION = 133
    ROUTER_ADVERTISEMENT = 134
    NEIGHBOR_SOLICITATION = 135
    NEIGHBOR_ADVERTISEMENT = 136
    REDIRECT = 137
    ROUTER_RENUMBERING = 138
    NODE_INFORMATION_QUERY = 139
    NODE_INFORMATION_RESPONSE = 140
    INVERSE_NEIGHBOR_DISCOVERY_SOLICITATION = 141
    INVERSE_NEIGHBOR_DISCOVERY_ADVERTISEMENT = 142
    VERSION_2_MULTICAST_LISTENER_REPORT = 143
    HOME_AGENT_ADDRESS_DISCOVERY_REQUEST = 144
    HOME_AGENT_ADDRESS_DISCOVERY_REPLY = 145
    MOBILE_PREFIX_SOLICITATION = 146
    MOBILE_PREFIX_ADVERTISEMENT = 147
    CERTIFICATION_PATH_SOLICITATION = 148
    CERTIFICATION_PATH_ADVERTISEMENT = 149
    MULTICAST_ROUTER_ADVERTISEMENT = 151
    MULTICAST_ROUTER_SOLICITATION = 152
    MULTICAST_ROUTER_TERMINATION = 153
    RPL_CONTROL = 155
    DUPLICATE_ADDRESS_REQUEST = 157
    DUPLICATE_ADDRESS_CONFIRMATION = 158
    EXTENDED_ECHO_REQUEST = 160
    EXTENDED_ECHO_REPLY = 161


CODES: dict[tuple[int, int], str] = {
    (1, 0): "no route to destination",
    (1, 1): "communication administratively prohibited",
    (1, 2): "beyond scope of source address",
    (1, 3): "address unreachable",
    (1, 4): "port unreachable",
    (1, 5): "source address failed ingress/egress policy",
    (1, 6): "reject route to destination",
    (1, 7): "error in source routing header",  # RFC 6554
    (3, 0): "hop limit exceeded in transit",
    (3, 1): "fragment reassembly time exceeded",
    (4, 0): "erroneous header field",
    (4, 1): "unrecognized next header type",
    (4, 2): "unrecognized IPv6 option",
    (4, 3): "first fragment has incomplete IPv6 header chain",  # RFC 7112
}
