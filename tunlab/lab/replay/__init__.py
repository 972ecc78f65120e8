"""Replay the packets recorded on a TUN to a kernel, and compare the kernel's replies with the recorded ones."""
