"""Labs that stay when the process that created them ends. Each has a record below /run/tunlab."""
