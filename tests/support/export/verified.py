"""The exports of tests that are made with all checks."""

from __future__ import annotations

# Precision and options -> the families whose checks tests read: each kind of graph. Checks double an export's time.
VERIFIED: dict[tuple[str, ...], tuple[str, ...]] = {
    ("fp32",): (
        *("sd15", "sd_inpaint", "sdxl", "sdxl_inpaint", "sdxl_refiner", "sd35", "flux_dev", "chroma", "pixart_alpha"),
        *("pixart_sigma", "aura_flow", "flux2_klein", "z_image", "lumina2", "sana", "qwen_image", "qwen_image_edit"),
        *("kolors", "ernie_image", "krea2", "dreamlite", "ovis_image", "longcat_image"),
    ),
    ("fp16",): ("sd15",),
    ("fp16", "--target", "gpu"): ("sd21", "sdxl", "sd35", "flux_dev", "z_image", "pixart_sigma", "sana"),
    ("int8",): ("sdxl_inpaint", "sd3", "flux_schnell", "sana"),
}
