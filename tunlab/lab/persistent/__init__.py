"""Labs that outlive the process that made them, recorded below /run/tunlab."""
