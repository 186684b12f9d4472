"""Pretrained weights on disk: found in a folder, fetched from the hub or converted from GGUF, and hashed.

Only safetensors and GGUF are read: neither can run code.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from calrec.errors import ModelError

CONVERSION = "conversion.json"
HUB_TIMEOUT = 5.0  # seconds until an unreachable hub is given up


@dataclass(frozen=True, slots=True)
class Weights:
    """A folder that ``from_pretrained`` loads.

    Attributes:
        folder: holds ``config.json``, the tokenizer and ``*.safetensors``.
        fingerprint: SHA-256 of the weights files in the order of their names, in hex.
        source: where they come from, for people.
    """

    folder: Path
    fingerprint: str
    source: str


def models_folder() -> Path:
    """Where local models and converted copies lie: ``$CALREC_MODELS``, or ``calrec/models`` in the user's cache."""
    if own := os.environ.get("CALREC_MODELS"):
        return Path(own).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "calrec" / "models"


def in_folder(folder: Path, source: str | None = None) -> Weights:
    """The weights in a local folder.

    Raises:
        ModelError: the folder lacks ``config.json`` or safetensors, or a converted copy was changed since.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not (folder / "config.json").is_file() or not files:
        raise ModelError(f"{folder}: not a model's folder: it needs config.json and *.safetensors")
    fingerprint = sha256(*files)
    record = conversion_record(folder)
    if record and record.get("weights") != fingerprint:
        raise ModelError(f"{folder}: its weights do not have the checksum in {CONVERSION}; delete the folder")
    return Weights(folder, fingerprint, source or str(folder))


def from_hub(repository: str, revision: str | None = None, fetch: bool = True) -> Weights:
    """The weights of a repository on the Hugging Face hub, or the hub's local cache where it cannot be reached.

    ``CALREC_OFFLINE=1``, ``HF_HUB_OFFLINE=1`` and ``fetch=False`` ask the cache alone.

    Raises:
        ModelError: neither has them.
    """
    from huggingface_hub import HfApi, snapshot_download

    def snapshot(commit: str | None, *, local: bool) -> Weights:
        folder = snapshot_download(
            repository,
            revision=commit,
            allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"],
            ignore_patterns=["*/*", "consolidated*"],
            local_files_only=local,
        )
        return in_folder(Path(folder), f"hub {repository}@{Path(folder).name}")

    failure = "offline by CALREC_OFFLINE or HF_HUB_OFFLINE" if fetch else "it was not asked"
    if fetch and not offline():
        try:
            commit = HfApi().model_info(repository, revision=revision, timeout=HUB_TIMEOUT).sha
            return snapshot(commit, local=False)
        except Exception as error:  # its client's, its transport's and the system's errors share no base
            failure = first_line(error)
    try:
        return snapshot(revision, local=True)
    except (OSError, ModelError):
        raise ModelError(
            f"backbone {repository!r}: no such folder, and the hub gave nothing ({failure}); "
            "download it where there is a network and name its folder"
        ) from None


def offline() -> bool:
    """Whether ``CALREC_OFFLINE=1`` or ``HF_HUB_OFFLINE=1`` keeps the network out."""
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE or os.environ.get("CALREC_OFFLINE", "0") not in ("", "0")


def from_gguf(file: Path, name: str | None = None, checksum: str | None = None) -> Weights:
    """A GGUF file as a folder of float32 safetensors, converted once and kept in `models_folder`.

    Args:
        file: the GGUF file.
        name: of the converted folder; by default the file's name and the start of its checksum.
        checksum: SHA-256 that the file must have, in hex.

    Raises:
        ModelError: the file has another checksum, or its architecture is not one that transformers converts.
    """
    found = sha256(file)
    if checksum is not None and found != checksum:
        raise ModelError(f"{file}: SHA-256 is {found}, not {checksum}; install or download it again")
    folder = models_folder() / (name or f"{file.stem}-{found[:12]}")
    if not folder.is_dir():
        _convert(file, found, folder)
    return in_folder(folder, f"{file} converted in {folder}")


def conversion_record(folder: Path) -> dict[str, str] | None:
    """``{"file", "sha256", "weights"}`` of a converted copy: the GGUF's name and checksum, and the copy's own."""
    path = folder / CONVERSION
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {key: record[key] for key in ("file", "sha256", "weights")}
    except (ValueError, TypeError, KeyError):
        raise ModelError(f"{path}: not a record of a conversion; delete the folder {folder}") from None


def sha256(*files: Path) -> str:
    """SHA-256 of the files' bytes, one after the other, in hex."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def first_line(error: Exception) -> str:
    """The first line of an error's message, for messages that must fit in one."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """transformers draws a bar for every load, even one of a tenth of a second."""
    from transformers.utils import logging

    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()


def _convert(file: Path, checksum: str, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    temporary: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        with without_progress_bars():
            # Without dequantize the model could be neither saved nor trained.
            lm = AutoModelForCausalLM.from_pretrained(
                file.parent,
                gguf_file=file.name,
                dtype=torch.float32,
                quantization_config=GgufConfig(dequantize=True),
            )
            tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
            lm.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
        weights = sha256(*sorted(temporary.glob("*.safetensors")))
        record = {"file": file.name, "sha256": checksum, "weights": weights}
        (temporary / CONVERSION).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        temporary.chmod(0o755)
        temporary.rename(folder)
    except (OSError, ValueError, KeyError, RuntimeError, NotImplementedError) as error:
        if not folder.is_dir():  # otherwise another process was quicker, and its copy is as good
            raise ModelError(f"{file}: cannot be converted into {folder}: {first_line(error)}") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
