"""All steps of the training, from the packed model to the next one, with tiny budgets."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.slow]

from tintype.training import __main__ as command  # noqa: E402
from tintype.training.evaluation.pipeline import OnnxPipeline  # noqa: E402
from tintype.training.model.manifest import DISTILLED, MANIFEST, hash_files  # noqa: E402

BUILTIN = Path(__file__).parents[2] / "service" / "models" / "builtin"


def test_training_continues_from_the_packed_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps make a model of the packed one: larger vocabulary, four steps without guidance, an image."""
    monkeypatch.setattr(command, "BATCHES", {"cpu": (8, 4)})
    monkeypatch.setattr(command, "SHARES", dict.fromkeys(command.SHARES, 1.0))
    work, out = tmp_path / "work", tmp_path / "model"
    size = ["--images", "24", "--kept", "12", "--minutes", "0.01", "--work", str(work)]
    command.main(["unpack", *size, "--out", str(BUILTIN)])
    for step in ("render", "tokenizer", "vae", "unet", "distil", "refine", "pack"):
        command.main([step, *size, "--out", str(out)])
    manifest = json.loads((out / MANIFEST).read_text())
    assert manifest["files"] == hash_files(out)
    assert manifest["defaults"] == DISTILLED["defaults"]
    sizes = [len(json.loads((folder / "tokenizer" / "vocab.json").read_text())) for folder in (BUILTIN, out)]
    assert sizes[0] <= sizes[1]
    assert OnnxPipeline(out).generate(["a red circle"], [0]).shape == (1, 256, 256, 3)
