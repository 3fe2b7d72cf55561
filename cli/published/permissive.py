"""Models under licences without conditions on their use, and autoencoders for others: Apache 2.0 and MIT."""

from __future__ import annotations

from .model import KL, KL_16, KL_FLUX2, QWEN_VAE, PublishedModel

TAESD, TAESD_16 = (tuple(f"{vae}-{half}" for half in ("encoder", "decoder")) for vae in ("taesd", "taesd-16"))
QWEN_EDITOR = ("qwen25-vl-7b", "qwen25-vl-7b-vision")

PERMISSIVE: tuple[PublishedModel, ...] = (
    PublishedModel(
        id="SimianLuo/LCM_Dreamshaper_v7",
        license="MIT",
        purpose="four steps",
        templates=("lcm-unet", "clip-l", *KL),
        full=("lcm-unet", "clip-l", *KL),
        steps=4,
        side=768,
    ),
    PublishedModel(
        id="segmind/Segmind-Vega",
        license="Apache-2.0",
        purpose="a third of SDXL's UNet",
        templates=("segmind-vega-unet", "clip-l", "clip-g", *KL),
        steps=25,
        side=1024,
    ),
    PublishedModel(
        id="segmind/SSD-1B",
        license="Apache-2.0",
        purpose="half of SDXL's UNet",
        templates=("ssd-1b-unet", "clip-l", "clip-g", *KL),
        steps=25,
        side=1024,
    ),
    PublishedModel(
        id="Tongyi-MAI/Z-Image-Turbo",
        license="Apache-2.0",
        purpose="photographs and text in images, nine steps",
        templates=("z-image", "qwen3-4b-penultimate", *KL_16),
        steps=9,
        side=1024,
    ),
    PublishedModel(
        id="Tongyi-MAI/Z-Image",
        license="Apache-2.0",
        purpose="Z-Image-Turbo's size, with negative prompts",
        templates=("z-image", "qwen3-4b-penultimate", *KL_16),
        steps=50,
        side=1024,
    ),
    PublishedModel(
        id="black-forest-labs/FLUX.1-schnell",
        license="Apache-2.0",
        purpose="long prompts, text in images",
        templates=("flux1-schnell", "clip-l", "t5-xxl", *KL_16),
        steps=4,
        side=1024,
        gated=True,
    ),
    PublishedModel(
        id="black-forest-labs/FLUX.2-klein-4B",
        license="Apache-2.0",
        purpose="four steps, edits of up to 4 images",
        templates=("flux2-klein-4b", "qwen3-4b-layers", *KL_FLUX2),
        steps=4,
        side=1024,
        note="1.8 GB more are downloaded: layers of the text encoder that are not used",
    ),
    PublishedModel(
        id="fal/AuraFlow-v0.3",
        license="Apache-2.0",
        purpose="long prompts, large images",
        templates=("aura-flow", "pile-t5-xl", *KL),
        steps=50,
        side=1024,
    ),
    PublishedModel(
        id="lodestones/Chroma1-HD",
        license="Apache-2.0",
        purpose="FLUX.1 made smaller, with negative prompts",
        templates=("chroma", "t5-xxl-masked", *KL_16),
        steps=40,
        side=1024,
    ),
    *(
        PublishedModel(
            id=f"Qwen/{name}",
            license="Apache-2.0",
            purpose=purpose,
            templates=(denoiser, *encoders, *QWEN_VAE),
            steps=steps,
            side=1024,
        )
        for name, purpose, denoiser, encoders, steps in (
            ("Qwen-Image", "long text in images", "qwen-image", QWEN_EDITOR[:1], 50),
            ("Qwen-Image-2512", "Qwen-Image, with more natural people", "qwen-image", QWEN_EDITOR[:1], 50),
            ("Qwen-Image-Edit", "edits of an image", "qwen-image", QWEN_EDITOR, 50),
            ("Qwen-Image-Edit-2509", "edits of up to 3 images", "qwen-image", QWEN_EDITOR, 40),
            ("Qwen-Image-Edit-2511", "edits of up to 3 images", "qwen-image-edit-2511", QWEN_EDITOR, 40),
        )
    ),
    PublishedModel(
        id="meituan-longcat/LongCat-Image",
        license="Apache-2.0",
        purpose="text in images, in Chinese and English",
        templates=("longcat-image", "qwen25-vl-7b", *KL_16),
        steps=50,
        side=1024,
    ),
    PublishedModel(
        id="AIDC-AI/Ovis-Image-7B",
        license="Apache-2.0",
        purpose="text in images, small text encoder",
        templates=("ovis-image", "qwen3-1.7b", *KL_16),
        steps=50,
        side=1024,
    ),
    *(
        PublishedModel(
            id=f"baidu/{name}",
            license="Apache-2.0",
            purpose=purpose,
            templates=("ernie-image", "ministral-3-3b-penultimate", *KL_FLUX2),
            steps=steps,
            side=1024,
            note="the prompt enhancer of the repository is not used",
        )
        for name, purpose, steps in (
            ("ERNIE-Image-Turbo", "text in images, eight steps", 8),
            ("ERNIE-Image", "ERNIE-Image-Turbo's size, with negative prompts", 50),
        )
    ),
    *(
        PublishedModel(
            id=f"madebyollin/{name}",
            license="MIT",
            purpose=f"fast VAE for {models}, less sharp",
            templates=templates,
            full=templates,
            replaces_vae=example,
        )
        for name, models, templates, example in (
            ("taesd", "Stable Diffusion 1.x and 2.x", TAESD, "stabilityai/sd-turbo"),
            ("taesdxl", "SDXL", TAESD, "stabilityai/sdxl-turbo"),
            ("taesd3", "Stable Diffusion 3", TAESD_16, "stabilityai/stable-diffusion-3-medium-diffusers"),
            ("taef1", "FLUX.1", TAESD_16, "black-forest-labs/FLUX.1-schnell"),
        )
    ),
)
