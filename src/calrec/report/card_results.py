"""Results for a model card: only what these very weights earned, and baselines beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calrec.errors import ConfigError
from calrec.evaluation.compare import SHOWN, labels
from calrec.evaluation.result import Result, load_result
from calrec.evaluation.verify import require_verified
from calrec.training.model_card import table


def results_of(run: Path, fingerprint: str, folders: Sequence[Path]) -> list[Result]:
    """Read the results that a run's card is to show.

    A result without a language model, such as a baseline's, may stand beside one of the run under the same protocol.

    Args:
        run: the run's folder, to name in errors.
        fingerprint: SHA-256 of its weights, in hex.
        folders: of the results.

    Raises:
        DataError: a folder is no result, or its metrics are not those of its rankings.
        ConfigError: a result is of other weights, or a baseline's has none of the run to stand beside.
    """
    results = [load_result(folder) for folder in folders]
    for result in results:
        require_verified(result)
        weights = result.summary.settings.get("weights", fingerprint)
        if weights != fingerprint:
            raise ConfigError(
                f"{result.path} was made by other weights ({str(weights)[:12]}) than those of {run} "
                f"({fingerprint[:12]}): make one with `calrec evaluate {run}`"
            )
    own = {result.summary.protocol_hash for result in results if "weights" in result.summary.settings}
    for result in results:
        if result.summary.protocol_hash not in own:
            raise ConfigError(
                f"{result.path} is {result.name}'s, and no result of {run} follows its protocol: add one with --result"
            )
    return results


def results_section(results: Sequence[Result]) -> str:
    """Markdown: a table for each protocol, the protocol in words, and how the run was set for inference."""
    by_protocol: dict[str, list[Result]] = {}
    for result in results:
        by_protocol.setdefault(result.summary.protocol_hash, []).append(result)
    return "\n\n".join(_of_one_protocol(group) for group in by_protocol.values())


def _of_one_protocol(results: Sequence[Result]) -> str:
    protocol = results[0].summary.protocol
    excluded = (
        "the history's last item is left out, its others are not" if protocol.exclude_last else "no item left out"
    )
    rows = []
    named = list(zip(labels(results), results, strict=True))
    for name, result in named:
        for identity in identities(results):
            rows.append([name, identity, *(_cell(result, identity, metric) for metric in SHOWN)])
    inference = [(name, result.summary.settings.get("inference")) for name, result in named]
    return "\n\n".join(
        (
            f"{protocol.domain}, {protocol.split}: {protocol.users:,} users, {protocol.candidates:,} candidates "
            f"(the whole catalogue; {excluded}). Split hash `{protocol.split_hash}`, protocol hash `{protocol.hash}`.",
            table(("method", "items by", *SHOWN), rows),
            "Each mean stands with its standard error over users.",
            *(f"Inference of {name}: `{json.dumps(settings)}`" for name, settings in inference if settings),
        )
    )


def identities(results: Sequence[Result]) -> tuple[str, ...]:
    """By text only where that says something else: where items share their texts."""
    same = all(result.summary.metrics.by_id == result.summary.metrics.by_text for result in results)
    return ("id",) if same else ("id", "text")


def _cell(result: Result, identity: str, name: str) -> str:
    means: Any = result.summary.metrics
    error = getattr(means, f"by_{identity}_error")[name]
    return f"{getattr(means, f'by_{identity}')[name]:.4f}" + ("" if error is None else f" ± {error:.4f}")
