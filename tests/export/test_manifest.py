"""The manifest of a pipeline, from its configurations alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

diffusers = pytest.importorskip("diffusers")
manifest = pytest.importorskip("tintype.export.manifest")
families = pytest.importorskip("tintype.export.families")


class Config(dict[str, Any]):
    """A component's configuration: its keys are attributes too."""

    def __getattr__(self, key: str) -> Any:
        return self[key]


UNET = {"sample_size": 64, "down_block_types": ["a", "b"]}
TRAILING = {"timestep_spacing": "trailing"}


def describe(family: str, scheduler: Any, source: str = "model", denoiser: dict[str, Any] | None = None) -> Any:
    """Return the manifest of a pipeline of `family`, from a folder called `source`."""
    row = next(row for row in families.FAMILIES if row.name == family)
    parts = {
        row.denoiser: SimpleNamespace(config=Config(denoiser or UNET)),
        "vae": SimpleNamespace(
            config=Config(block_out_channels=[1, 2, 3, 4], latent_channels=4, scaling_factor=0.18215)
        ),
    }
    parts |= {part: SimpleNamespace() for part in row.parts if part.startswith("text_encoder")}
    pipeline = SimpleNamespace(config={"_name_or_path": "/data/turbo/unpacked"}, scheduler=scheduler, **parts)
    return manifest.describe(pipeline, row, source)


@pytest.mark.parametrize(
    ("family", "name", "settings", "source", "steps"),
    [
        ("sd", "EulerDiscrete", TRAILING, "sd-turbo", 1),
        ("sdxl", "EulerAncestralDiscrete", TRAILING, "sdxl-turbo", 1),
        ("sdxl", "EulerAncestralDiscrete", TRAILING, "SDXL_Turbo", 1),
        ("sd", "DDIM", {**TRAILING, "clip_sample": False}, "my-model", 50),
        ("sd", "EulerDiscrete", TRAILING, "turbographics", 50),
        ("sdxl", "DPMSolverMultistep", TRAILING, "stable-diffusion-xl-base-1.0", 50),
        ("sdxl", "EulerDiscrete", {}, "sdxl-turbo", 50),
        ("sd", "EulerDiscrete", {**TRAILING, "prediction_type": "v_prediction"}, "sd-turbo", 50),
    ],
)
def test_only_distilled_models_get_their_defaults(
    family: str, name: str, settings: dict[str, Any], source: str, steps: int
) -> None:
    """The spacing of timesteps alone does not identify a distillation: other models use it too."""
    scheduler = getattr(diffusers, f"{name}Scheduler")(**settings)
    defaults = describe(family, scheduler, source)["defaults"]
    assert defaults["steps"] == steps
    assert (defaults["guidance_scale"] == 0) == (steps == 1)


def test_a_fine_tune_is_recognised_by_its_base_model() -> None:
    """A UNet's configuration names the repository that it was trained from."""
    scheduler = diffusers.EulerDiscreteScheduler(**TRAILING)
    unet = UNET | {"_name_or_path": "stabilityai/sd-turbo"}
    assert describe("sd", scheduler, "paintings", unet)["defaults"]["steps"] == 1


@pytest.mark.parametrize(
    ("embeds", "settings", "steps"),
    [(False, {}, 4), (False, {"use_dynamic_shifting": True}, 28), (True, {"use_dynamic_shifting": True}, 28)],
)
def test_flux_is_distilled_without_guidance_and_shift(embeds: bool, settings: dict[str, Any], steps: int) -> None:  # noqa: FBT001
    """Schnell is distilled; a FLUX without guidance whose levels depend on the size is de-distilled."""
    flux = {"patch_size": 1, "guidance_embeds": embeds}
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(**settings)
    assert describe("flux", scheduler, "flux", flux)["defaults"]["steps"] == steps


@pytest.mark.parametrize(
    ("name", "settings", "prediction"),
    [
        ("LTXEulerAncestralRF", {}, "flow"),
        ("FlowMatchHeunDiscrete", {}, "flow"),
        ("UniPCMultistep", {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}, "flow"),
        ("DDIM", {"clip_sample": False, "prediction_type": "v_prediction"}, "v"),
    ],
)
def test_the_prediction_is_read_as_the_service_reads_it(name: str, settings: dict[str, Any], prediction: str) -> None:
    """The class and its settings decide, not the class's name."""
    assert describe("sd", getattr(diffusers, f"{name}Scheduler")(**settings))["prediction"] == prediction


def test_an_unsupported_scheduler_setting_is_refused() -> None:
    """The message names the setting, before anything is written."""
    with pytest.raises(manifest.ExportRefusal, match="clip_sample True is not supported"):
        describe("sd", diffusers.DDIMScheduler())
