"""What `scripts/benchmark_training.py` compares: the contenders, their data, their measurement."""
