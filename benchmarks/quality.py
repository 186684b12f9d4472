"""What each way to rank gives, and what it costs: the table to choose a method from.

    python benchmarks/quality.py --run RUN --data DIR [--users N] [--quick] [--json FILE]

A trained run ranks the same validation users with 1 to 64 samples, with beams of several widths, by its towers, by
likelihoods of candidates, and by the fusion that ``calrec tune`` left in the run's folder, if it did. Validation users
are used because this is for choosing. There is no peer, and so there are no claims: `generation.py` has those.
``--quick`` takes a tiny random model.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from calrec.data.store import Domain, load_domain
from calrec.errors import CalrecError
from calrec.evaluation import sample_users
from calrec.metrics import ranking_metrics, ranks_by_id, standard_errors
from calrec.model.backbones import BackboneSettings, RandomSettings, load_backbone
from calrec.pipeline import CALRec, InferenceSettings
from calrec.pipeline.methods import Scores
from calrec.pipeline.tuned import INFERENCE, load_inference
from calrec.protocol import exclude_last
from calrec.records import History
from calrec.training.config import TrainingPlan
from calrec.training.run_card import RunCard
from generation_cases.setup import counted
from harness import arguments, write_result
from training_cases.setup import synthetic_domain

_SAMPLES, _WIDTHS = (1, 2, 4, 8, 16, 32, 64), (4, 10, 32, 100)
_BATCH = 32
_SHOWN = ("recall@1", "recall@10", "ndcg@10", "mrr")


def main() -> int:
    parser = arguments(__doc__.partition("\n")[0])
    parser.add_argument("--run", type=Path, default=Path("run"), help="a trained run")
    parser.add_argument("--data", type=Path, default=Path("domain"), help="the domain that it was trained on")
    parser.add_argument("--users", type=int, default=200, help="of the validation split (default: 200)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of the model (default: %(default)s)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16", help="of the weights")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change inference for all rows")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    try:
        if options.quick:
            recommender, domain, options.users = *_tiny(), 8
        else:
            domain = load_domain(options.data)
            settings = load_inference(options.run, [f"dtype={options.dtype}", *options.set])
            # As the one that asks for most, so that every baseline it needs is at hand.
            fused = settings.model_copy(update={"method": "fused"})
            recommender = CALRec.for_domain(options.run, domain, fused, options.device)
        tuned = options.quick or (options.run / INFERENCE).exists()
        rows = {}
        for name, settings in _ways(recommender.settings, tuned, options.quick):
            rows[name] = _measured(recommender, settings, domain, options.users)
            print(name, *(f"{key} {value:.4g}" for key, value in rows[name].items()), sep="  ", flush=True)
    except CalrecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    write_result(options.json, [], quality=rows, users=options.users, domain=domain.name)
    return 0


def _ways(settings: InferenceSettings, tuned: bool, quick: bool) -> Iterator[tuple[str, InferenceSettings]]:
    def way(method: str, **changes: Any) -> InferenceSettings:
        return settings.model_copy(update={"method": method, **changes})

    for n in _SAMPLES[:2] if quick else _SAMPLES:
        yield f"{n} samples", way("samples", sampling=settings.sampling.model_copy(update={"n": n}))
    for width in _WIDTHS[:2] if quick else _WIDTHS:
        yield f"beam {width}", way("beam", beam=settings.beam.model_copy(update={"width": width}))
    yield "towers", way("towers")
    yield "likelihood", way("likelihood")
    if tuned:
        yield "fused", way("fused")


def _measured(recommender: CALRec, settings: InferenceSettings, domain: Domain, users: int) -> dict[str, float]:
    """Metrics with their errors, and seconds, passes and tokens a user; what is made once for all users not counted."""
    examples = sample_users(domain.split("valid"), users)
    histories = [History(example.user_id, example.history) for example in examples]
    targets = np.array([domain.catalogue.positions.get(example.target, -1) for example in examples])

    def scored(some: Sequence[History]) -> Scores:
        request = replace(recommender.request(some), settings=settings)
        return request.scored(settings.method).scores

    scored(histories[:1])
    begin = time.perf_counter()
    with counted(recommender.lm) as work:
        parts = [scored(histories[start : start + _BATCH]) for start in range(0, users, _BATCH)]
    seconds = (time.perf_counter() - begin) / users
    scores = np.concatenate(parts)
    if recommender.card.exclude_last:
        exclude_last(scores, domain.catalogue, histories)
    ranks = ranks_by_id(scores, targets)
    errors = standard_errors(ranks)
    metrics = {name: value for name, value in ranking_metrics(ranks).items() if name in _SHOWN}
    return {
        **metrics,
        **{f"{name} error": errors[name] for name in _SHOWN},
        "seconds": seconds,
        **work.per_user(users),
    }


def _tiny() -> tuple[CALRec, Domain]:
    """A run that has learnt nothing over a made-up domain."""
    shape = RandomSettings(hidden_size=16, layers=2, heads=2)
    backbone = load_backbone(BackboneSettings(backbone="bytes", init="random", random=shape))
    domain = synthetic_domain(users=30, words=2)
    plan = TrainingPlan.model_validate({"stage_two": {"domain": str(domain.path)}, "lengths": {"max_history": 2}})
    card = RunCard(
        version="0",
        stage="stage-two",
        plan=plan,
        domains={},
        exclude_last=True,
        backbone=backbone.source,
        fingerprint=backbone.fingerprint,
        best={},
        tokens={},
    )
    settings = InferenceSettings.model_validate({"sampling": {"max_new_tokens": 6}})
    return CALRec(backbone.lm, backbone.tokenizer, card, domain.catalogue, settings), domain


if __name__ == "__main__":
    sys.exit(main())
