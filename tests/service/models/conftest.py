"""The built-in model, loaded once; folders that tests may edit; a loader that tests control; a small tokenizer."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from tests.support.models.loader import Loader
from tintype.service.models import Prompt, Repository
from tintype.service.models.residency import loading
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.numerics import TorchNoise, Trajectory, make_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tintype.service.models.pipeline.pipeline import DiffusionModel

MERGES = [
    *("c a", "ca t</w>", "d o", "do g</w>", "o n</w>", "t h", "th e</w>", "i n", "in g</w>"),
    *("a a", "aa a</w>", "1 2", "! !</w>", "Ã ©</w>", "e n", "en d", "s t", "st a", "sta r", "star t"),
]


@pytest.fixture(scope="session")
def repository() -> Iterator[Repository]:
    with Repository() as repository:
        yield repository


@pytest.fixture(scope="session")
def model(repository: Repository) -> DiffusionModel:
    return cast("DiffusionModel", repository.wait(timeout=60))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a copy of the built-in model's folder, named `toy`; everything except graphs may be edited."""

    def copy(source: str, target: str) -> None:
        if source.endswith(".onnx"):
            (tmp_path / target).symlink_to(source)
        else:
            shutil.copyfile(source, target)

    shutil.copytree(BUILTIN, tmp_path / "toy", copy_function=copy)
    _edit(tmp_path / "toy" / "tintype.json", lambda content: content.update(name="toy"))
    return tmp_path / "toy"


@pytest.fixture
def foreign(folder: Path) -> Path:
    """Return a folder without tintype.json, as plain optimum writes it."""
    (folder / "tintype.json").unlink()
    return folder


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loader]:
    """Replace the loader that makes sessions by one that the test controls."""
    loader = Loader()
    monkeypatch.setattr(loading, "load", loader)
    yield loader
    loader.gate.set()


@pytest.fixture
def folders(folder: Path, edit: Any) -> list[Path]:
    """Return three models of one size, in the order c, a, b."""
    made = []
    for name in ("c", "a", "b"):
        made.append(folder.with_name(name))
        made[-1].mkdir()
        for item in folder.iterdir():
            if item.name != "tintype.json":
                (made[-1] / item.name).symlink_to(item)
        (made[-1] / "tintype.json").write_bytes((folder / "tintype.json").read_bytes())
        edit(made[-1] / "tintype.json", lambda c, name=name: c.update(name=name))
    return made


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tokenizer of 512 byte letters, some joined ones and the two control tokens."""
    folder = tmp_path_factory.mktemp("tokenizer")
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    letters = [chr(byte if byte in printable else next(others)) for byte in range(256)]
    joined = [merge.replace(" ", "") for merge in MERGES]
    tokens = [*letters, *(letter + "</w>" for letter in letters), *joined, "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}), "utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES, ""]), "utf-8")
    config = {"model_max_length": 16, "pad_token": "<|endoftext|>", "added_tokens_decoder": {}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    return folder


@pytest.fixture
def edit() -> Callable[[Path, Callable[[dict[str, Any]], object]], None]:
    """Return a function that changes a JSON file in place."""
    return _edit


def _edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(json.dumps(content), "utf-8")


@pytest.fixture(scope="session")
def generate(model: DiffusionModel) -> Callable[[str], tuple[Any, Any]]:
    """Return a function that generates an image for a prompt: latents [c, h, w] and pixels [3, H, W]."""

    def generate(prompt: str, *, steps: int = 8, guidance_scale: float = 4.0) -> tuple[Any, Any]:
        spec = model.spec
        table = make_table(spec.diffusion, steps)
        shape = spec.latent_shape(spec.defaults.width, spec.defaults.height)
        row = Trajectory.from_noise(table, shape, TorchNoise(7))
        both = model.encode([Prompt(""), Prompt(prompt)])
        while not row.done:
            x, timestep = row.model_input()
            uncond, cond = model.denoise(np.stack([x, x]), np.full(2, timestep, np.float32), both)
            row.advance(uncond + np.float32(guidance_scale) * (cond - uncond))
        return row.x, model.decode(row.x[None])[0]

    return generate
