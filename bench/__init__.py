"""The benchmark suite: ratios taken in one run on one machine."""
