"""Network namespaces and the programs in them: creation, sysctls, mounts, user namespaces, cleanup."""
