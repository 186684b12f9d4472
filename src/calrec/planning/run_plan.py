"""What a recipe will take, said before it runs: counted exactly, costed by arithmetic, timed by a few real passes."""

from __future__ import annotations

import gc
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psutil
import torch

from calrec.data.store import Domain, load_domain
from calrec.model.backbones import backbone_or_shape
from calrec.model.precision import SLOW, slowdown, told
from calrec.planning.stage_plan import StagePlan, StagePlanner
from calrec.text.item_text import ItemText
from calrec.training.adapt import merge_adapters, require_adapters
from calrec.training.config import TrainingPlan
from calrec.training.stages import stage_data
from calrec.training.trackers import require_trackers

#: Seconds that the probes of all stages may take: the last pass of one may end a little later.
PROBE_S = 30.0


@dataclass(frozen=True)
class RunPlan:
    """A recipe's stages, and what they come to on this device.

    Attributes:
        backbone: where its weights come from, or that only its shape was had.
        device: that training would run on here.
        preparation_s: loading and encoding, as it took here just now.
        seconds: of the whole run on this device, the start of Python left out; None without a probe.
        peak_gb: the highest of the stages. disk_gb: of all of them, and the finished models.
        probe_s: that all probes took.
        advice: what to change.
    """

    backbone: str
    device: str
    stages: tuple[StagePlan, ...]
    preparation_s: float
    seconds: float | None
    peak_gb: float | None
    disk_gb: float
    probe_s: float
    advice: tuple[str, ...]


def plan_run(
    plan: TrainingPlan, use_cpu: bool = False, probing: bool = True, tell: Callable[[str], None] = lambda _: None
) -> RunPlan:
    """Plan every stage; nothing is written but to temporary files.

    Args:
        plan: what would be trained.
        use_cpu: leave an accelerator alone.
        probing: run a few passes on this device.
        tell: gets a line of news now and then.

    Raises:
        ConfigError, DataError, ModelError: as training would.
    """
    require_trackers(plan)
    require_adapters(plan.model)
    begun, load = time.perf_counter(), psutil.getloadavg()[0]
    device = _device(use_cpu)
    free = _free_bytes(device)
    loaded = {path: load_domain(path) for stage in plan.stages.values() for path in stage.domains}
    backbone = backbone_or_shape(plan.model, empty=not probing)
    preparation = time.perf_counter() - begun
    stages: list[StagePlan] = []
    dtype = plan.model.products(device.type != "cpu")
    times = slowdown(dtype, device) if probing else 1.0
    advice = [f"{told(dtype, times)}, so no passes were run: {plan.model.in_float32}"] if times > SLOW else []
    if probing and times <= SLOW and device.type == "cpu":
        advice += _of_load(load, os.cpu_count() or 1)
    for name, stage in plan.stages.items():
        begun = time.perf_counter()
        data = stage_data(plan, stage, [loaded[path] for path in stage.domains], backbone.tokenizer)
        preparation += time.perf_counter() - begun
        planner = StagePlanner(plan, stage, name, data, backbone, device)
        probed = probing and planner.memory.peak <= free and times <= SLOW
        tell(f"{name}: {len(data.training):,} sequences counted" + ("; running a few passes" if probed else ""))
        stages.append(planner.planned(PROBE_S / len(plan.stages) if probed else None))
        advice += _advice(stages[-1], free)
        merge_adapters(backbone.lm)
        del planner, data
        gc.collect()
    advice += _of_texts(plan, loaded[list(plan.stages.values())[-1].domains[-1]])
    return _summary(stages, backbone.source, _name(device), preparation, advice)


def _summary(stages: list[StagePlan], backbone: str, device: str, preparation: float, advice: list[str]) -> RunPlan:
    here = [stage.here for stage in stages if stage.here is not None]
    whole = len(here) == len(stages)
    models = sum(stage.memory.weights for stage in stages) / 1e9
    return RunPlan(
        backbone=backbone,
        device=device,
        stages=tuple(stages),
        preparation_s=preparation,
        seconds=preparation + sum(sum(stage.seconds.values()) for stage in here) if whole else None,
        peak_gb=max(stage.peak_gb for stage in here) if whole else None,
        disk_gb=models + sum(stage.disk_gb for stage in stages),
        probe_s=sum(stage.probe_s for stage in here),
        advice=tuple(advice),
    )


def _of_load(load: float, cores: int) -> list[str]:
    """What is to be said where other work made the passes slower than training alone will be."""
    if load < cores:
        return []
    return [
        f"load was {load:.1f} on this machine's {cores} cores before this, so the times may be too long: plan again "
        "when it is quiet"
    ]


def _of_texts(plan: TrainingPlan, domain: Domain) -> list[str]:
    """What is to be said where the recipe writes some items alike, though the domain may tell them apart."""
    texts = domain.catalogue_with_texts(ItemText(plan.text)).texts
    alike = sum(count for count in Counter(texts).values() if count > 1)
    if not alike:
        return []
    return [
        f"{alike:,} of {len(texts):,} items of {domain.name} read like another one, and texts are all that the model "
        "knows of them: more words or columns in text.attributes may tell them apart"
    ]


def _advice(stage: StagePlan, free: int) -> Iterator[str]:
    """What to change in a stage, a line each."""
    cache = stage.cache
    passes = stage.counts.tokens / stage.counts.tokens_per_epoch
    if cache.pays and not cache.used:
        yield (
            f"{stage.name}: set cache_gb={cache.size_gb * 1.1:.2g}: the frozen trunk would be computed once, "
            f"and not {passes:.1f} times"
        )
    elif cache.limit_gb and not cache.used:
        yield f"{stage.name}: cache_gb does nothing: {cache.why_not}"
    if stage.memory.peak > free:
        yield (
            f"{stage.name}: needs about {stage.memory.peak / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free "
            "here: lower tokens_per_batch, or set model.gradient_checkpointing=true or model.train_layers"
        )


def _device(use_cpu: bool) -> torch.device:
    if use_cpu or not torch.accelerator.is_available():
        return torch.device("cpu")
    return torch.accelerator.current_accelerator() or torch.device("cpu")


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"CPU, {torch.get_num_threads()} threads" if device.type == "cpu" else str(device)
