"""The kernel floor: namespaces, rtnetlink, TUN devices, packet sockets. Octets and ints, never packets."""
