"""Safety checkers give the verdicts of diffusers and transformers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from PIL import Image
from transformers import CLIPConfig
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from tests.support.models.safety_checkers import write_classifier
from tests.support.service.fakes import make_spec
from tintype.export.console import quiet
from tintype.service.errors import ImageRefused
from tintype.service.models.folder.safety_files import find_safety_checker, read_safety_checker
from tintype.service.models.loading_options import SafetyOptions
from tintype.service.models.residency.component_memory import ComponentMemory
from tintype.service.models.safety_checker import SafetyCheckers, prepare

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch

SIDE = 32  # pixels that the checker reads


def random_images() -> list[Image.Image]:
    """Return images of other shapes than the checker's, whose colours change slowly."""
    random = np.random.default_rng(0)
    levels = random.integers(0, 256, (8, 3, 4, 3), np.uint8)
    return [Image.fromarray(each).resize((96, 64 + 8 * place)) for place, each in enumerate(levels)]


def diffusers_checker() -> StableDiffusionSafetyChecker:
    """Return a small random safety checker."""
    torch.manual_seed(0)
    size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision, text = size | {"image_size": SIDE, "patch_size": 8}, size | {"vocab_size": 8}
    config = CLIPConfig(projection_dim=16, vision_config=vision, text_config=text)
    return StableDiffusionSafetyChecker(config).eval()


def export(checker: Any, folder: Path) -> None:
    """Export a checker as diffusers' convert_stable_diffusion_checkpoint_to_onnx.py does."""
    folder.mkdir()
    checker.forward = checker.forward_onnx
    with quiet(), torch.no_grad():
        torch.onnx.export(
            checker,
            (torch.randn(1, 3, SIDE, SIDE), torch.randn(1, 64, 64, 3)),
            folder / "model.onnx",
            input_names=["clip_input", "images"],
            output_names=["out_images", "has_nsfw_concepts"],
            dynamic_axes={"clip_input": {0: "batch"}, "images": {0: "batch", 1: "height", 2: "width", 3: "channels"}},
            opset_version=14,
            dynamo=False,
        )


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::torch.jit.TracerWarning")
def test_verdicts_are_those_of_diffusers(tmp_path: Path) -> None:
    """The exported checker refuses the images that diffusers' own flags, and accepts the others."""
    checker, images = diffusers_checker(), random_images()
    size = {"shortest_edge": SIDE}
    processor = CLIPImageProcessorPil(size=size, crop_size={"height": SIDE, "width": SIDE})
    processor.save_pretrained(tmp_path / "feature_extractor")
    inputs = processor(images, return_tensors="pt").pixel_values
    with torch.no_grad():
        embeds = checker.visual_projection(checker.vision_model(inputs)[1])
        closeness = torch.nn.functional.normalize(embeds) @ torch.nn.functional.normalize(checker.concept_embeds).T
        for weights in (checker.special_care_embeds_weights, checker.concept_embeds_weights):
            weights.fill_(2)  # above every cosine
        checker.concept_embeds_weights[0] = closeness[:, 0].sort().values[3:5].mean()
        _, flagged = checker(images=np.zeros((8, 8, 8, 3), np.float32), clip_input=inputs)
    assert sum(map(bool, flagged)) == 4
    export(checker, tmp_path / "safety_checker")
    files = find_safety_checker(tmp_path, {}, SafetyOptions())
    assert files is not None
    for image, own in zip(images, inputs, strict=True):
        assert np.allclose(prepare(image, files.preprocessing)[0], own.numpy(), atol=1e-5)
    assert [refuses(files, image) for image in images] == [bool(each) for each in flagged]


def refuses(files: Any, image: Image.Image) -> bool:
    """Return whether a checker refuses an image."""
    checkers = SafetyCheckers(ComponentMemory(), ("cpu",), 1)
    try:
        checkers.check(replace(make_spec("toy"), safety=files), image)
    except ImageRefused:
        return True
    return False


def test_input_is_that_of_transformers(tmp_path: Path) -> None:
    """The input of a vision transformer's classifier is that of transformers' image processor."""
    processor = ViTImageProcessorPil(size={"height": SIDE, "width": SIDE})
    folder = write_classifier(tmp_path)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor.to_dict()))
    files = read_safety_checker(SafetyOptions(folder))
    for image in random_images():
        expected = processor(image, return_tensors="np").pixel_values
        assert np.allclose(prepare(image, files.preprocessing), expected, atol=1e-5)
