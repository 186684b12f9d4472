"""The cases of the benchmark of generation: one file a claim or a table."""
