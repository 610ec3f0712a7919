"""The benchmark suite: measurements and ratios, taken together on one machine."""
