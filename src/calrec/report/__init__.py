"""What people read of a run: its card on a model hub."""
