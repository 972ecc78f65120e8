"""Labs that outlive the process that created them; each has a record below /run/tunlab."""
