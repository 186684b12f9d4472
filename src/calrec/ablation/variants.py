"""The rows of an ablation: each one named change of a recipe, or another use of what the whole recipe's model wrote."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from calrec.errors import ConfigError
from calrec.settings import read_settings
from calrec.training.config import TrainingPlan

Change = Callable[[TrainingPlan], Sequence[str]]

# So many texts a forward pass, where a recipe that learns the items' own texts has not said how many (our choice).
_CATALOGUE_TEXTS = 16


@dataclass(frozen=True)
class Variant:
    """One row.

    Attributes:
        name: of its folders, and what `--only` takes.
        says: what it is called in print.
        change: what it changes of a recipe, as ``KEY=VALUE`` texts.
        trained: whether it is; without, the backbone stays as it is.
        samples: how many of the whole recipe's samples are grounded; None leaves them all.
        best_alone: ground the most probable of its texts and no other.
        towers: rank by the towers' vectors, for a model that has not learnt to write.
    """

    name: str
    says: str
    change: Change = lambda plan: ()
    trained: bool = True
    samples: int | None = None
    best_alone: bool = False
    towers: bool = False

    @property
    def regrounds(self) -> bool:
        """Whether it needs neither training nor generation: what the whole recipe's model wrote is all it looks at."""
        return self.samples is not None or self.best_alone

    def changed(self, plan: TrainingPlan) -> TrainingPlan:
        """The recipe with the change.

        Raises:
            ConfigError: nothing would be left to train.
        """
        return read_settings(TrainingPlan, plan.model_dump(mode="json"), self.change(plan), self.name)


def _set(*overrides: str) -> Change:
    return lambda plan: overrides


def _title_alone(plan: TrainingPlan) -> Sequence[str]:
    titles = [attribute.model_dump() for attribute in plan.text.attributes if attribute.name == "title"]
    return [f"text.attributes={json.dumps(titles)}"] if titles else []


def _without_item_texts(plan: TrainingPlan) -> Sequence[str]:
    stages = [name.replace("-", "_") for name in plan.stages]
    return ["objective.item_weight=0", *(f"{stage}.catalogue_texts=0" for stage in stages)]


def _encoders(plan: TrainingPlan) -> Sequence[str]:
    loss = ("objective.next_item=none", "objective.alpha=0", "objective.beta=1", "objective.temperature=0.05")
    return [*loss, *_without_item_texts(plan)]


def _with_catalogue_texts(plan: TrainingPlan) -> Sequence[str]:
    learnt = plan.objective.item_weight and plan.stage_two and not plan.stage_two.catalogue_texts
    return [f"stage_two.catalogue_texts={_CATALOGUE_TEXTS}"] if learnt else []


_NO_PREFIXES = _set("text.user_prefix=''", "text.first_item_prefix=''", "text.next_item_prefix=''")

FULL = Variant("full", "CALRec")
#: The paper takes away its stages and its contrastive losses [A]; the other rows are ours.
VARIANTS = (
    FULL,
    Variant("without-stage-one", "without Stage I", _set("stage_one=null")),
    Variant("without-stage-two", "without Stage II", _set("stage_two=null")),
    Variant("without-l-tt", "without L_TT", _set("objective.alpha=0")),
    Variant("without-l-ut", "without L_UT", _set("objective.beta=0")),
    Variant("nig-alone", "L_NIG, neither contrastive loss", _set("objective.alpha=0", "objective.beta=0")),
    Variant("without-prefixes", "without prefixes", _NO_PREFIXES),
    Variant("title-alone", "title alone, no other attribute", _title_alone),
    Variant("without-item-texts", "without the items' own texts", _without_item_texts),
    Variant("catalogue-texts", "with texts of the whole catalogue", _with_catalogue_texts),
    # As Recformer has it (Li et al., 2023): one encoder for the history's text and the item's, 0.05 in the softmax.
    Variant("encoders", "L_UT alone, ranked by the towers (Recformer's way)", _encoders, towers=True),
    Variant("without-fine-tuning", "the backbone without fine-tuning", trained=False),
    *(Variant(f"samples-{n}", f"{n} sample{'s' * (n > 1)}", samples=n) for n in (1, 2, 4, 8, 16)),
    Variant("best-alone", "the best prediction alone, no round-robin", best_alone=True),
)


def variants_of(plan: TrainingPlan, samples: int) -> dict[Variant, TrainingPlan]:
    """The variants that a recipe has, each with its own recipe, in their order.

    Left out is what changes nothing, what comes to the same as one before it, and what would leave nothing to train.

    Args:
        plan: the whole recipe.
        samples: that the whole recipe draws for a user.
    """
    found: dict[Variant, TrainingPlan] = {}
    trained: list[TrainingPlan] = []
    for variant in VARIANTS:
        if variant.regrounds or not variant.trained:
            if (variant.samples or 0) < samples:
                found[variant] = plan
            continue
        try:
            changed = variant.changed(plan)
        except ConfigError:
            continue
        if changed not in trained:
            found[variant] = changed
            trained.append(changed)
    return found


def named(plan: TrainingPlan, samples: int, only: Sequence[str]) -> dict[Variant, TrainingPlan]:
    """Those of a recipe's variants that are asked for by name, the full one, which all are held against, first.

    Args:
        only: names; none asks for all.

    Raises:
        ConfigError: an unknown name, the near one is suggested; or one that changes nothing in this recipe.
    """
    there = variants_of(plan, samples)
    here, known = {variant.name for variant in there}, [variant.name for variant in VARIANTS]
    for name in only:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            mend = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise ConfigError(f"--only {name}: {mend}")
        if name not in here:
            raise ConfigError(
                f"--only {name}: this recipe has no such variant, as it would change nothing, equal another or leave "
                f"nothing to train; it has {', '.join(sorted(here, key=known.index))}"
            )
    return {variant: its for variant, its in there.items() if not only or variant.name in {FULL.name, *only}}
