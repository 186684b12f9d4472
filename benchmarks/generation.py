"""Samples, beams and their memory against the way such systems are usually written, on a trained run.

    python benchmarks/generation.py --run RUN --data DIR [--quick] [--json FILE] [--only NAME]

The peer is transformers' ``generate(num_return_sequences=32)`` one user after the other, as in the library's examples,
and ``rank_bm25`` over the catalogue for every distinct sample. Both sides have the same weights, validation users,
samples and temperature. ``--quick`` proves in under a minute, without network, that everything runs; only the full
run's numbers mean anything. ``--device cuda`` runs both sides there, with the same questions and the same users.
"""

from __future__ import annotations

import logging
import sys
import time
import warnings
from importlib.util import find_spec
from pathlib import Path

import torch
import transformers

from calrec.errors import CalrecError
from harness import arguments, write_result


def main() -> int:
    parser = arguments(__doc__.partition("\n")[0])
    names = ("speed", "memory", "equality", "growth")
    parser.add_argument("--run", type=Path, default=Path("run"), help="a trained run")
    parser.add_argument("--data", type=Path, default=Path("domain"), help="the domain that it was trained on")
    parser.add_argument(
        "--users", type=int, default=8, help="of a round, ours in one batch (default: %(default)s; the peer takes long)"
    )
    parser.add_argument("--peer-users", type=int, help="of them, the first, whom the peer takes in a round (all)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of both sides (default: %(default)s)")
    parser.add_argument("--memory-gb", type=float, default=2.0, help="that ours may take (default: %(default)s)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the weights")
    parser.add_argument(
        "--way", action="append", default=[], help="that races the peer, such as tree; several times (all)"
    )
    parser.add_argument("--only", choices=names, metavar="NAME", help=f"one of {', '.join(names)}")
    options = parser.parse_args()
    if options.peer_users is not None and not 1 <= options.peer_users <= options.users:
        parser.error(f"--peer-users {options.peer_users}: from 1 to --users {options.users}")
    if find_spec("rank_bm25") is None:
        print("error: the peer needs rank_bm25: pip install 'calrec[bench]'", file=sys.stderr)
        return 2
    from generation_cases.equality import equality
    from generation_cases.growth import growth
    from generation_cases.memory import peak_memory
    from generation_cases.setup import Case
    from generation_cases.speed import speed

    cases = dict(zip(names, (speed, peak_memory, equality, growth), strict=True))
    torch.set_num_threads(options.threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("calrec").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="torch|transformers")
    case = Case(
        options.quick,
        options.run,
        options.data,
        options.threads,
        options.users,
        options.dtype,
        options.device,
        options.memory_gb,
        tuple(options.way),
        options.peer_users,
    )
    claims, details = [], {}
    try:
        for name in [options.only] if options.only else names:
            print(f"{name}:", flush=True)
            begin = time.perf_counter()
            of_case, details[name] = cases[name](case)
            claims += of_case
            for claim in of_case:
                print(f"  {claim.line()}")
            print(f"  took {time.perf_counter() - begin:.0f} s", flush=True)
    except CalrecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    model = "a tiny random model" if options.quick else f"{options.run.name} over {options.data.name}, {options.dtype}"
    write_result(options.json, claims, model=model, growth=details.pop("growth", {}), details=details)
    return 0


if __name__ == "__main__":
    sys.exit(main())
