"""Requests of the web UI's clients, as their sources build them, and images for them.

Sources: open-webui `routers/images.py`, SillyTavern `src/endpoints/stable-diffusion.js`, LibreChat
`tools/structured/StableDiffusion.js`, Dify `builtin/stablediffusion`, lite.koboldai.net `index.html`,
Auto-Photoshop-StableDiffusion-Plugin `sdapi_py_re.js`, stable-gimpfusion `stable_gimpfusion.py`.
"""

from __future__ import annotations

import base64
from io import BytesIO
from typing import TYPE_CHECKING, Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BASE = "/sdapi/v1"

OPEN_WEBUI = {
    "prompt": "a lake",
    "batch_size": 2,
    "width": 512,
    "height": 512,
    "steps": 20,
    "negative_prompt": "blurry",
}
SILLY_TAVERN = {
    "url": "http://127.0.0.1:7860",
    "auth": "",
    "prompt": "a lake",
    "negative_prompt": "blurry",
    "sampler_name": "Euler a",
    "scheduler": "Karras",
    "steps": 20,
    "cfg_scale": 7,
    "width": 512,
    "height": 512,
    "restore_faces": False,
    "enable_hr": False,
    "hr_upscaler": "Latent",
    "hr_scale": 2,
    "hr_additional_modules": [],
    "denoising_strength": 0.7,
    "hr_second_pass_steps": 0,
    "seed": 7,
    "override_settings": {"CLIP_stop_at_last_layers": 1},
    "override_settings_restore_afterwards": True,
    "clip_skip": 1,
    "save_images": True,
    "send_images": True,
    "do_not_save_grid": False,
    "do_not_save_samples": False,
}
STABLE_DIFFUSION_CPP = {
    "prompt": "a lake",
    "negative_prompt": "",
    "width": 512,
    "height": 512,
    "steps": 20,
    "cfg_scale": 7,
    "seed": -1,
    "batch_size": 1,
    "sampler_name": "euler_a",
    "scheduler": "discrete",
    "clip_skip": 1,
}
LIBRE_CHAT = {"prompt": "a lake", "negative_prompt": "x", "cfg_scale": 4.5, "steps": 22, "width": 1024, "height": 1024}
DIFY = {
    "prompt": "a lake",
    "negative_prompt": "",
    "sampler_index": "DPM++ SDE Karras",
    "seed": -1,
    "subseed": -1,
    "subseed_strength": 0,
    "seed_resize_from_h": -1,
    "seed_resize_from_w": -1,
    "batch_size": 1,
    "n_iter": 1,
    "steps": 10,
    "cfg_scale": 7,
    "width": 1024,
    "height": 1024,
    "restore_faces": False,
    "do_not_save_samples": False,
    "do_not_save_grid": False,
    "eta": 0,
    "denoising_strength": 0,
    "s_min_uncond": 0,
    "s_churn": 0,
    "s_tmax": 0,
    "s_tmin": 0,
    "s_noise": 0,
    "override_settings": {"sd_model_checkpoint": "tiny"},
    "override_settings_restore_afterwards": False,
    "refiner_switch_at": 0,
    "disable_extra_networks": False,
    "comments": {},
    "enable_hr": False,
    "firstphase_width": 0,
    "firstphase_height": 0,
    "hr_scale": 2,
    "hr_second_pass_steps": 0,
    "hr_resize_x": 0,
    "hr_resize_y": 0,
    "hr_prompt": "",
    "hr_negative_prompt": "",
    "script_args": [],
    "send_images": True,
    "save_images": False,
    "alwayson_scripts": {},
}
KOBOLD = {
    "prompt": "a lake",
    "seed": 12345678,
    "sampler_name": "Euler a",
    "batch_size": 1,
    "n_iter": 1,
    "steps": 20,
    "cfg_scale": 7,
    "width": 512,
    "height": 512,
    "negative_prompt": "blurry",
    "do_not_save_samples": True,
    "do_not_save_grid": True,
    "enable_hr": False,
    "eta": 0,
    "s_churn": 0,
    "s_tmax": 0,
    "s_tmin": 0,
    "s_noise": 1,
    "override_settings": {
        "sd_model_checkpoint": "tiny",
        "eta_noise_seed_delta": 0,
        "CLIP_stop_at_last_layers": 1.0,
        "ddim_discretize": "uniform",
        "img2img_fix_steps": False,
        "sd_hypernetwork": "None",
        "inpainting_mask_weight": 1,
        "initial_noise_multiplier": 1,
        "comma_padding_backtrack": 20,
    },
}
PHOTOSHOP = {
    "prompt": "a lake",
    "negative_prompt": "",
    "steps": 20,
    "sampler_index": "Euler a",
    "width": 512,
    "height": 512,
    "cfg_scale": 7,
    "seed": -1,
    "batch_size": 1,
    "n_iter": 1,
    "use_prompt_shortcut": True,
    "prompt_shortcut_ui_dict": {"a": "b"},
    "uniqueDocumentId": "d41d8cd9",
    "restore_faces": False,
    "enable_hr": False,
    "script_args": [],
}
GIMP = {
    "prompt": "a lake",
    "negative_prompt": "",
    "steps": 20,
    "cfg_scale": 7.5,
    "denoising_strength": 0.8,
    "width": 512.0,
    "height": 512.0,
    "sampler_index": "Euler a",
    "batch_size": 12,
    "seed": -1,
}
BODIES: dict[str, dict[str, Any]] = {
    "open-webui": OPEN_WEBUI,
    "sillytavern": SILLY_TAVERN,
    "stable-diffusion.cpp": STABLE_DIFFUSION_CPP,
    "librechat": LIBRE_CHAT,
    "dify": DIFY,
    "kobold": KOBOLD,
    "photoshop": PHOTOSHOP,
    "gimp": GIMP,
}


def png(width: int = 64, height: int = 48, colour: str = "navy", text: str = "") -> bytes:
    """Return an image of one colour with `text` as its parameters."""
    return png_of(Image.new("RGB", (width, height), colour), text)


def png_of(image: Image.Image, text: str = "") -> bytes:
    file, info = BytesIO(), PngInfo()
    if text:
        info.add_text("parameters", text)
    image.save(file, "PNG", pnginfo=info)
    return file.getvalue()


def encode_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def open_image(data: bytes | str) -> Image.Image:
    """Return the image in a file, or in its base64."""
    image = Image.open(BytesIO(data if isinstance(data, bytes) else base64.b64decode(data, validate=True)))
    image.load()
    return image


def infotext(request: pb.GenerateImagesRequest, seed: int) -> str:
    """Return the text that the service writes into a file, reduced to what tests read."""
    return f"{request.prompt}\nSteps: {request.steps or 20}, Sampler: Euler a, Seed: {seed}, Model: {request.model}"


async def make_images(request: pb.GenerateImagesRequest, _: Any) -> AsyncIterator[pb.StreamImagesResponse]:
    """Make images like the service: real files, with text, in the requested size."""
    width, height = request.width or 96, request.height or 64
    for index in range(request.count):
        seed = request.seed + index
        data = png(width, height, text=infotext(request, seed))
        made = pb.Image(index=index, seed=seed, data=data, mime_type="image/png", width=width, height=height)
        yield pb.StreamImagesResponse(image=made)
    yield pb.StreamImagesResponse(completed=pb.Completed(model=request.model))
