"""Benchmarks, each run by hand: `python -m benchmarks.training_step`."""
