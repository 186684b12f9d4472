"""What a recipe takes, said before anything runs: counts, operations, memory, and a probe of this device."""
