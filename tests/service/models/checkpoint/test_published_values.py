"""The configurations that a file lacks: its pipeline, its noise levels, and what it predicts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.support.models import header_shapes as shapes
from tintype.service.models.checkpoint.header import read_header
from tintype.service.models.checkpoint.published_values import (
    V_TRACE,
    model_index,
    prediction_type,
    scheduler_config,
    vae_values,
)
from tintype.service.models.checkpoint.recognition import recognize
from tintype.service.models.families.table import by_pipeline
from tintype.service.models.files import ModelFileError
from tintype.service.models.safetensors import TensorFile
from tintype.service.numerics import Diffusion
from tintype.service.numerics.path import Levels, Prediction

if TYPE_CHECKING:
    from tintype.service.models.checkpoint.recognition import Checkpoint

FAMILIES = {"sd1": "sd", "sd2": "sd", "refiner": "sdxl_refiner", "qwen_edit": "qwen_image_edit_plus"}


@pytest.mark.parametrize("name", shapes.FILES)
def test_family(name: str) -> None:
    """The pipeline's class gives the family; an inpainting model has a class of its own."""
    index = model_index(recognize(shapes.header(shapes.FILES[name])))
    absent = [component for component, class_ in index.items() if class_ == [None, None]]
    family = by_pipeline(index["_class_name"], absent)
    assert family is not None
    first = name.split(maxsplit=1)[0]
    assert family.name == FAMILIES.get(first, first)
    assert any(word in index["_class_name"] for word in ("Inpaint", "Fill")) == ("inpainting" in name)
    assert {family.part_of(graph) for graph in family.required_graphs if "vae" not in graph} <= index.keys()


def diffusion(name: str, *markers: str, **metadata: str) -> Diffusion:
    found = recognize(shapes.header({**shapes.FILES[name], **dict.fromkeys(markers, (0,))}, metadata=metadata))
    return Diffusion.from_config(scheduler_config(found, prediction_type(found), guided=name == "flux"))


def test_noise_levels() -> None:
    """The service reads each configuration: samplers, predictions and shifts are those of the published folders."""
    read = {
        name: diffusion(name)
        for name in (
            "sd1",
            "sdxl",
            "refiner",
            "flux",
            "flux schnell",
            "flux2",
            "qwen_image",
            "sd3",
            "z_image",
            "lumina2 whole",
        )
    }
    assert {name: (each.sampler, each.prediction) for name, each in read.items()} == {
        "sd1": ("plms", Prediction.EPSILON),
        "sdxl": ("euler", Prediction.EPSILON),
        "refiner": ("euler", Prediction.EPSILON),
        "flux": ("euler", Prediction.FLOW),
        "flux schnell": ("euler", Prediction.FLOW),
        "flux2": ("euler", Prediction.FLOW),
        "qwen_image": ("euler", Prediction.FLOW),
        "sd3": ("euler", Prediction.FLOW),
        "z_image": ("euler", Prediction.FLOW),
        "lumina2 whole": ("euler", Prediction.FLOW),
    }
    assert read["sdxl"].spacing == "leading"
    assert read["flux"].shift != read["flux schnell"].shift
    assert read["qwen_image"].shift.terminal == 0.02


def test_markers_of_v_prediction() -> None:
    """SDXL models mark v-prediction, and a last level without signal, by empty tensors."""
    plain, marked = diffusion("sdxl", "v_pred"), diffusion("sdxl", "v_pred", "ztsnr")
    assert plain.prediction is marked.prediction is Prediction.V
    assert plain.alphas_cumprod[-1] > 0
    assert marked.alphas_cumprod[-1] == 0
    assert (plain.spacing, marked.spacing) == ("leading", "trailing")
    assert diffusion("sdxl", "ztsnr").prediction is Prediction.EPSILON  # undefined without signal


HIGH, LOW, MEAN, DEVIATION = "edm_vpred.sigma_max", "edm_vpred.sigma_min", "edm_mean", "edm_std"


def edm_file(path: Path, **markers: list[float]) -> Checkpoint:
    """Write an SDXL file with markers of these numbers, with 16 bits each, and return what it is taken for."""
    named = {"high": HIGH, "low": LOW, "mean": MEAN, "deviation": DEVIATION}
    shapes.write_file(path, shapes.FILES["sdxl"])
    whole = TensorFile(path)
    fields = {
        name: {"dtype": each.dtype, "shape": each.shape, "data_offsets": [each.begin, each.end]}
        for name, each in whole.entries.items()
    }
    at = path.stat().st_size - whole.data
    numbers = b""
    for key, values in markers.items():
        data = np.array(values, np.float16).tobytes()
        begin = at + len(numbers)
        shape = [len(values)] if len(values) != 1 else []
        fields[named[key]] = {"dtype": "F16", "shape": shape, "data_offsets": [begin, begin + len(data)]}
        numbers += data
    text = json.dumps(fields).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)
        file.seek(0, 2)
        file.write(numbers)
    return recognize(read_header(path))


@pytest.mark.parametrize(
    ("markers", "levels"),
    [
        ({"high": [96.0], "low": [0.25]}, (96.0, 0.25)),
        ({"high": [96.0]}, (96.0, 0.002)),
        ({"low": [0.25]}, (120.0, 0.25)),
        ({"high": []}, (120.0, 0.002)),
    ],
)
def test_cosxl(tmp_path: Path, markers: dict[str, list[float]], levels: tuple[float, float]) -> None:
    """CosXL predicts v between the levels of its markers, also under a name that another model has."""
    found = edm_file(tmp_path / "sd_xl_turbo_cosxl.safetensors", **markers)
    read = Diffusion.from_config(scheduler_config(found, prediction_type(found), guided=False))
    assert (read.levels, read.prediction, read.sampler) == (Levels.EDM, Prediction.V, "euler")
    assert (read.sigma_max, read.sigma_min, read.data_deviation, read.rho) == (*levels, 1.0, 0.0)
    assert "latents_mean" not in vae_values(found)


def test_playground(tmp_path: Path) -> None:
    """Playground v2.5 is EDM between two fixed levels; its markers scale each channel of the latents."""
    mean, deviation = [-1.5, 1.75, 0.25, -0.5], [8.5, 5.75, 7.5, 6.25]
    found = edm_file(tmp_path / "playground.safetensors", mean=mean, deviation=deviation)
    read = Diffusion.from_config(scheduler_config(found, prediction_type(found), guided=False))
    assert (read.levels, read.prediction, read.sampler) == (Levels.EDM, Prediction.EDM, "dpmpp_2m")
    assert (read.sigma_max, read.sigma_min, read.data_deviation, read.rho) == (160.0, 0.004, 0.5, 7.0)
    values = vae_values(found)
    assert (values["scaling_factor"], values["latents_mean"], values["latents_std"]) == (0.5, mean, deviation)


@pytest.mark.parametrize(
    ("markers", "problem"),
    [
        ({"high": [96.0, 1.0]}, r"edm_vpred.sigma_max must have 1 numbers; its shape is \[2\]"),
        ({"low": [float("nan")]}, r"edm_vpred.sigma_min must be finite; got \[nan\]"),
        ({"mean": [1.0] * 4}, "edm_std is missing"),
        ({"deviation": [1.0] * 4}, "edm_mean is missing"),
        ({"mean": [1.0] * 3, "deviation": [1.0] * 4}, r"edm_mean must have 4 numbers; its shape is \[3\]"),
        ({"mean": [1.0] * 4, "deviation": [1.0, 0.0, 1.0, 1.0]}, "edm_std must be above 0"),
    ],
)
def test_damaged_markers(tmp_path: Path, markers: dict[str, list[float]], problem: str) -> None:
    """A marker that is not what it says is refused by its name."""
    found = edm_file(tmp_path / "model.safetensors", **markers)
    with pytest.raises(ModelFileError, match=f"model.safetensors: {problem}"):
        scheduler_config(found, "epsilon", guided=False) | vae_values(found)


@pytest.mark.parametrize(
    ("stem", "name", "family"),
    [
        ("flux1-kontext-dev", "flux", "flux_kontext"),
        ("FLUX.1-Kontext_fp8_scaled", "flux whole", "flux_kontext"),
        ("flux1-dev", "flux", "flux"),
        ("flux1-krea-dev", "flux", "flux"),
        ("kontext-fill", "flux_fill inpainting", "flux_fill"),
        ("kontext", "chroma", "chroma"),
    ],
)
def test_kontext(stem: str, name: str, family: str) -> None:
    """A FLUX.1 file whose name has the word edits images: its tensors are those of dev."""
    found = recognize(shapes.header(shapes.FILES[name], Path(f"models/{stem}.safetensors")))
    named = by_pipeline(model_index(found)["_class_name"])
    assert named is not None
    assert named.name == family


@pytest.mark.parametrize(
    ("stem", "name", "spacing"),
    [
        ("sd_xl_turbo_1.0_fp16", "sdxl", "trailing"),
        ("sd_turbo", "sd2", "trailing"),
        ("SDXL-Turbo", "sdxl", "trailing"),
        ("dreamshaperXL_turbo", "sdxl", "leading"),
        ("sd_xl_base_1.0", "sdxl", "leading"),
    ],
)
def test_turbo(stem: str, name: str, spacing: str) -> None:
    """Stability AI's models for one step have the levels of their folders; other names with the word do not."""
    found = recognize(shapes.header(shapes.FILES[name], Path(f"models/{stem}.safetensors")))
    config = scheduler_config(found, prediction_type(found), guided=False)
    assert (config["timestep_spacing"], config["prediction_type"]) == (spacing, "epsilon")


@pytest.mark.parametrize(
    ("stem", "distilled"),
    [
        ("flux-2-klein-4b", True),
        ("flux2-klein-9b-fp8", True),
        ("flux-2-klein-base-4b", False),
        ("FLUX.2-klein-base-9B", False),
        ("based-on-klein", True),
    ],
)
def test_klein(stem: str, distilled: bool) -> None:  # noqa: FBT001
    """FLUX.2 klein is distilled unless the file's name has the word base."""
    found = recognize(shapes.header(shapes.FILES["flux2_klein"], Path(f"models/{stem}.safetensors")))
    assert model_index(found)["is_distilled"] is distilled


@pytest.mark.parametrize(
    ("stem", "shift"),
    [
        ("z_image_bf16", 6),
        ("Z-Image-fp8", 6),
        ("z_image_turbo_bf16", 3),
        ("ZImageTurbo", 3),
        ("someones-own-style", 3),
    ],
)
def test_z_image(stem: str, shift: float) -> None:
    """A file is of Z-Image-Turbo unless it has the name of Z-Image, as its publishers write it."""
    found = recognize(shapes.header(shapes.FILES["z_image"], Path(f"models/{stem}.safetensors")))
    assert scheduler_config(found, "epsilon", guided=False)["shift"] == shift


@pytest.mark.parametrize("name", ["sd1", "sd2", "sdxl"])
@pytest.mark.parametrize(("said", "prediction"), [("v", Prediction.V), ("epsilon", Prediction.EPSILON)])
def test_metadata(name: str, said: str, prediction: Prediction) -> None:
    """Trainers write the prediction into the metadata."""
    assert diffusion(name, **{"modelspec.prediction_type": said}).prediction is prediction


@pytest.mark.parametrize(
    ("deviation", "prediction"), [(0.05, "epsilon"), (0.2, "v_prediction"), (None, "v_prediction")]
)
def test_stable_diffusion_2(tmp_path: Path, deviation: float | None, prediction: str) -> None:
    """A bias of the UNet shows what Stable Diffusion 2 predicts; without it, v as the models of 768 pixels do."""
    trace = {f"{shapes.DENOISER}{V_TRACE}": (320,)} if deviation else {}
    path = shapes.write_file(tmp_path / "model.safetensors", {**shapes.FILES["sd2"], **trace})
    if deviation:
        write_normal(path, deviation)
    assert prediction_type(recognize(read_header(path))) == prediction


def write_normal(path: Path, deviation: float) -> None:
    """Write numbers of a deviation into the last tensor of a file, as 8-bit floats: 0.25 or 0, and their opposites."""
    share = (deviation / 0.25) ** 2
    codes = np.where(np.arange(320) % 100 < 100 * share, 0x28, 0)  # 0x28 is 0.25
    codes = codes | np.where(codes & np.cumsum(codes > 0) % 2 > 0, 0x80, 0)
    with path.open("r+b") as file:
        file.seek(-320, 2)
        file.write(codes.astype(np.uint8).tobytes())


def test_inpainting_model_of_stable_diffusion_2() -> None:
    """The inpainting model of Stable Diffusion 2 predicts noise."""
    tensors = {**shapes.FILES["sd2"], **shapes.below(shapes.DENOISER, shapes.unet(linear=True, text=1024, channels=9))}
    assert prediction_type(recognize(shapes.header(tensors))) == "epsilon"
