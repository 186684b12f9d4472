"""Items and histories as text, and that text as tokens."""
