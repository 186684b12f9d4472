"""The frozen trunk's states, computed once: what enters the trained layers never changes while they are trained."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from calrec.atomic import replacing
from calrec.model.towers import Towers
from calrec.progress import progress_bar
from calrec.text.encode import EncodedSequence
from calrec.training.batches import laid_out, length_grouped, row_width

logger = logging.getLogger(__name__)

_TOKENS_A_PASS = 4096


class TrunkCache:
    """States by sequence, float16, memory-mapped.

    A sequence is known by its tokens, so the same text is kept once, whoever asks for it.

    Args:
        path: the file of the states.
        sequences: all that can be asked for, in the order of the file.
        width: D.
    """

    def __init__(self, path: Path, sequences: Sequence[EncodedSequence], width: int) -> None:
        ends = np.cumsum([len(sequence.token_ids) for sequence in sequences])
        self._end = {s.token_ids.tobytes(): int(end) for s, end in zip(sequences, ends, strict=True)}
        self._states = np.memmap(path, dtype=np.float16, mode="r", shape=(int(ends[-1]), width))

    def laid_out(self, rows: Sequence[Sequence[EncodedSequence]]) -> Tensor:
        """(R, T, D) float16 states of rows, each of one sequence after the other, padded as their tokens are."""
        states = np.zeros((len(rows), row_width(rows), self._states.shape[1]), dtype=np.float16)
        for of_row, row in zip(states, rows, strict=True):
            start = 0
            for sequence in row:
                end, length = self._end[sequence.token_ids.tobytes()], len(sequence.token_ids)
                of_row[start : start + length] = self._states[end - length : end]
                start += length
        return torch.from_numpy(states)


def trunk_cache(
    towers: Towers,
    sequences: Iterable[EncodedSequence],
    folder: Path,
    limit_gb: float,
    passes: float,
    autocast: bool = False,
) -> TrunkCache | None:
    """The cache of a stage, from disk where an earlier run made it; None where none is asked for or it would not pay.

    It pays with a frozen trunk and more than one pass over the data, and must fit the disk limit. A warning says why
    where a stage does without.

    Args:
        towers: whose trunk it is. sequences: every sequence of the stage, items and validation included.
        folder: where caches are kept; the name of one holds the hash of weights and tokens.
        limit_gb: the most disk it may take.
        passes: how often the stage sees its data.
        autocast: compute the trunk as training would, with matrix products in bfloat16.
    """
    if not limit_gb:
        return None
    distinct = list({sequence.token_ids.tobytes(): sequence for sequence in sequences}.values())
    tokens = sum(len(sequence.token_ids) for sequence in distinct)
    width = towers.head_weight.shape[1]
    reason = against_cache(towers.trunk_layers, passes, tokens * width * 2 / 1e9, limit_gb)
    if reason:
        # Where nothing is frozen there is nothing to keep, and nothing to mend.
        logger.log(
            logging.WARNING if towers.trunk_layers else logging.INFO, "no cache of the trunk's states: %s", reason
        )
        return None
    path = folder / f"trunk-{_key(towers, distinct, autocast)}.f16"
    if not path.exists():
        for other in set(folder.glob("trunk-*.f16")) - {path}:
            other.unlink(missing_ok=True)  # of a recipe that was mended; nothing reads it any more
        with torch.autocast(towers.head_weight.device.type, torch.bfloat16, enabled=autocast):
            if not _write(towers, distinct, path):
                return None
    return TrunkCache(path, distinct, width)


def against_cache(trunk_layers: int, passes: float, size_gb: float, limit_gb: float) -> str | None:
    """Why a stage does better without the cache, if it does."""
    if not trunk_layers:
        return "no layer is frozen below all that is trained (model.train_layers)"
    if passes <= 1:
        return "the stage sees its data once, so nothing would be read again"
    if size_gb > limit_gb:
        return f"they would take {size_gb:.1f} GB, and cache_gb is {limit_gb:g}"
    return None


def _key(towers: Towers, sequences: Sequence[EncodedSequence], autocast: bool) -> str:
    digest = hashlib.sha256(b"bfloat16" if autocast else b"")
    for name, weight in towers.trunk_weights():
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    for sequence in sequences:
        digest.update(np.int64(len(sequence.token_ids)).tobytes() + sequence.token_ids.tobytes())
    return digest.hexdigest()[:24]


class _BeyondFloat16Error(Exception):
    """States that float16 cannot hold."""


def _write(towers: Towers, sequences: Sequence[EncodedSequence], path: Path) -> bool:
    """Whether every state could be kept in float16; the file appears only when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lengths = np.asarray([len(sequence.token_ids) for sequence in sequences])
    ends = np.cumsum(lengths)
    device = towers.head_weight.device
    batches = length_grouped(np.argsort(lengths, kind="stable"), lengths, _TOKENS_A_PASS)
    try:
        # Written, not mapped: a full disk is then an error, and not the end of the process by a signal.
        bar = progress_bar("trunk, once for all passes", len(sequences))
        with bar, replacing(path) as part, part.open("wb") as file:
            for batch in batches:
                ids = laid_out([[sequences[index]] for index in batch], pad_id=0)
                half = towers.trunk(ids.to(device)).to("cpu", torch.float16).numpy()
                if not np.isfinite(half).all():
                    raise _BeyondFloat16Error
                for row, index in zip(half, batch, strict=True):
                    file.seek(int(ends[index] - lengths[index]) * row[0].nbytes)
                    file.write(row[: lengths[index]].tobytes())
                bar.update(len(batch))
    except _BeyondFloat16Error:
        logger.warning("the trunk's states exceed float16: doing without the cache")
        return False
    return True
