"""pytest-xdist workers in containers, for `--tunlab-workers`."""
