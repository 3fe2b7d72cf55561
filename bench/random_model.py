"""Make and export a random Stable Diffusion 1.x whose UNet has a chosen width, for measurements without a download.

    .venv-export/bin/python bench/random_model.py OUT [--width 128]

The UNet has the depth and the attention of the published one, whose width is 320; its images are noise.
Needs the extra `export`.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from tintype import export
from tintype.export.model_folder import write_scheduler_config
from tintype.export.tiny import unets
from tintype.export.tiny.parts import WIDTH, unet


def make(width: int, folder: Path) -> None:
    """Write the pipeline in diffusers' layout."""
    torch.manual_seed(0)
    pipeline = unets.sd15()
    pipeline.register_modules(
        unet=unet(
            block_out_channels=(width, 2 * width, 4 * width, 4 * width),
            layers_per_block=2,
            down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
            cross_attention_dim=WIDTH,
            norm_num_groups=32,
        )
    )
    pipeline.save_pretrained(folder)
    write_scheduler_config(pipeline.scheduler, folder / "scheduler")


def main() -> None:
    """Make the pipeline and export it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--width", type=int, default=128)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make(args.width, Path(folder, "random"))
        raise SystemExit(export.main([str(Path(folder, "random")), str(args.out), "--no-verify"]))


if __name__ == "__main__":
    main()
