"""Create, attach to, label and remove containers."""
