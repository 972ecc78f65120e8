"""The headers that IP carries and that carry no further header: TCP, UDP, ICMP, IGMP."""
