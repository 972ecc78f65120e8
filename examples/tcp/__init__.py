"""A TCP in user space without I/O: `Stack` takes datagrams and the time, and returns datagrams."""
