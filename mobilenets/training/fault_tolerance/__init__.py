"""What keeps a run alive: checkpoints, signals, several processes, bad losses, full machines."""
