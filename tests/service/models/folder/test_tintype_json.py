"""The fields of tintype.json are read; errors name wrong ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from tintype.service.errors import ModelBroken
from tintype.service.models.folder.reader import read_manifest
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.spec import LatentToRgb, Preset
from tintype.service.numerics import Prediction

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CHANNELS = read_manifest(BUILTIN).spec.latent_channels
# Defaults of a model that is not distilled.
GUIDED = {"steps": 20, "guidance_scale": 3.0}
Edit: TypeAlias = "Callable[[Path, Callable[[dict[str, Any]], object]], None]"


def test_tintype_json_overrides_configurations(folder: Path, edit: Edit) -> None:
    """A value in tintype.json is used also if a configuration has another one."""
    new = {
        "prediction": "epsilon",
        "native_sizes": [[128, 64], [64, 64]],
        "scaling_factor": 2,
        "defaults": {"steps": 3, "guidance_scale": 1, "sampler": "dpmpp_2m", "schedule": "karras"},
        "qualities": {"hd": {"steps": 30}, "low": None},
        "styles": {"vivid": {"template": "{prompt}, vivid", "negative_prompt": "grey"}},
        "some_future_key": [1, 2],
    }
    edit(folder / "tintype.json", lambda c: c.update(new))
    edit(folder / "scheduler/scheduler_config.json", lambda c: c.update(rescale_betas_zero_snr=False))
    manifest = read_manifest(folder)
    spec = manifest.spec
    assert spec.diffusion.prediction is Prediction.EPSILON
    assert spec.native_sizes == ((128, 64), (64, 64))
    assert (spec.defaults.width, spec.defaults.height) == (128, 64)
    assert (spec.defaults.sampler, spec.defaults.schedule, spec.defaults.steps) == ("dpmpp_2m", "karras", 3)
    assert manifest.config.scaling_factor == 2.0
    assert spec.qualities["hd"] == Preset(steps=30)
    assert "low" not in spec.qualities
    assert spec.styles["vivid"] == Preset(template="{prompt}, vivid", negative_prompt="grey")


def test_tintype_json_may_remove_all_presets(folder: Path, edit: Edit) -> None:
    """Null removes all; without the field the general presets apply, those of a model with guidance."""
    edit(folder / "tintype.json", lambda c: c.update(qualities=None, styles=None))
    assert (read_manifest(folder).spec.qualities, read_manifest(folder).spec.styles) == ({}, {})
    edit(folder / "tintype.json", lambda c: (c.pop("qualities"), c.pop("styles"), c["defaults"].update(GUIDED)))
    spec = read_manifest(folder).spec
    assert spec.qualities["hd"].steps == round(1.5 * spec.defaults.steps)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"clip_layer": False}, "clip_layer must be a whole number, 0 for none, not False"),
        ({"clip_layer": "2"}, "clip_layer must be a whole number, 0 for none, not '2'"),
        ({"tintype": 2}, "tintype.json: tintype must be 1, not 2"),
        ({"family": "sdxxl"}, "family must be one of sd, lcm, sdxl, .*, not 'sdxxl'"),
        ({"guidance": "some"}, "guidance must be one of classifier_free, embedded, none, not 'some'"),
        ({"prediction": "noise"}, "prediction must be one of epsilon, v, sample, flow, not 'noise'"),
        ({"prediction": ["v"]}, r"prediction must be one of epsilon, v, sample, flow, not \['v'\]"),
        ({"native_sizes": []}, r"native_sizes must be a list of at least one \[width, height\]"),
        ({"native_sizes": [[100, 64]]}, "native size 100x64 must be a multiple of"),
        ({"size_multiple": 24}, "size_multiple 24 must be a multiple of downscale 16"),
        ({"max_tokens": 0}, "max_tokens must be a whole number, at least 1, not 0"),
        ({"scaling_factor": "1"}, "scaling_factor must be a number, not '1'"),
        ({"scaling_factor": 0}, "scaling_factor must not be 0: latents are divided by it"),
        ({"native_sizes": [[8192, 64]]}, "native_sizes must be 16 to 4096, not 8192"),
        ({"batched_timestep": 1}, "batched_timestep must be true or false, not 1"),
        ({"name": " "}, "name must not be empty"),
        ({"defaults": {"steps": -1}}, "defaults steps must be a whole number"),
        ({"defaults": {"steps": 500}}, "defaults steps must be 1 to 150, not 500"),
        ({"defaults": {"guidance_scale": -1}}, "defaults guidance_scale must be 0 to 50, not -1"),
        ({"defaults": {"guidance_rescale": 2}}, "defaults guidance_rescale must be 0 to 1, not 2"),
        ({"qualities": {"hd": {"steps": 500}}}, "qualities steps must be 1 to 150, not 500"),
        ({"defaults": {"sampler": "eulr"}}, "defaults: sampler 'eulr' is not known; did you mean 'euler'"),
        ({"preview": {"latent_to_rgb": [[1, 2]], "bias": [0, 0, 0]}}, "preview must hold three numbers"),
        (
            {"preview": {"latent_to_rgb": [[1, 2, 3]], "bias": [0, 0, 0]}},
            f"must have {CHANNELS} rows, one for each latent channel",
        ),
        ({"qualities": {"hd": {"step": 1}}}, "qualities has the unknown field 'step'; supported are steps,"),
        ({"styles": []}, r"styles must be an object, not \[\]"),
        ({"styles": {"old": {"template": "old"}}}, "styles template must contain {prompt} once"),
    ],
)
def test_wrong_fields_are_named(folder: Path, edit: Edit, content: dict[str, Any], problem: str) -> None:
    """The error names the field, the value and what would be right."""
    edit(folder / "tintype.json", lambda c: c.update(content))
    with pytest.raises(ModelBroken, match=problem):
        read_manifest(folder)


def test_the_preview_is_read(folder: Path, edit: Edit) -> None:
    """The linear map is read unchanged."""
    rows = [[i, i + 1, i + 2] for i in range(CHANNELS)]
    edit(folder / "tintype.json", lambda c: c.update(preview={"latent_to_rgb": rows, "bias": [0.5, 0.25, 0]}))
    assert read_manifest(folder).spec.latent_to_rgb == LatentToRgb(
        tuple((r, g, b) for r, g, b in rows), (0.5, 0.25, 0.0)
    )
