"""Generate the images of a job with diffusers' pipeline for its task: from text, from an image, with a mask, edited."""

from __future__ import annotations

import json
from inspect import signature
from io import BytesIO
from typing import TYPE_CHECKING, Any

import diffusers
import numpy as np
import torch
from PIL import Image

from tintype.export.console import quiet
from tintype.export.qwen_processor import complete

if TYPE_CHECKING:
    from pathlib import Path

    from tintype.service.job import Job

TASKS = {"text": "", "edit": "", "image": "Img2Img", "mask": "Inpaint"}
# Settings of diffusers that equal the service's behaviour; its defaults change the size or clean the prompt.
SERVICE_SETTINGS = {
    "use_resolution_binning": False,
    "clean_caption": False,
    "enable_prompt_rewrite": False,
    "use_pe": False,
    "add_watermarker": False,
    "requires_safety_checker": False,
}


def read_pipeline(folder: Path) -> Any:
    """Return the pipeline of a folder; random ones have no processors, which diffusers wants to be named."""
    index = json.loads((folder / "model_index.json").read_text("utf-8"))
    without = [name for name in ("processor", "text_processor") if name in index]
    return diffusers.DiffusionPipeline.from_pretrained(folder, **dict.fromkeys(without))


def task_of(job: Job) -> str:
    return "mask" if job.mask else "image" if job.image else "edit" if job.references else "text"


def pipeline_for(source: Any, task: str) -> Any:
    """Return the pipeline of `source`'s family for a task, with the components and settings of `source`."""
    stem = type(source).__name__.removesuffix("Pipeline").removesuffix("Img2Img").removesuffix("Inpaint")
    kind = getattr(diffusers, f"{stem}{TASKS[task]}Pipeline", type(source))  # FluxFillPipeline takes the mask itself
    if kind is diffusers.ChromaInpaintPipeline:  # diffusers 0.42 reads a field that this transformer does not have
        source.transformer.register_to_config(guidance_embeds=False)
    complete(source)
    known = signature(kind.__init__).parameters
    settings = {name: source.config[name] for name in known if name in source.config and name not in source.components}
    components = {name: component for name, component in source.components.items() if name in known}
    pipeline = kind(
        **components, **settings | {name: value for name, value in SERVICE_SETTINGS.items() if name in known}
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def images_of_task(source: Any, job: Job, size: tuple[int, int], **settings: Any) -> Any:
    """Generate the images of `job`, which have `size`, one by one; image k has the seed `seed + k`.

    With several generators at once, some of diffusers' pipelines draw the posterior of all images from the first.
    """
    task = task_of(job)
    pipeline = pipeline_for(source, task)
    known = signature(type(pipeline).__call__).parameters
    given = {
        "negative_prompt": job.negative_prompt or None,
        "num_inference_steps": job.steps,
        "guidance_scale": job.guidance_scale,
        "guidance_rescale": job.guidance_rescale,
        "width": size[0],
        "height": size[1],
        "max_area": size[0] * size[1],
        **SERVICE_SETTINGS,
        **_images(job, size),
        **settings,
    }
    if "negative_prompt_embeds" in known and "negative_prompt" not in known:  # FLUX.2 klein
        with torch.no_grad():
            given["negative_prompt_embeds"] = pipeline.encode_prompt(job.negative_prompt)[0]
    if type(pipeline).__name__.startswith("QwenImage"):
        given |= {"true_cfg_scale": job.guidance_scale, "negative_prompt": job.negative_prompt or " "}
    if "complex_human_instruction" in known:
        given["negative_prompt"] = job.negative_prompt
    chosen = {name: value for name, value in given.items() if name in known and value is not None}
    if "intermediate_timesteps" in known and job.steps != 2:
        chosen["intermediate_timesteps"] = None  # it has a default
    with quiet(), torch.no_grad(), _corrected_decoding(pipeline):
        images = [
            pipeline(
                prompt=job.prompt,
                generator=torch.Generator("cpu").manual_seed((job.seed or 0) + k),
                output_type="np",
                **chosen,
            ).images
            for k in range(job.count)
        ]
    return np.moveaxis(np.concatenate(images), -1, 1)


def _images(job: Job, size: tuple[int, int]) -> dict[str, Any]:
    if job.references:
        images = [Image.open(BytesIO(data)).convert("RGB") for data in job.references]
        return {"image": images if len(images) > 1 else images[0]}
    if not job.image:
        return {}
    image = Image.open(BytesIO(job.image)).resize(size, Image.Resampling.LANCZOS)
    mask = {"mask_image": Image.open(BytesIO(job.mask))} if job.mask else {}
    return {"image": image, "strength": job.strength, **mask}


class _corrected_decoding:  # noqa: N801 - used as a function
    """Work around a fault of diffusers 0.42: its SD3 pipeline for masks decodes without the VAE's shift."""

    def __init__(self, pipeline: Any) -> None:
        self._vae = pipeline.vae
        forgotten = type(pipeline).__name__ == "StableDiffusion3InpaintPipeline"
        self._shift = pipeline.vae.config.shift_factor if forgotten else 0.0

    def __enter__(self) -> None:
        decode = self._decode = self._vae.decode
        if self._shift:
            self._vae.decode = lambda latents, **options: decode(latents + self._shift, **options)

    def __exit__(self, *_: object) -> None:
        self._vae.decode = self._decode
