"""What the fields of `/sdapi/v1` mean, by type: its clients use some of the dialects' names for other things.

It stands outside `sdapi`, since `schemas` reads it, and `sdapi` is built upon that.
"""

from __future__ import annotations

_NONE = "Without effect here"
_OWN = "Absent or null: the model's own"

_REQUEST = {
    "prompt": "What the picture shall show; <lora:NAME:WEIGHT> applies an adapter. Empty: as the model will",
    "negative_prompt": "What it shall not show",
    "seed": "Draws the same picture again; -1 draws one by chance",
    "sampler_name": f"Name of the sampler, as GET samplers lists it. {_OWN}",
    "sampler_index": "Another name for sampler_name",
    "scheduler": f"Name of the schedule, as GET schedulers lists it. {_OWN}",
    "batch_size": "Pictures at a time; times n_iter at most 100",
    "n_iter": "How many times",
    "steps": f"Denoising steps, at most 150; 0 counts as absent. {_OWN}",
    "cfg_scale": f"How closely to follow the prompt. {_OWN}",
    "width": f"Pixels; 0 counts as absent. {_OWN}",
    "height": f"Pixels; 0 counts as absent. {_OWN}",
    "eta": "Noise that DDIM adds at each step",
    "denoising_strength": "How far the result may leave the picture, 0 to 1. Absent or null: 0.75",
    "override_settings": "Settings of this request: sd_model_checkpoint is the model, samples_format the type of files",
    "override_settings_restore_afterwards": "Whether the model that is chosen stays the one it was",
    "disable_extra_networks": "Whether <lora:NAME:WEIGHT> is taken as text",
    "script_name": "An extension; there are none here, so any name is an error",
    "alwayson_scripts": "Extensions by name; there are none here, so any name is an error",
    "send_images": "Whether the answer has the pictures",
}
_WITHOUT = (
    "styles", "subseed", "subseed_strength", "seed_resize_from_h", "seed_resize_from_w", "distilled_cfg_scale",
    "restore_faces", "tiling", "do_not_save_samples", "do_not_save_grid", "s_min_uncond", "s_churn", "s_tmax", "s_tmin",
    "s_noise", "clip_skip", "refiner_checkpoint", "refiner_switch_at", "comments", "script_args", "save_images",
    "force_task_id", "infotext",
)  # fmt: skip
_TEXT_TO_IMAGE = {
    "enable_hr": "Whether a second pass draws each picture again, larger",
    "hr_scale": "How many times larger; hr_resize_x and hr_resize_y go before it",
    "hr_upscaler": "Enlarges between the passes; what is not Lanczos is named as ignored",
    "hr_second_pass_steps": "Steps of the second pass; 0: as many as the first",
    "hr_resize_x": "Width after the second pass in pixels; 0: by hr_scale",
    "hr_resize_y": "Height after the second pass in pixels; 0: by hr_scale",
}
_OF_HIRES = (
    "firstphase_width", "firstphase_height", "hr_checkpoint_name", "hr_sampler_name", "hr_scheduler", "hr_prompt",
    "hr_negative_prompt",
)  # fmt: skip
_IMAGE_TO_IMAGE = {
    "init_images": "What to start from, as base64, a data: URL or a URL; of several the first",
    "resize_mode": "Where the sizes differ: 0 stretch, 1 crop, 2 fill",
    "mask": "What to repaint: white; as init_images",
    "mask_blur": "Pixels over which the mask's edge is softened",
    "mask_blur_x": "The same, horizontally",
    "mask_blur_y": "The same, vertically",
    "inpainting_fill": "What is below the mask at first: 0 the surroundings, 1 the picture",
    "inpaint_full_res": "Whether only the surroundings of the mask are drawn, at full size",
    "inpaint_full_res_padding": "Pixels around the mask that are drawn with it",
    "inpainting_mask_invert": "1 repaints what is black instead",
    "include_init_images": "Whether the answer's parameters repeat the pictures",
}
_OF_PICTURES = ("mask_round", "initial_noise_multiplier", "image_cfg_scale", "latent_mask")
_ANSWERS = {
    "Pictures": {
        "images": "The files in base64",
        "parameters": "The request as it was understood",
        "info": "JSON as text: seed, size, sampler and text of each picture",
    },
    "State": {
        "skipped": "Whether POST skip came",
        "interrupted": "Whether POST interrupt came",
        "stopping_generation": "false: a picture that is stopped is left at once",
        "job": "Name of the job; empty where there is none",
        "job_count": "Parts of the job",
        "job_timestamp": "When it began, YYYYMMDDhhmmss",
        "job_no": "Parts that are done",
        "sampling_step": "Steps of the current part that are done",
        "sampling_steps": "Steps of the current part",
    },
    "Progress": {
        "progress": "The share that is done, 0 to 1",
        "eta_relative": "Seconds to the end, as far as can be told",
        "state": "What is being made",
        "current_image": "The newest preview in base64, or null",
        "textinfo": "Null",
    },
    "ImageOnly": {"image": "A picture as base64, a data: URL or a URL"},
    "PngInfo": {
        "info": "The text in the picture; empty where there is none",
        "items": "Other texts by key",
        "parameters": "The text taken apart",
    },
    "Extra": {
        "image": "The picture to enlarge, as base64, a data: URL or a URL",
        "resize_mode": "0: by upscaling_resize; 1: to upscaling_resize_w x upscaling_resize_h",
        "upscaling_resize": "How many times larger",
        "upscaling_resize_w": "Width in pixels",
        "upscaling_resize_h": "Height in pixels",
        "upscaling_crop": "Whether what does not fit is cut off",
        "upscaler_1": "As GET upscalers lists it; None leaves the size",
    },
    "Enlarged": {"image": "The PNG file in base64", "html_info": "What was done, as HTML"},
    "Fault": {"loc": "Where: body, and the field", "msg": "What is wrong, for people", "type": "Kind of error"},
    "WebUiError": {
        "detail": "What went wrong; where fields are wrong, a list of faults",
        "error": "Kind of error",
        "body": "Empty",
        "errors": "What went wrong, for people",
    },
}
_OF_EXTRA = (
    "upscaler_2", "extras_upscaler_2_visibility", "gfpgan_visibility", "codeformer_visibility", "codeformer_weight",
    "upscale_first", "show_extras_results",
)  # fmt: skip


def _without(names: tuple[str, ...]) -> dict[str, str]:
    return dict.fromkeys(names, _NONE)


_BY_TYPE = _ANSWERS | {
    "TextToImage": _REQUEST | _without(_WITHOUT + _OF_HIRES) | _TEXT_TO_IMAGE,
    "ImageToImage": _REQUEST | _without(_WITHOUT + _OF_PICTURES) | _IMAGE_TO_IMAGE,
    "Extra": _ANSWERS["Extra"] | _without(_OF_EXTRA),
}
MEANINGS = {f"{kind}.{name}": text for kind, words in _BY_TYPE.items() for name, text in words.items()}
