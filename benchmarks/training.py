"""Training against its peers, each claim's two sides measured in turns on the same model and the same examples.

    python benchmarks/training.py [--quick] [--json FILE] [--data DIR] [--only NAME]

``--quick`` proves in under a minute, without network, that everything runs; only the full run's numbers mean anything.
All of it runs on the CPU.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from calrec.errors import CalrecError
from harness import Claim, arguments, write_result
from training_cases import setup
from training_cases.cache import cached_trunk
from training_cases.examples import examples_a_second, peak_memory
from training_cases.growth import growth
from training_cases.products import share_of_products
from training_cases.sft import against_trl

CASES = {
    "examples": examples_a_second,
    "memory": peak_memory,
    "sft": against_trl,
    "cache": cached_trunk,
    "products": share_of_products,
    "growth": growth,
}


def main() -> int:
    parser = arguments(__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("domains/Video_Games"), help="a prepared domain")
    parser.add_argument("--only", choices=CASES, metavar="NAME", help=f"one of {', '.join(CASES)}")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    _quiet()
    names = [options.only] if options.only else list(CASES)
    with tempfile.TemporaryDirectory() as work:
        case = setup.Case(options.quick, options.data, options.threads, Path(work))
        try:
            claims, details = measured(names, case)
        except (CalrecError, setup.MeasurementError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    write_result(options.json, claims, growth=details.pop("growth", {}), details=details)
    return 0


def measured(names: Sequence[str], case: setup.Case) -> tuple[list[Claim], dict[str, Any]]:
    """All claims, and by the case's name what stands behind them."""
    claims: list[Claim] = []
    details = {}
    for name in names:
        print(f"{name}:", flush=True)
        begin = time.perf_counter()
        of_case, details[name] = CASES[name](case)
        claims += of_case
        for claim in of_case:
            print(f"  {claim.line()}")
        print(f"  took {time.perf_counter() - begin:.0f} s", flush=True)
    return claims, details


def _quiet() -> None:
    """Leave the terminal to the results."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("calrec").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="torch|transformers|trl")


if __name__ == "__main__":
    sys.exit(main())
