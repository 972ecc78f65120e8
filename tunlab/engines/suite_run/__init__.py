"""`tunlab test`: run a test suite in one container."""
