"""The kernel layer: namespaces, netlink, TUN devices, packet sockets. It handles bytes and numbers, never packets."""
