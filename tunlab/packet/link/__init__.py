"""Headers of the link layer: Ethernet, VLAN tags, LLC and SNAP, and ARP."""
