"""Benchmarks: ratios against something run side by side, never seconds to be met. `make bench`."""
