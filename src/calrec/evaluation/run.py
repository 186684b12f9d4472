"""Any recommender on a domain's split: full ranking, every user counted."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from calrec.atomic import replacing, sole_writer
from calrec.data.splits import Split
from calrec.data.store import Domain
from calrec.data.writing import writing
from calrec.errors import ConfigError, DataError
from calrec.evaluation.beyond import beyond_accuracy, generations_column
from calrec.evaluation.protocol import Protocol, protocol_of
from calrec.evaluation.result import (
    RESULT,
    Result,
    load_result,
    require_result_or_nothing,
    save_result,
    summarise,
)
from calrec.evaluation.slices import slices_of
from calrec.evaluation.unseen import require_unseen
from calrec.metrics import ranks_by_id, ranks_by_text
from calrec.progress import progress_bar
from calrec.protocol import Prepared, Recommender, Writer, exclude_last, top_k
from calrec.records import Example, History

# The sample of users is part of the protocol, so it has one seed for everyone.
_SAMPLE_SEED = 0
_PARTS = ".parts"


def evaluate(
    recommender: Recommender,
    domain: Domain,
    split: Split,
    out: Path,
    *,
    users: int | None = None,
    last_excluded: bool | None = None,
    batch_size: int = 32,
    top: int = 100,
    settings: Mapping[str, Any] | None = None,
) -> Result:
    """Rank the whole catalogue for the users of a split and keep what comes out.

    What was scored before an interruption is not scored again, but for a method that learns first (`Prepared`). Neither
    the batch size nor an interruption changes a result.

    Args:
        recommender: ready to rank, over the domain's catalogue.
        domain: whose users and targets.
        split: which targets.
        out: the result's folder.
        users: evaluate a sample of so many, drawn once for all methods; None takes all.
        last_excluded: whether a history's last item is taken out; None does what the domain's making implies.
        batch_size: histories that are scored together.
        top: best items that are kept for each user.
        settings: all that changes the recommender's scores, to stand in the result.

    Raises:
        ConfigError: the recommender ranks another catalogue or has learnt what it is to find, there are fewer users
            than asked for, or another process makes this result.
        DataError: the split has no user, or ``out`` holds something else or cannot be written.
    """
    if recommender.catalogue.ids != domain.catalogue.ids:
        raise ConfigError(f"{recommender.name} ranks another catalogue than that of {domain.name}")
    # Before the scoring, which may take hours.
    require_result_or_nothing(out)
    examples = sample_users(domain.split(split), users)
    if not examples:
        raise DataError(f"{domain.path}: no user has a target for the split {split!r}")
    require_unseen(recommender, domain, split)
    protocol = protocol_of(domain, split, [example.user_id for example in examples], last_excluded)
    identity = {
        "method": recommender.name,
        "settings": _deciding(settings or {}),
        "protocol": protocol.hash,
        "top": top,
    }
    done = _finished(out, identity)
    if done is not None:
        return done
    work = out.parent / f"{_PARTS}-{out.name}"
    with writing(work):
        work.mkdir(parents=True, exist_ok=True)
    with sole_writer(work):
        parts, curve = work / _key(identity), list[float]()
        if isinstance(recommender, Prepared):
            # What is learnt anew may round otherwise than what scored before an interruption: one network scores all.
            shutil.rmtree(parts, ignore_errors=True)
            curve = [*recommender.prepare()]
        rankings, seconds = _scored(recommender, domain, protocol, examples, parts, batch_size, top)
        slices, beyond = slices_of(domain, examples), beyond_accuracy(rankings, domain)
        summary = summarise(recommender.name, settings or {}, protocol, rankings, slices, beyond, seconds, curve)
        result = Result(out, summary, rankings)
        save_result(result)
        shutil.rmtree(work, ignore_errors=True)
    return result


def sample_users(examples: Sequence[Example], users: int | None) -> list[Example]:
    """The users of an evaluation, in the order of the split.

    Raises:
        ConfigError: more users than there are.
    """
    if users is None:
        return list(examples)
    if not 1 <= users <= len(examples):
        raise ConfigError(f"--users {users}: the split has {len(examples)} users; ask for so many at most")
    drawn = np.random.default_rng(_SAMPLE_SEED).choice(len(examples), users, replace=False)
    return [examples[place] for place in sorted(drawn)]


def _finished(out: Path, identity: Mapping[str, Any]) -> Result | None:
    """The result of this very evaluation, if it is there already; one that cannot be read gives way to a new one."""
    if not (out / RESULT).is_file():
        return None
    try:
        result = load_result(out)
    except DataError:
        return None
    said = result.summary
    kept = max(map(len, result.rankings["top_items"]), default=0)
    same = {"method": said.method, "settings": _deciding(said.settings), "protocol": said.protocol_hash}
    asked = {name: identity[name] for name in same}
    return result if _key(same) == _key(asked) and kept <= identity["top"] else None


def _deciding(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without what the weights' hash implies, and only some folders of a run say."""
    return {name: value for name, value in settings.items() if name != "learnt"}


def _key(identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _scored(
    recommender: Recommender,
    domain: Domain,
    protocol: Protocol,
    examples: Sequence[Example],
    parts: Path,
    batch_size: int,
    top: int,
) -> tuple[pl.DataFrame, float]:
    """Rankings in the order of the examples, and the seconds of all scoring, that before an interruption included."""
    with writing(parts):
        parts.mkdir(exist_ok=True)
    tables = [pl.read_parquet(path) for path in sorted(parts.glob("[0-9]*.parquet"))]
    known = {user_id for table in tables for user_id in table["user_id"]}
    missing = [example for example in examples if example.user_id not in known]
    with progress_bar(f"{recommender.name}: users", len(examples), done=len(known)) as bar:
        for start in range(0, len(missing), batch_size):
            batch = missing[start : start + batch_size]
            began = time.perf_counter()
            table = ranked(recommender, domain, protocol, batch, top)
            table = table.with_columns(seconds=pl.lit((time.perf_counter() - began) / len(batch)))
            _keep(table, parts / f"{len(known) + start:08}.parquet")
            tables.append(table)
            bar.update(len(batch))
    order = pl.DataFrame({"user_id": [example.user_id for example in examples]})
    rankings = order.join(pl.concat(tables), on="user_id", how="left", maintain_order="left", validate="1:1")
    return rankings.drop("seconds"), float(rankings["seconds"].sum())


def _keep(table: pl.DataFrame, path: Path) -> None:
    with writing(path.parent), replacing(path) as part:
        table.write_parquet(part)


def ranked(
    recommender: Recommender, domain: Domain, protocol: Protocol, examples: Sequence[Example], top: int
) -> pl.DataFrame:
    """The rankings of some users at once, as a `Result` has them, ``top`` best items of each."""
    histories = [History(example.user_id, example.history) for example in examples]
    written = None
    if isinstance(recommender, Writer):
        scores, written = recommender.score_and_write(histories)
    else:
        scores = recommender.score(histories)
    if protocol.exclude_last:
        exclude_last(scores, domain.catalogue, histories)
    targets: NDArray[np.int64] = np.array([domain.catalogue.positions.get(e.target, -1) for e in examples])
    ids = domain.catalogue.ids
    table = pl.DataFrame(
        {
            "user_id": [example.user_id for example in examples],
            "target": [example.target for example in examples],
            "rank_by_id": ranks_by_id(scores, targets),
            "rank_by_text": ranks_by_text(scores, targets, domain.text_groups),
            "top_items": pl.Series([[ids[c] for c in top_k(row, top)] for row in scores], dtype=pl.List(pl.String)),
        }
    )
    if written is None or not any(written):
        return table
    texts = recommender.catalogue.texts
    aims = [texts[column] if column >= 0 else "" for column in targets]
    return table.with_columns(generations_column(written, frozenset(texts), aims))
