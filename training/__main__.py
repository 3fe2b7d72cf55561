"""Render, train, pack, verify and score the built-in model.

    python -m tintype.training all --minutes 180                 two CPU cores, an afternoon
    python -m tintype.training all --minutes 9 --device cuda     a large GPU
    python -m tintype.training unpack                            before `all`: continue from the packed model

Every step continues from what it finds in the work folder; `vae` and `unet` may run at the same time.
"""

# ruff: noqa: PLC0415, T201 - steps that need torch import it themselves; a command prints its results

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Shares of the time for training.
SHARES = {"vae": 0.1, "unet": 0.5, "distil": 0.2, "refine": 0.2}
# Minutes reserved for packing, verifying, scoring and the grid.
RESERVE = 1.0
# Batch sizes of the denoiser and the decoder.
BATCHES = {"cpu": (80, 8), "cuda": (1024, 64)}
# A distilled model is scored with this number of steps too.
MANY_STEPS = 20
# The images that the principal components are fitted to.
FITTED = 1200


@dataclass(frozen=True)
class Options:
    """The options of the command line; `minutes` is for training alone."""

    work: Path
    out: Path
    minutes: float
    images: int
    kept: int
    device: str
    docs: Path | None
    photos: Path | None = None

    @property
    def data(self) -> Path:
        """The folder of the rendered training set."""
        return self.work / "data"

    def compute(self) -> Any:
        """Return the `ComputeDevice`; torch is imported only here."""
        from .training_loop import ComputeDevice

        return ComputeDevice.from_name(self.device)


def unpack(options: Options) -> None:
    """Unpack the model folder, so that training continues from its weights."""
    from .model import warm_start

    warm_start.unpack(options.out, options.work)


def render(options: Options) -> None:
    """Render images and captions, fit the principal components unless they are there, and encode the images."""
    import numpy as np

    from .model.latents import PatchBasis
    from .scenes.dataset import render_pixels, write_dataset

    components = options.work / "components.npz"
    if not components.exists():
        PatchBasis.fit(np.stack([render_pixels(seed) for seed in range(min(options.images, FITTED))])).save(components)
    patches = PatchBasis.load(components)
    options.data.mkdir(parents=True, exist_ok=True)
    write_dataset(
        options.data,
        min(options.kept, options.images),
        options.images,
        lambda images: patches.encode(images).astype(np.float16),
    )


def tokenizer(options: Options) -> None:
    """Train the tokenizer on all captions, or extend that of the unpacked model."""
    from .model.tokenizer import extend_tokenizer, train_tokenizer
    from .model.warm_start import FORMER_TOKENIZER
    from .scenes.dataset import IDS, read_captions

    lines = (line for group in read_captions(options.data) for line in group)
    # Token ids of a former tokenizer.
    (options.data / IDS).unlink(missing_ok=True)
    if (former := options.work / FORMER_TOKENIZER).exists():
        extend_tokenizer(former, lines, options.work / "tokenizer")
    else:
        train_tokenizer(lines, options.work / "tokenizer")


def vae(options: Options) -> None:
    """Train the decoder."""
    from .decoder_training import train_decoder

    minutes = options.minutes * SHARES["vae"]
    train_decoder(options.data, options.work, minutes, options.compute(), BATCHES[options.device][1])


def unet(options: Options) -> None:
    """Train the denoiser and the text encoder."""
    from transformers import CLIPTokenizer

    from .denoiser_training import train_denoiser

    tokens, minutes = CLIPTokenizer.from_pretrained(options.work / "tokenizer"), options.minutes * SHARES["unet"]
    train_denoiser(options.data, tokens, options.work, minutes, options.compute(), BATCHES[options.device][0])


def distil(options: Options) -> None:
    """Distil the denoiser, so that four steps without guidance suffice."""
    from transformers import CLIPTokenizer

    from .distillation import distil

    tokens, minutes = CLIPTokenizer.from_pretrained(options.work / "tokenizer"), options.minutes * SHARES["distil"]
    distil(options.data, tokens, options.work, minutes, options.compute(), BATCHES[options.device][0])


def refine(options: Options) -> None:
    """Refine the decoder with imperfect latents of the denoiser, and with a critic."""
    from transformers import CLIPTokenizer

    from .decoder_training import train_decoder, write_imperfect_latents

    tokens = CLIPTokenizer.from_pretrained(options.work / "tokenizer")
    write_imperfect_latents(options.data, options.work, tokens, options.compute(), (options.kept, options.kept // 3))
    minutes = options.minutes * SHARES["refine"]
    train_decoder(options.data, options.work, minutes, options.compute(), BATCHES[options.device][1], refine=True)


def pack(options: Options) -> None:
    """Write the model folder."""
    from .model import pack as packing

    packing.pack(options.work, options.out)


def verify(options: Options) -> None:
    """Compare the model folder with its manifest and with diffusers."""
    from .evaluation import verification

    print(verification.verify(options.out))


def grid(options: Options) -> None:
    """Generate sixteen images, and render a sheet of training images."""
    from .evaluation.contact_sheets import generate_sheet, render_sheet

    folder = options.docs or options.work
    folder.mkdir(parents=True, exist_ok=True)
    generate_sheet(options.out).save(folder / "builtin-grid.png", optimize=True)
    render_sheet(count=32).save(folder / "builtin-renderer.png", optimize=True)


def upscaler(options: Options) -> None:
    """Fit the filters of the upscaler, and compare them with Lanczos."""
    from tintype.service.images.upscaler import FILE, Filters

    from .upscaler.comparison import compare
    from .upscaler.fit import fit_filters, save_filters
    from .upscaler.samples import write_large_images

    write_large_images(options.work / "upscaler")
    save_filters(fit_filters(options.work / "upscaler"), FILE)
    print(compare(Filters.load(), options.photos))


def score(options: Options) -> None:
    """Score the model with unseen combinations and sentences, and its diversity; fail if too few are right."""
    from .evaluation import score as scoring
    from .evaluation.diversity import measure_diversity, report_diversity
    from .evaluation.pipeline import OnnxPipeline
    from .evaluation.scene_judge import SceneJudge
    from .evaluation.sentence_score import REQUIRED, score_sentences

    result = scoring.score(options.out, options.work / "score.png")
    print(result.report())
    pipeline = OnnxPipeline(options.out)
    print(report_diversity(measure_diversity(pipeline)))
    sentences = score_sentences(pipeline, SceneJudge.load_or_fit(options.work))
    print(sentences.report())
    if pipeline.defaults["steps"] < MANY_STEPS:
        print(f"with {MANY_STEPS} steps:\n{scoring.score(options.out, steps=MANY_STEPS).report()}")
    if result.combinations < scoring.REQUIRED:
        raise SystemExit(
            f"only {result.combinations:.2f} of the combinations are right, less than {scoring.REQUIRED}: train longer"
        )
    if sentences.least < REQUIRED:
        raise SystemExit(
            f"only {sentences.least:.2f} of the images of a form are right, less than {REQUIRED}: train longer"
        )


STEPS: dict[str, Callable[[Options], None]] = {
    "unpack": unpack,
    "render": render,
    "tokenizer": tokenizer,
    "vae": vae,
    "unet": unet,
    "distil": distil,
    "refine": refine,
    "pack": pack,
    "verify": verify,
    "grid": grid,
    "score": score,
    "upscaler": upscaler,
}
FORMER_STEPS = {"forgive": "refine"}


def run_all(options: Options) -> None:
    """Run all steps; rendering and the last steps reduce the minutes for training."""
    start = time.monotonic()
    for name in ("render", "tokenizer"):
        _run_step(name, options)
    left = options.minutes - (time.monotonic() - start) / 60 - RESERVE
    training = replace(options, minutes=max(left, options.minutes / 2))
    for name in ("vae", "unet", "distil", "refine", "pack", "verify", "grid", "score"):
        _run_step(name, training)


def _run_step(name: str, options: Options) -> None:
    start = time.monotonic()
    STEPS[name](options)
    print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)


def _step_name(name: str) -> str:
    return FORMER_STEPS.get(name, name)


def _parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    steps = "\n".join(f"  {name:<10} {step.__doc__}" for name, step in STEPS.items())
    parser = argparse.ArgumentParser(
        "python -m tintype.training",
        description=__doc__.split("\n", 1)[0],
        epilog=f"steps, in the order of `all`, which leaves out `upscaler`:\n{steps}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("step", type=_step_name, choices=[*STEPS, "all"], help="the step to run")
    parser.add_argument(
        "--work", type=Path, default=Path("work/demo"), help="folder of data and checkpoints (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("service/models/builtin"), help="the model folder (default: %(default)s)"
    )
    parser.add_argument("--docs", type=Path, help="folder for the images of `grid` (default: the work folder)")
    parser.add_argument("--photos", type=Path, help="folder of photographs for the comparison of `upscaler`")
    parser.add_argument("--minutes", type=float, default=180, help="total time (default: %(default)s)")
    parser.add_argument("--images", type=int, default=50_000, help="images to render (default: %(default)s)")
    parser.add_argument("--pictures", type=int, dest="images", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.add_argument(
        "--kept", type=int, default=9_000, help="images stored for the decoder's training (default: %(default)s)"
    )
    parser.add_argument("--device", choices=list(BATCHES), default="cpu", help="default: %(default)s")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run one step, or all of them."""
    arguments = vars(_parse_arguments(argv))
    step = arguments.pop("step")
    options = Options(**arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    if step == "all":
        run_all(options)
    else:
        _run_step(step, options)


if __name__ == "__main__":
    main()
