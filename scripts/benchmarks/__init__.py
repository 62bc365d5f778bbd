"""What `scripts/benchmark_training.py` compares: the systems, their data, their measurement."""
