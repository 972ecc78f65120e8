"""Benchmarks of tunlab against other tools, as ratios measured in one run: `python -m benchmarks`."""
