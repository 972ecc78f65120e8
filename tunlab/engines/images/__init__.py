"""Images that suites run in: build and pull."""
