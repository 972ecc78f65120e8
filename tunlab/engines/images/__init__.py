"""Build and pull the images that suites run in."""
