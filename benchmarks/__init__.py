"""tunlab beside its peers, in one run, as ratios: `python -m benchmarks`. README.md says what each one measures."""
