"""Fault tolerance: checkpoints, signals, distributed runs, non-finite steps, full memory."""
