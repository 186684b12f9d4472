"""A script: trains by `calrec train` in children that it kills with SIGKILL, again and again until one ends by itself.

It is a process of its own, which imports everything once and runs nothing, so that its children can be forked; each is
as good as a fresh process, without the seconds that imports take. What it did is written to standard output as JSON.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import calrec.recipe
import calrec.training.stages  # noqa: F401
from calrec.cli.main import main


def start(recipe, run, log):
    pid = os.fork()
    if pid == 0:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os._exit(main(["train", str(recipe), "--out", str(run), "--cpu"]))
    return pid


def code_of(pid, flags=0):
    """The exit code of a child, None while it runs."""
    ended, status = os.waitpid(pid, flags)
    return os.waitstatus_to_exitcode(status) if ended else None


def seen(run, moment):
    """The signs by which a moment is known; a new one means that it has come."""
    patterns = {
        "writing": ["*/.unfinished/checkpoint-*"],
        "written": ["*/checkpoint-*"],
        "removing": ["*/.unfinished/old-*"],
        "saving": [".saving-*", "*/model/.saving-*"],
        "start": [],
    }
    return {path for pattern in patterns[moment] for path in run.glob(pattern)}


def kill_at(pid, run, moment, rng):
    """Kill a child soon after a moment has come; what it has left by then, or None where it ended before."""
    before, began = seen(run, moment), time.monotonic()
    times = 0 if moment == "start" else 1 if moment == "saving" else rng.randint(1, 3)
    wait = {"start": 1.0, "written": 0.1}.get(moment, 0.03) * rng.random()
    signs = set()
    while len(signs) < times:
        signs |= seen(run, moment) - before
        if (code := code_of(pid, os.WNOHANG)) is not None:
            return None if code == 0 else sys.exit(f"a child ended with {code} before {moment}")
        time.sleep(0.0005)
    time.sleep(wait)
    os.kill(pid, signal.SIGKILL)
    if code_of(pid) == 0:
        return None
    left = [str(path.relative_to(run)) for path in sorted(run.glob("**/.[us]*/*"))]
    whole = sorted(int(path.name[11:]) for path in run.glob("*/checkpoint-*"))
    return {"moment": moment, "seconds": round(time.monotonic() - began, 3), "checkpoints": whole, "unfinished": left}


def train_under_fire(recipe, run, log, seed):
    rng = random.Random(seed)
    moments = ["writing"] * 5 + ["written"] * 3 + ["removing"] * 2 + ["start"] * 2
    rng.shuffle(moments)
    kills = []
    for moment in [*moments[:4], "saving", *moments[4:], "saving"]:  # of the first stage's model, and of the last's
        killed = kill_at(start(recipe, run, log), run, moment, rng)
        if killed is None:
            return kills
        kills.append(killed)
    if code_of(start(recipe, run, log)) != 0:
        sys.exit("the last child failed")
    return kills


if __name__ == "__main__":
    recipe, unbroken, run, log, seed = sys.argv[1:]
    began = time.monotonic()
    if code_of(start(recipe, unbroken, log)) != 0:
        sys.exit("the unbroken run failed")
    seconds = time.monotonic() - began
    kills = train_under_fire(recipe, Path(run), log, int(seed))
    print(json.dumps({"unbroken": seconds, "seconds": time.monotonic() - began, "kills": kills}))
