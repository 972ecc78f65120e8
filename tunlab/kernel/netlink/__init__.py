"""The netlink protocol: sockets, messages and attributes, as bytes."""
