"""A run on a model hub: which of its files go there, and how."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from calrec.errors import CalrecError, ConfigError, ModelError
from calrec.model.weights import first_line, in_folder, offline
from calrec.pipeline.tuned import INFERENCE
from calrec.report.card_results import results_of, results_section
from calrec.training.model_card import OTHER, model_card, without_folders
from calrec.training.run_folder import CARD, ITEMS, load_card

README = "README.md"
# A run's folder also holds checkpoints, caches and logs, which are nobody else's business.
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
_MODEL = (
    *_WEIGHTS,
    *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "*.model", "chat_template.jinja"),
)


@dataclass(frozen=True)
class Publication:
    """What is to go to a hub.

    Attributes:
        repository: ``owner/name``, or ``name`` of one's own.
        written: name -> text of the files that are made for it: the model card, and ``calrec.json`` without folders
            of this machine.
        copied: files of the run.
    """

    repository: str
    written: dict[str, str]
    copied: tuple[Path, ...]

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of every file, by name."""
        sizes = {name: len(text.encode("utf-8")) for name, text in self.written.items()}
        return dict(sorted((sizes | {file.name: file.stat().st_size for file in self.copied}).items()))


def publication(
    run: Path,
    repository: str,
    results: Sequence[Path] = (),
    licence: str = OTHER,
    with_catalogue: bool = False,
) -> Publication:
    """Gather what a push would upload; needs no network.

    Raises:
        ModelError: the folder is no run, or lacks weights.
        ConfigError: the repository's name or the licence can be none, or a result is of other weights.
        DataError: a result cannot be read or does not verify.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise ConfigError(f"repository {repository!r}: {first_line(error)} Write owner/name") from None
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", licence.lower()):
        raise ConfigError(f"--licence {licence!r}: write a hub's id of a licence, such as apache-2.0")
    card = load_card(run)
    shown = results_of(run, in_folder(run).fingerprint, results)
    said = {"results": results_section(shown)} if shown else {}
    readme = model_card(card, licence=licence.lower(), repository=repository, with_catalogue=with_catalogue, **said)
    written = {README: readme, CARD: without_folders(card).model_dump_json(indent=2)}
    patterns = (*_MODEL, INFERENCE, *([ITEMS] if with_catalogue else []))
    files = [f for f in sorted(run.iterdir()) if f.is_file() and any(fnmatch(f.name, p) for p in patterns)]
    if with_catalogue and not (run / ITEMS).is_file():
        raise ModelError(f"{run} has no {ITEMS}: leave --with-catalogue out")
    return Publication(repository, written, tuple(files))


def push(what: Publication, private: bool = False) -> str:
    """Upload in one commit, into a repository that is made where there is none; returns the model's address.

    Weights, a catalogue and tuned settings that an earlier push left there and this one does not bring are deleted in
    the same commit.

    Args:
        what: from ``publication``.
        private: make the repository private.

    Raises:
        ConfigError: offline, no token, no right to write there, or a public repository where a private one was meant.
    """
    if offline():
        raise ConfigError(
            "push: CALREC_OFFLINE or HF_HUB_OFFLINE keeps the network out: unset it, or add --dry-run to see the card"
        )
    try:
        return _upload(what, private)
    except CalrecError:
        raise
    except Exception as error:  # its client's, its transport's and the system's errors share no base
        raise ConfigError(f"push to {what.repository}: {_mend(error)}") from error


def _upload(what: Publication, private: bool) -> str:
    from huggingface_hub import HfApi, get_token

    if get_token() is None:
        raise ConfigError("push: there is no token for the hub: run `hf auth login`, or set HF_TOKEN")
    api = HfApi()
    created = api.create_repo(what.repository, private=private or None, exist_ok=True)
    if private and not api.model_info(created.repo_id).private:
        raise ConfigError(
            f"push: {created.repo_id} is there already and public, and nothing was uploaded: make it private in its "
            "settings, or choose another name"
        )
    with _staged(what) as folder:
        api.upload_folder(
            repo_id=created.repo_id,
            folder_path=folder,
            commit_message="Upload a CALRec model",
            delete_patterns=[*_WEIGHTS, ITEMS, INFERENCE],
        )
    return str(created)


@contextmanager
def _staged(what: Publication) -> Iterator[Path]:
    """A folder that holds the publication and nothing else; large files are links."""
    with tempfile.TemporaryDirectory(prefix="calrec-push-") as name:
        folder = Path(name)
        for file_name, text in what.written.items():
            (folder / file_name).write_text(text, encoding="utf-8")
        for file in what.copied:
            try:
                (folder / file.name).symlink_to(file.resolve())
            except OSError:  # a system, or a user of it, that may make no links
                shutil.copyfile(file, folder / file.name)
        yield folder


def _mend(error: Exception) -> str:
    """What went wrong and what to do, in a line."""
    response: Any = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    mends = {
        401: "the hub does not know the token: run `hf auth login` again, or set HF_TOKEN",
        403: "the token may not write there: take one that may, or a repository of your own",
        404: "there is no such owner: write owner/name with your own name or an organisation of yours",
    }
    if status is None and not isinstance(error, ValueError):
        return f"the hub cannot be reached ({first_line(error)}): check the network and call again"
    return mends.get(status or 0, f"the hub refused it: {' '.join(str(error).split())}")
