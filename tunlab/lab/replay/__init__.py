"""Replaying a recording of a TUN to a kernel, and comparing the replies."""
