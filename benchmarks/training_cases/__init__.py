"""What ``benchmarks/training.py`` compares: one module a claim, and what they share."""
