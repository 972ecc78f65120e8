"""The user's project: its root, its settings and the files to copy to containers."""
