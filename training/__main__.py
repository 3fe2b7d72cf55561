"""`python -m tintype.training`: render, train, pack, verify and score the built-in model.

    python -m tintype.training all --minutes 180                 two CPU cores, an afternoon
    python -m tintype.training all --minutes 9 --device cuda     a large GPU

Every step goes on from what it finds in the work folder; `vae` and `unet` may run at the same time.
"""

# ruff: noqa: PLC0415, T201 - torch is imported by the steps that need it; a command talks to people

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Shares of the time for training.
SHARES = {"vae": 0.22, "unet": 0.68, "forgive": 0.10}
# Minutes kept for packing, verifying, scoring and the grid.
RESERVE = 1.0
BATCHES = {"cpu": (40, 8), "cuda": (1024, 64)}


@dataclass(frozen=True)
class Plan:
    """What the command line asked for; `minutes` is for training alone."""

    work: Path
    out: Path
    minutes: float
    pictures: int
    kept: int
    device: str
    docs: Path | None

    @property
    def data(self) -> Path:
        """Where the rendered set lies."""
        return self.work / "data"

    def compute(self) -> Any:
        """Device and manner of computing; torch is imported only now."""
        from .training_loop import Compute

        return Compute.of(self.device)


def render(plan: Plan) -> None:
    """Fit the components on the first pictures, then render and encode them all."""
    import numpy as np

    from .model.latents import Components
    from .scenes.dataset import pixels_of, write_set

    first = np.stack([pixels_of(seed) for seed in range(min(plan.pictures, 1200))])
    components = Components.fit(first)
    plan.data.mkdir(parents=True, exist_ok=True)
    components.save(plan.work / "components.npz")
    write_set(
        plan.data,
        min(plan.kept, plan.pictures),
        plan.pictures,
        lambda pictures: components.encode(pictures).astype(np.float16),
    )


def tokenizer(plan: Plan) -> None:
    """Train the tokenizer on all captions."""
    import json

    from .model.tokenizer import train_tokenizer

    said = json.loads((plan.data / "captions.json").read_text())
    train_tokenizer((line for group in said for line in group), plan.work / "tokenizer")


def vae(plan: Plan) -> None:
    """Train the decoder."""
    from .decoder_training import train_decoder

    train_decoder(plan.data, plan.work, plan.minutes * SHARES["vae"], plan.compute(), BATCHES[plan.device][1])


def unet(plan: Plan) -> None:
    """Train the denoiser and the text encoder."""
    from transformers import CLIPTokenizer

    from .denoiser_training import train_unet

    tokens = CLIPTokenizer.from_pretrained(plan.work / "tokenizer")
    train_unet(plan.data, tokens, plan.work, plan.minutes * SHARES["unet"], plan.compute(), BATCHES[plan.device][0])


def forgive(plan: Plan) -> None:
    """Go on with the decoder, on latents as the denoiser leaves them."""
    from transformers import CLIPTokenizer

    from .decoder_training import train_decoder
    from .imperfect import write_imperfect

    tokens = CLIPTokenizer.from_pretrained(plan.work / "tokenizer")
    write_imperfect(plan.data, plan.work, tokens, plan.compute(), plan.kept)
    share = SHARES["vae"] + SHARES["forgive"]
    train_decoder(plan.data, plan.work, plan.minutes * share, plan.compute(), BATCHES[plan.device][1])


def pack(plan: Plan) -> None:
    """Write the model folder."""
    from .model import pack as packing

    packing.pack(plan.work, plan.out)


def verify(plan: Plan) -> None:
    """Compare the model folder with diffusers."""
    from .evaluation import verify as verifying

    print(verifying.verify(plan.out))


def score(plan: Plan) -> None:
    """Ask for unseen combinations and times of day; print the fraction that came out right."""
    from .evaluation import score as scoring

    result = scoring.score(plan.out, plan.work / "score.png")
    print(result.report())
    if result.combinations < scoring.WANTED:
        raise SystemExit(f"the score is below {scoring.WANTED}: train longer")


def grid(plan: Plan) -> None:
    """Sixteen pictures and a sheet of what the renderer draws."""
    from .evaluation.grid import grid as painted
    from .scenes.render import sheet

    folder = plan.docs or plan.work
    folder.mkdir(parents=True, exist_ok=True)
    painted(plan.out).save(folder / "builtin-grid.png", optimize=True)
    sheet(count=32).save(folder / "builtin-renderer.png", optimize=True)


STEPS: dict[str, Callable[[Plan], None]] = {
    "render": render, "tokenizer": tokenizer, "vae": vae, "unet": unet, "forgive": forgive,
    "pack": pack, "verify": verify, "grid": grid, "score": score,
}  # fmt: skip


def everything(plan: Plan) -> None:
    """All steps; what rendering took and what the end will take is taken off the minutes for training."""
    began = time.monotonic()
    for name in ("render", "tokenizer"):
        _run(name, plan)
    left = plan.minutes - (time.monotonic() - began) / 60 - RESERVE
    trained = Plan(**{**vars(plan), "minutes": max(left, plan.minutes / 2)})
    for name in ("vae", "unet", "forgive", "pack", "verify", "grid", "score"):
        _run(name, trained)


def _run(name: str, plan: Plan) -> None:
    began = time.monotonic()
    STEPS[name](plan)
    print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tintype.training", description=__doc__.split("\n", 1)[0])
    parser.add_argument("step", choices=[*STEPS, "all"])
    parser.add_argument(
        "--work", type=Path, default=Path("work/demo"), help="data and checkpoints (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("service/models/builtin"), help="the model folder (default: %(default)s)"
    )
    parser.add_argument("--docs", type=Path, help="where the grid goes (default: the work folder)")
    parser.add_argument("--minutes", type=float, default=180, help="time for everything (default: %(default)s)")
    parser.add_argument("--pictures", type=int, default=50_000, help="pictures to render (default: %(default)s)")
    parser.add_argument(
        "--kept", type=int, default=9_000, help="pictures kept whole, for the decoder (default: %(default)s)"
    )
    parser.add_argument("--device", choices=list(BATCHES), default="cpu")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run one step, or all of them."""
    given = vars(_arguments(argv))
    step = given.pop("step")
    plan = Plan(**given)
    plan.work.mkdir(parents=True, exist_ok=True)
    if step == "all":
        everything(plan)
    else:
        _run(step, plan)


if __name__ == "__main__":
    main()
