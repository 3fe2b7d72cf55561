"""The models of the comparison, in the format of each library. Made once, in a folder."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from .environments import ROOT
from .task import SEEDS, Task

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .environments import Environments

BUILTIN = ROOT / "service" / "models" / "builtin"
NOISE = """
import sys, numpy as np, torch
path, seeds, *shape = sys.argv[1:]
shape = [1, *map(int, shape)]
draw = lambda seed: torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed)).numpy()
np.save(path, np.concatenate([draw(seed) for seed in range(int(seeds))]))
"""
BUILTIN_DIFFUSERS = """
import sys, pathlib
from tintype.training import torch_pipeline
torch_pipeline(pathlib.Path(sys.argv[1])).save_pretrained(sys.argv[2])
"""
# OpenVINO reads the ONNX graphs; GenAI also needs a tokenizer as a graph, integer timesteps, and classes that it knows.
OPENVINO = """
import json, pathlib, shutil, sys
import openvino
from openvino.preprocess import PrePostProcessor
from openvino_tokenizers import convert_tokenizer
from transformers import AutoTokenizer
source, target = map(pathlib.Path, sys.argv[1:])
for name in ("text_encoder", "unet", "vae_decoder"):
    (target / name).mkdir(parents=True)
    model = openvino.convert_model(source / name / "model.onnx")
    if name == "unet":
        steps = PrePostProcessor(model)
        steps.input("timestep").tensor().set_element_type(openvino.Type.i64)
        model = steps.build()
    openvino.save_model(model, target / name / "openvino_model.xml", compress_to_fp16=False)
    shutil.copy(source / name / "config.json", target / name)
(target / "tokenizer").mkdir()
tokenizer = AutoTokenizer.from_pretrained(source / "tokenizer")
openvino.save_model(convert_tokenizer(tokenizer), target / "tokenizer" / "openvino_tokenizer.xml")
shutil.copytree(source / "scheduler", target / "scheduler")
scheduler = json.loads((source / "scheduler" / "scheduler_config.json").read_text())["_class_name"]
parts = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "scheduler": scheduler}
index = {name: ["diffusers", kind] for name, kind in parts.items()}
index |= {"_class_name": "StableDiffusionPipeline", "text_encoder": ["transformers", "CLIPTextModel"]}
(target / "model_index.json").write_text(json.dumps(index | {"tokenizer": ["transformers", "CLIPTokenizer"]}))
"""
MAKE = "import pathlib, sys, full_size; full_size.make(sys.argv[1], pathlib.Path(sys.argv[2]))"
# stable-diffusion.cpp does not know the folder as a version of Stable Diffusion; it reads a file of the original names,
# whose random weights and tokens are others. So only its work is the same, not its image.
ORIGINAL = "import pathlib, sys, single_file; single_file.write_file(sys.argv[1], pathlib.Path(sys.argv[2]), 'F32')"
# The graphs that optimum and OpenVINO read: those that `tintype export` writes.
EXPORT = """
import sys
from tintype.export import main
main([*sys.argv[1:], "--precision", "fp32", "--target", "cpu", "--no-verify", "--force"])
"""
# Name -> latent channels, pixels of a latent's side.
LATENTS = {"builtin": (16, 16), "sd15": (4, 8), "sdxl": (4, 8)}


class Models:
    """The models in `folder`."""

    def __init__(self, folder: Path, environments: Environments) -> None:
        self._folder, self._environments = folder, environments

    def task(self, name: str, size: int, sides: Sequence[str], **settings: object) -> Task:
        """Return the task of a model, whose folders are made if `sides` need them."""
        return Task(
            model=name,
            folders=self._builtin(sides) if name == "builtin" else self._published(name, sides),
            noise=str(self._noise(name, size)),
            size=size,
            cache=str(self._folder / "cache"),
            native=name == "builtin",
            **settings,  # type: ignore[arg-type]
        )

    def _builtin(self, sides: Sequence[str]) -> dict[str, str]:
        made = self._folder / "builtin"
        folders = {"optimum": BUILTIN, "diffusers": made / "diffusers", "openvino": made / "openvino"}
        if any("diffusers" in side for side in sides):
            self._python("torch", folders["diffusers"], BUILTIN_DIFFUSERS, BUILTIN)
        if "OpenVINO GenAI" in sides:
            self._python("openvino", folders["openvino"], OPENVINO, BUILTIN)
        return {name: str(folder) for name, folder in folders.items()}

    def _published(self, name: str, sides: Sequence[str]) -> dict[str, str]:
        """Return folders of a published architecture with random weights."""
        made = self._folder / name
        source = made / "source"
        self._python("torch", source, MAKE, name)
        original = made / "original.safetensors"
        folders = {"diffusers": source, "cpp": original, "optimum": made / "optimum", "openvino": made / "openvino"}
        if "stable-diffusion.cpp" in sides and not original.exists():
            self._run("torch", ORIGINAL, {"sd15": "sd1"}.get(name, name), str(original))
        if {"optimum", "OpenVINO GenAI"} & set(sides):
            self._python("torch", folders["optimum"], EXPORT, source)
        if "OpenVINO GenAI" in sides:
            self._python("openvino", folders["openvino"], OPENVINO, folders["optimum"])
        return {name: str(folder) for name, folder in folders.items()}

    def _noise(self, name: str, size: int) -> Path:
        channels, factor = LATENTS[name]
        path = self._folder / f"noise-{channels}-{size // factor}.npy"
        if not path.exists():
            side = str(size // factor)
            self._run("torch", NOISE, str(path), str(SEEDS), str(channels), side, side)
        return path

    def _python(self, environment: str, target: Path, code: str, source: object) -> None:
        if not (target / "model_index.json").exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            self._run(environment, code, str(source), str(target))

    def _run(self, environment: str, code: str, *arguments: str) -> None:
        command = [self._environments.python(environment), "-c", code, *arguments]
        self._call(command)

    @staticmethod
    def _call(command: Sequence[str]) -> None:
        paths = f"{ROOT / 'bench'}:{ROOT / 'build' / 'namespace'}"
        subprocess.run(["env", f"PYTHONPATH={paths}", *command], check=True)  # noqa: S603, S607 - our own
