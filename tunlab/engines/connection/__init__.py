"""Find a Docker Engine and connect to it."""
