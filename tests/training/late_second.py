"""A script: `calrec` whose second process is late to list the checkpoints at the end of training, and wants its folder.

Transformers lists them on every process (``Trainer._finalize_training``); the first must not have cleared them away.
"""

import os
import time
from pathlib import Path

import transformers.trainer

from calrec.cli.main import run

_list = transformers.trainer.sort_checkpoints


def list_late(output_dir, *args, **kwargs):
    if os.environ["RANK"] == "1":
        time.sleep(0.5)
        if not Path(output_dir).is_dir():
            raise FileNotFoundError(output_dir)
    return _list(output_dir, *args, **kwargs)


if __name__ == "__main__":
    transformers.trainer.sort_checkpoints = list_late
    run()
