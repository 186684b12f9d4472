"""From a source to a domain on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl
from pydantic import ValidationError

from calrec.data.filters import FilterSettings, Frames, apply_filters
from calrec.data.sources import Source, SourceOptions, open_source
from calrec.data.store import Domain, Manifest, require_domain_or_nothing, save, split_hash
from calrec.errors import ConfigError, DataError


def prepare(
    spec: str | Path | Sequence[str | Path],
    out: str | Path,
    settings: Mapping[str, object] | None = None,
    options: SourceOptions | None = None,
    replace: bool = False,
) -> Domain:
    """Read a source, filter it and write the domain.

    Args:
        spec: what ``open_source`` takes.
        out: the domain's folder.
        settings: filter settings by name; those not given are the source's defaults.
        options: how to read the source.
        replace: whether a different domain in ``out`` is replaced.

    Raises:
        ConfigError: a setting is unknown or out of range.
        DataError: the source cannot be read, nobody is left, or ``out`` holds something else.
    """
    require_domain_or_nothing(Path(out))
    options, settings = options or SourceOptions(), settings or {}
    source = open_source(spec, options)
    wanted = _settings({**source.defaults, **settings})
    if settings.get("catalogue") == "all" and wanted.k_core > 1:
        raise ConfigError("--catalogue all: --k-core leaves items out: drop one of the two options")
    domain = build_domain(source, wanted, Path(out), options.min_rating)
    save(domain, replace)
    return domain


def _settings(values: Mapping[str, object]) -> FilterSettings:
    try:
        return FilterSettings.model_validate(values)
    except ValidationError as error:
        faults = (f"{fault['loc'][0]} = {fault['input']!r}: {fault['msg']}" for fault in error.errors())
        raise ConfigError(f"filters: {'; '.join(faults)}") from None


def build_domain(source: Source, settings: FilterSettings, path: Path, min_rating: float | None = None) -> Domain:
    """Filter a source's frames; nothing is written.

    Args:
        source: what was read.
        settings: of the filters.
        path: the domain's folder.
        min_rating: the lowest rating that counts; None: all do.

    Raises:
        DataError: an interaction with an unknown item, or nobody left; the source and its files are named.
    """
    raw = Frames(source.items, source.interactions)
    ratings = _ratings(source.interactions)
    if min_rating is not None and not ratings:
        raise DataError(f"{source.name} ({', '.join(source.files)}): no column of ratings for --min-rating: "
                        "name it with --rating-column")  # fmt: skip
    try:
        frames, counts = apply_filters(raw, settings, source.text_attributes, min_rating)
    except DataError as error:
        skipped = f"; bad lines skipped: {source.skipped_lines}" if source.skipped_lines else ""
        raise DataError(f"{source.name} ({', '.join(source.files)}): {error}{skipped}") from None
    items = frames.items.sort("item_id")
    # apply_filters leaves the rows sorted by user and time, which the grouping keeps.
    sequences = frames.interactions.group_by("user_id", maintain_order=True).agg(
        item_ids=pl.col("item_id"), timestamps=pl.col("timestamp")
    )
    manifest = Manifest(
        name=source.name,
        source=source.form,
        files=dict(source.files),
        split_hash=split_hash(items, sequences),
        settings=settings,
        attributes=tuple(name for name in items.columns if name != "item_id"),
        text_attributes=tuple(source.text_attributes),
        skipped_lines=source.skipped_lines,
        missing_rows=source.missing_rows,
        ordered=source.ordered,
        ratings=ratings,
        min_rating=min_rating,
        counts=counts,
    )
    return Domain(path, items, sequences, manifest)


def _ratings(interactions: pl.DataFrame) -> tuple[float, float] | None:
    """The lowest and the highest rating."""
    known = interactions["rating"].drop_nulls() if "rating" in interactions.columns else pl.Series([])
    return (float(known.min()), float(known.max())) if len(known) else None  # type: ignore[arg-type]
