"""Every variant trained, evaluated under one protocol and kept; called again, it does what is missing."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calrec.ablation.variants import FULL, Variant, named, variants_of
from calrec.atomic import claimed, replace_text
from calrec.data.splits import Split
from calrec.data.store import Domain, load_domain
from calrec.errors import ConfigError, DataError
from calrec.evaluation import Result, evaluate, sample_users
from calrec.pipeline import CALRec, InferenceSettings
from calrec.pipeline.regrounded import Regrounded
from calrec.progress import duration
from calrec.training.config import TrainingPlan
from calrec.training.same_plan import require_same_plan
from calrec.training.stages import train
from calrec.training.untrained import save_untrained

logger = logging.getLogger(__name__)

#: In the folder of an ablation: the whole recipe, and what came of its variants.
RECIPE, STAGE_ONE, RUNS, RESULTS = "recipe.json", "stage-one", "runs", "results"


def ablate(
    plan: TrainingPlan,
    domain: Domain,
    out: Path,
    *,
    split: Split = "test",
    users: int | None = None,
    only: Sequence[str] = (),
    inference: InferenceSettings | None = None,
    tell: Callable[[str], None] = logger.info,
    use_cpu: bool = False,
) -> dict[Variant, Result]:
    """Train and evaluate the variants of a recipe, the full one first; what an earlier call finished is not done again.

    Variants whose Stage I is the same share it. A finished run keeps no checkpoints.

    Args:
        plan: the whole recipe.
        domain: that Stage II learns from, and whose users are evaluated.
        out: the ablation's folder: a run and a result for each variant.
        split: which targets are to be found.
        users: evaluate a sample of so many, the same for all variants; None takes all.
        only: names of variants to which this call keeps, beside the full one; none takes all that the recipe has.
        inference: how all of them rank: samples, as the paper does.
        tell: gets a line of news now and then.
        use_cpu: leave an accelerator alone.

    Raises:
        ConfigError: a recipe without Stage II or of another domain, an unknown variant, or another way to rank.
            Or ``out`` is in use, or holds an ablation of another recipe, or of other users or inference.
        DataError: ``out`` holds something else.
    """
    inference = inference or InferenceSettings()
    chosen = named(plan, inference.sampling.n, only)
    _require_ablatable(plan, domain, inference)
    sample_users(domain.split(split), users)
    asked = {"split": split, "users": users, "inference": inference.described()}
    work = _Ablation(plan, domain, out, split, users, inference, tell, use_cpu)
    results: dict[Variant, Result] = {}
    with claimed(out, asked, "ablation"):
        require_same_plan(plan, out / RECIPE)
        replace_text(out / RECIPE, plan.model_dump_json(indent=2))
        for number, (variant, its) in enumerate(chosen.items(), start=1):
            changes = ", ".join(variant.change(plan))
            tell(f"[{number} of {len(chosen)}] {variant.name}: {variant.says}" + (f" ({changes})" if changes else ""))
            results[variant] = work.told(variant, its, results)
    return results


def _require_ablatable(plan: TrainingPlan, domain: Domain, inference: InferenceSettings) -> None:
    if inference.method != "samples":
        raise ConfigError(f"method {inference.method}: an ablation ranks by the paper's way, samples")
    if plan.objective.next_item == "catalogue" and not inference.sampling.bound:
        raise ConfigError(
            "objective.next_item catalogue does not teach to write freely, and an ablation ranks by samples: "
            "add --set objective.next_item=free or --inference sampling.bound=true"
        )
    if plan.stage_two is None:
        raise ConfigError("the recipe has no stage_two, which an ablation trains: add --set stage_two.domain=DOMAIN")
    if load_domain(plan.stage_two.domain).split_hash != domain.split_hash:
        raise ConfigError(
            f"stage_two.domain {plan.stage_two.domain} is not the data of {domain.path}: let both be one domain"
        )


@dataclass(frozen=True)
class _Ablation:
    """What holds for all variants."""

    plan: TrainingPlan
    domain: Domain
    out: Path
    split: Split
    users: int | None
    inference: InferenceSettings
    tell: Callable[[str], None]
    use_cpu: bool

    def told(self, variant: Variant, plan: TrainingPlan, before: Mapping[Variant, Result]) -> Result:
        """A variant's result, with a line on it."""
        began = time.monotonic()
        result = self._regrounded(variant, before[FULL]) if variant.regrounds else self._evaluated(variant, plan)
        reached, seconds = result.summary.metrics.by_id, time.monotonic() - began
        told = f"recall@1 {reached['recall@1']:.4f}, ndcg@10 {reached['ndcg@10']:.4f}, {duration(seconds)}"
        self.tell(f"{variant.name}: {told}")
        return result

    def _evaluated(self, variant: Variant, plan: TrainingPlan) -> Result:
        """The result of a model of its own."""
        run = self._trained(variant, plan) if variant.trained else self._untrained(variant, plan)
        device = "cpu" if self.use_cpu else None
        inference = self.inference.model_copy(update={"method": "towers"}) if variant.towers else self.inference
        recommender = CALRec.from_pretrained(run, self.domain.catalogue, inference, device, self.domain)
        return self._result(variant, recommender, recommender.described)

    def _regrounded(self, variant: Variant, full: Result) -> Result:
        """The result of another use of what the full variant's model wrote."""
        settings, how = full.summary.settings, (variant.samples, variant.best_alone)
        recommender = Regrounded.of_result(full.rankings, settings, self.domain, *how)
        if recommender is None:
            raise DataError(f"{full.path} keeps none of the texts: remove it, and call the same command again")
        return self._result(variant, recommender, _described(variant, settings))

    def _result(self, variant: Variant, recommender: CALRec | Regrounded, settings: Mapping[str, Any]) -> Result:
        out = self.out / RESULTS / variant.name
        return evaluate(recommender, self.domain, self.split, out, users=self.users, settings=settings)

    def _untrained(self, variant: Variant, plan: TrainingPlan) -> Path:
        run = self.out / RUNS / variant.name
        save_untrained(plan, self.domain, run)
        return run

    def _trained(self, variant: Variant, plan: TrainingPlan) -> Path:
        begun = None if plan.stage_one is None else self._stage_one(plan)
        if begun is not None and plan.stage_two is None:
            return begun
        return self._train(plan, self.out / RUNS / variant.name, begun)

    def _stage_one(self, plan: TrainingPlan) -> Path:
        """The run of a recipe's Stage I alone, by the name of the first variant that has it."""
        alone = _stage_one_of(plan)
        variants = variants_of(self.plan, self.inference.sampling.n)
        owner = next(variant for variant, its in variants.items() if _stage_one_of(its) == alone)
        return self._train(alone, self.out / STAGE_ONE / owner.name)

    def _train(self, plan: TrainingPlan, run: Path, begun: Path | None = None) -> Path:
        train(plan, run, self.tell, self.use_cpu, begun)
        # Nothing goes on from them any more, and those of a dozen runs would fill a disk.
        for folder in (*run.glob("stage-*/checkpoint-*"), *run.glob("stage-*/cache")):
            shutil.rmtree(folder)
        return run


def _stage_one_of(plan: TrainingPlan) -> TrainingPlan:
    return plan.model_copy(update={"stage_two": None})


def _described(variant: Variant, full: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the full variant's result, with what the grounding was given."""
    inference = dict(full["inference"])
    if variant.samples is not None:
        inference["sampling"] = {**inference["sampling"], "n": variant.samples}
    if variant.best_alone:
        inference["grounded"] = "the most probable text alone"
    return {**full, "inference": inference}
