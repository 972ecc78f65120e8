"""Creation, streams, labels and removal of containers."""
