"""``python -m calrec``."""

from calrec.cli.main import run

run()
