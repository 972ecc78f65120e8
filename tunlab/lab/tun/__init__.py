"""Reading from and injecting into the TUN of a lab, whichever process is attached to it."""
