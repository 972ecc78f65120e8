"""Benchmarks that compare tunlab with other tools in the same run: `python -m benchmarks`."""
