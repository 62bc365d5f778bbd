"""What the benchmarks in `scripts/` measure, and how they show it."""
