"""The backbone, and its two towers."""
