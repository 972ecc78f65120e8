"""tunlab: test network code against a real kernel, over a TUN device in a network namespace of its own."""
