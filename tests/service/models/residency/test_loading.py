"""Loading one model: exclusive use of the device, retries, and errors."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.models.loader import Loader, until
from tintype.service.errors import ModelBroken, OutOfMemory
from tintype.service.models import ModelState, Repository
from tintype.service.models.runtime.cuda_graphs import DEVICE_ACCESS
from tintype.service.models.text.encoders import TextEncoders

if TYPE_CHECKING:
    from pathlib import Path


def test_a_failed_load_is_reported_until_the_next_load(folders: list[Path], loader: Loader) -> None:
    """`get` raises the same error each time, without a growing traceback; `load` tries again."""
    loader.failure = RuntimeError("no such operator")
    with Repository(folders) as repository:
        repository.load("a")
        until(lambda: repository.status("a").state is ModelState.FAILED)
        for _ in range(2):
            with pytest.raises(ModelBroken, match="RuntimeError: no such operator") as caught:
                repository.get("a")
            assert len(caught.traceback) < 10
        loader.failure = None
        assert repository.wait("a", timeout=10)
        assert repository.status("a").error == ""


def test_a_damaged_graph_is_named(folder: Path) -> None:
    """A fault that only loading can find is reported as a fault of the model, with the file."""
    (folder / "vae_decoder/model.onnx").unlink()
    (folder / "vae_decoder/model.onnx").write_bytes(b"not a graph")
    with (
        Repository([folder]) as repository,
        pytest.raises(ModelBroken, match=r"vae_decoder/model\.onnx can't be loaded"),
    ):
        repository.wait(timeout=60)


def test_text_encoders_of_different_models_fail_to_load(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mismatch is reported when the model loads, not by each request."""
    encode = TextEncoders.encode

    def narrower(*arguments: Any) -> Any:
        return [replace(result, prompt_embeds=result.prompt_embeds[:, 1:]) for result in encode(*arguments)]

    monkeypatch.setattr(TextEncoders, "encode", narrower)
    with Repository([folder]) as repository, pytest.raises(ModelBroken, match="belong to different models"):
        repository.wait(timeout=60)


def test_nothing_is_captured_while_a_model_loads(folders: list[Path], loader: Loader) -> None:
    """Loading excludes captures of CUDA graphs from beginning to end, since it calls the device throughout."""
    loader.gate.clear()
    with Repository(folders) as repository:
        repository.load("a")
        until(lambda: loader.names == ["a"])
        with DEVICE_ACCESS.exclusive() as exclusive:
            assert not exclusive
        loader.gate.set()
        repository.wait("a")
        with DEVICE_ACCESS.exclusive() as exclusive:
            assert exclusive


def test_out_of_device_memory_evicts_idle_models(folders: list[Path], loader: Loader) -> None:
    """If the device is out of memory, models without holds are evicted, and loading is tried once more."""
    with Repository(folders) as repository:
        repository.wait("a", timeout=60)
        repository.wait("b", timeout=60)
        repository.hold("b")
        loader.failures = [OutOfMemory("the device is full")]
        assert repository.wait("c", timeout=60)
        states = {name: repository.status(name).state for name in "abc"}
        assert states == {"a": ModelState.UNLOADED, "b": ModelState.RESIDENT, "c": ModelState.RESIDENT}
        assert loader.names == ["a", "b", "c", "c"]
