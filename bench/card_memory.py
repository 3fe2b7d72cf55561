"""Print which graphics cards published models fit, calculated from their templates, which have no weights.

    python bench/card_memory.py            # a table in Markdown, as in docs/gpu.md

The columns are the bytes of all components on a GPU, and of the largest one, which is what they need in turns.
"""

from __future__ import annotations

from tintype.cli.doctor.capacity import ACTIVATIONS, GIB, smallest, template_bytes
from tintype.service.models.loading_options import Precision
from tintype.service.models.templates.catalogue import installed

MODELS = {
    "Stable Diffusion 1.5": ("clip-l", "sd1-unet", "kl-decoder", "kl-encoder"),
    "SDXL": ("clip-l-projected", "clip-g", "sdxl-unet", "kl-decoder", "kl-encoder"),
    "SD 3.5 Medium": ("clip-l-projected", "clip-g", "t5-xxl", "sd35-medium", "kl-16-decoder", "kl-16-encoder"),
    "PixArt-Sigma": ("t5-xxl-masked", "pixart-sigma-1024", "kl-decoder", "kl-encoder"),
    "Sana 1.6B": ("gemma2-2b", "sana-1600m", "dc-f32c32-decoder", "dc-f32c32-encoder"),
    "FLUX.2 klein 4B": ("qwen3-4b-layers", "flux2-klein-4b", "kl-flux2-decoder", "kl-flux2-encoder"),
    "Z-Image": ("qwen3-4b-penultimate", "z-image", "kl-16-decoder", "kl-16-encoder"),
    "FLUX.1 schnell": ("clip-l", "t5-xxl", "flux1-schnell", "kl-16-decoder", "kl-16-encoder"),
    "FLUX.1 dev": ("clip-l", "t5-xxl", "flux1-dev", "kl-16-decoder", "kl-16-encoder"),
    "Qwen-Image": ("qwen25-vl-7b", "qwen-image", "qwen-vae-decoder", "qwen-vae-encoder"),
}
PRECISIONS = (Precision.FP16, Precision.INT8, Precision.INT4)


def row(name: str, precision: Precision) -> str:
    """Return a row of the table."""
    templates = {template.name: template for template in installed()}
    sizes = [template_bytes(templates[each], precision) for each in MODELS[name]]
    cards = smallest(sizes)
    needed = " | ".join(f"{size / GIB:.1f}" for size in (sum(sizes), max(sizes)))
    fits = " | ".join(f"{size} GiB" if size else "—" for size in (cards["whole"], cards["in turns"]))
    return f"| {name} | {precision.value} | {needed} | {fits} |"


def main() -> None:
    """Print the table."""
    print(f"Smallest cards with {ACTIVATIONS / GIB:.1f} GiB for everything but weights:\n")
    print("| model | precision | all weights, GiB | the largest component, GiB | card, whole | card, in turns |")
    print("|---|---|---|---|---|---|")
    for name in MODELS:
        for precision in PRECISIONS:
            print(row(name, precision))


if __name__ == "__main__":
    main()
