"""What training is told: the model's adaptation, the stages and their data."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from calrec.losses import ObjectiveSettings
from calrec.model.backbones import BackboneSettings
from calrec.settings import Settings
from calrec.text.encode import LengthSettings
from calrec.text.item_text import TextSettings


class LoraSettings(Settings):
    """Low-rank adapters by peft, merged into the weights at the end of a stage.

    Attributes:
        rank, alpha, dropout, target_modules: as in peft; the adapters' product is scaled by alpha / rank.
        quantize: ``nf4`` keeps the layers' frozen weights in four bits while adapters are trained (QLoRA); these are
            then merged into the weights as they were, so a run keeps its precision.
    """

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    quantize: Literal["nf4"] | None = None


class ModelSettings(BackboneSettings):
    """The backbone and how much of it is trained.

    Attributes:
        train_layers: train only the top N layers and the final norm; the lower ones run without gradients, and nothing
            is left out. None trains everything, as the paper does [B].
        lora: train low-rank adapters instead.
        gradient_checkpointing: compute states again on the way back instead of keeping them.
        compute: what matrix products are taken in, the weights being float32: ``bfloat16`` is torch's autocast, the
            losses stay float32. ``auto`` is bfloat16 on an accelerator and float32 on a CPU, of which only some are
            quicker in bfloat16 (those with AVX512-BF16 or AMX are, about twice).
    """

    train_layers: int | None = Field(default=None, ge=1)
    lora: LoraSettings | None = None
    gradient_checkpointing: bool = False
    compute: Literal["auto", "float32", "bfloat16"] = "auto"

    @model_validator(mode="after")
    def _one_way_to_train_less(self) -> ModelSettings:
        if self.lora is not None and self.train_layers is not None:
            raise ValueError("train_layers and lora exclude each other: choose one")
        return self

    @model_validator(mode="after")
    def _compute_fits_the_weights(self) -> ModelSettings:
        if self.dtype != "float32" and self.compute not in ("auto", self.dtype):
            raise ValueError(f"compute {self.compute} needs weights of dtype float32, not {self.dtype}")
        return self

    def autocast(self, accelerator: bool) -> bool:
        """Whether matrix products are taken in bfloat16 over float32 weights."""
        return self.dtype == "float32" and (self.compute == "bfloat16" or (self.compute == "auto" and accelerator))

    def products(self, accelerator: bool) -> str:
        """The dtype that matrix products are taken in."""
        return "bfloat16" if self.autocast(accelerator) else self.dtype

    @property
    def in_float32(self) -> str:
        """What to set for products in float32 on a CPU."""
        narrow = {"model.compute": self.compute == "bfloat16", "model.dtype": self.dtype != "float32"}
        return "set " + " and ".join(f"{name}=float32" for name, is_narrow in narrow.items() if is_narrow)


class SamplingRule(Settings):
    """How often each domain of a mixture is drawn. All of it is our choice [C].

    ``size``: each sequence once an epoch. ``uniform``: every domain as often. ``temperature``: in proportion to
    size^(1/temperature), between the two.
    """

    rule: Literal["size", "uniform", "temperature"] = "size"
    temperature: float = Field(default=2.0, ge=1)


class StageSettings(Settings):
    """One stage of training: what both stages have in common.

    Attributes:
        targets: ``last``, the paper's: a user's last training item, after all before it. ``all``: every item after the
            first, in the same causal pass.
        epochs: passes over the data.
        token_budget: end after so many tokens of sequences, if that is sooner.
        tokens_per_batch: the most tokens, padding included, of one forward pass; more need less time a token and more
            memory.
        accumulation: forward passes an update, over all processes: the same recipe makes the same updates on any number
            of them that divides it.
        negatives: where the contrastive terms take their negatives from. ``update``: all passes of the update, on all
            processes; with several passes a process, each is computed once more for it, without the vocabulary.
            ``pass``: the one forward pass.
        learning_rate, warmup, schedule, weight_decay, max_grad_norm: as in transformers; warmup is a share.
        validations: how often, evenly spread, the validation loss is measured; the best of these is kept.
        validation_users: users whose loss is measured, drawn once.
        patience: stop after so many validations without a better one; 0 never stops early.
        checkpoint_minutes: a checkpoint at least so often, beside those of the validations, in case training is killed.
        save_total_limit: checkpoints to keep; the last one and the best one always are.
        cache_gb: with train_layers: disk for the frozen trunk's states, which are then computed once; 0 does without.
        catalogue_texts: with objective.item_weight: so many more texts of the catalogue are learnt with every forward
            pass, all of them in turn, bought or not; beyond the paper.
        seed: of the order of the data and of all other chance.
        trackers: that get the curves, by transformers' names, such as ``tensorboard``.
    """

    targets: Literal["last", "all"] = "last"
    epochs: float = Field(default=3, gt=0)
    token_budget: int | None = Field(default=None, ge=1)
    tokens_per_batch: int = Field(default=8192, ge=64)
    accumulation: int = Field(default=1, ge=1)
    negatives: Literal["update", "pass"] = "update"
    learning_rate: float = Field(default=1e-4, gt=0)
    warmup: float = Field(default=0.05, ge=0, lt=1)
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "cosine"
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    validations: int = Field(default=5, ge=1)
    validation_users: int = Field(default=500, ge=1)
    patience: int = Field(default=0, ge=0)
    checkpoint_minutes: float = Field(default=15, gt=0)
    save_total_limit: int = Field(default=2, ge=1)
    cache_gb: float = Field(default=0.0, ge=0)
    catalogue_texts: int = Field(default=0, ge=0)
    seed: int = Field(default=0, ge=0)
    trackers: tuple[str, ...] = ()


class StageOne(StageSettings):
    """Stage I: a mixture of several domains."""

    domains: tuple[str, ...] = Field(min_length=1)
    sampling: SamplingRule = SamplingRule()


class StageTwo(StageSettings):
    """Stage II: the one target domain."""

    domain: str = Field(min_length=1)

    @property
    def domains(self) -> tuple[str, ...]:
        return (self.domain,)

    @property
    def sampling(self) -> SamplingRule:
        return SamplingRule()


class TrainingPlan(Settings):
    """All that decides the weights of a run."""

    text: TextSettings = TextSettings()
    lengths: LengthSettings = LengthSettings()
    model: ModelSettings = ModelSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    stage_one: StageOne | None = None
    stage_two: StageTwo | None = None

    @model_validator(mode="after")
    def _something_to_do(self) -> TrainingPlan:
        if self.stage_one is None and self.stage_two is None:
            raise ValueError("a recipe needs stage_one, stage_two or both")
        return self

    @model_validator(mode="after")
    def _catalogue_texts_are_learnt(self) -> TrainingPlan:
        if not self.objective.item_weight and any(stage.catalogue_texts for stage in self.stages.values()):
            raise ValueError("catalogue_texts needs an objective.item_weight above 0")
        return self

    @property
    def stages(self) -> dict[str, StageOne | StageTwo]:
        """The stages that are switched on, in order, by the name of their folder."""
        stages = {"stage-one": self.stage_one, "stage-two": self.stage_two}
        return {name: stage for name, stage in stages.items() if stage is not None}

    @property
    def deciding(self) -> dict[str, Any]:
        """The plan without what may be changed on the way, since the weights do not depend on it."""
        free = {"save_total_limit", "checkpoint_minutes", "trackers"}
        return self.model_dump(exclude={"stage_one": free, "stage_two": free})
