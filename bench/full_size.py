"""Measure memory and time to export, load and run models of the published sizes with random weights.

    python bench/full_size.py sd15|sdxl WORK [--precision fp32] [--target cpu] [--size 512] [--steps 4] [--limit 20]

There are three stages: make a pipeline in WORK/source, export it to WORK/model, generate an image. Both folders take
9 GB of disk for SD 1.5 in fp32, 28 GB for SDXL. Existing folders are kept, so a second run measures only the image.
Each stage is its own process; the operating system reports its peak resident memory, including weights mapped from a
file. `--limit` is the address space in GB at which a stage fails, which protects other programs on the machine. Needs
the extra `export`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

GIGABYTE = 1e9
STAGES = ("make", "export", "generate")
# The published configurations, where they differ from the classes' own defaults.
VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
}
CLIP = {"vocab_size": 49408, "max_position_embeddings": 77, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
CLIP_L = CLIP | {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
}
CLIP_G = CLIP | {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}
UNETS: dict[str, dict[str, Any]] = {
    "sd15": {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
    "sdxl": {
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}


def make(kind: str, folder: Path) -> None:
    """Write a pipeline of random weights in diffusers' layout."""
    import diffusers  # noqa: PLC0415 - imports torch, which the stage `generate` must not
    import torch  # noqa: PLC0415
    import transformers  # noqa: PLC0415

    from tintype.export.tiny import tokenizers  # noqa: PLC0415

    torch.manual_seed(0)
    first, second = (transformers.CLIPTextConfig(**config) for config in (CLIP_L, CLIP_G))
    parts: dict[str, Any] = {
        "vae": diffusers.AutoencoderKL(**VAE, scaling_factor=0.18215 if kind == "sd15" else 0.13025),
        "text_encoder": transformers.CLIPTextModel(first),
        "tokenizer": tokenizers.clip(),
        "unet": diffusers.UNet2DConditionModel(**UNETS[kind]),
        "scheduler": diffusers.EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
        ),
    }
    if kind == "sd15":
        pipeline = diffusers.StableDiffusionPipeline(
            **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    else:
        encoder = transformers.CLIPTextModelWithProjection(second)
        pipeline = diffusers.StableDiffusionXLPipeline(
            **parts, text_encoder_2=encoder, tokenizer_2=tokenizers.clip(pad="!"), add_watermarker=False
        )
    pipeline.to(torch.float16 if kind == "sdxl" else torch.float32).save_pretrained(folder)


def generate(folder: Path, size: int, steps: int) -> None:
    """Load the model into the service's engine, generate one image, and print the measurements as JSON."""
    from tintype.service.engine import Engine  # noqa: PLC0415 - each stage imports what it needs
    from tintype.service.engine.events import Failed  # noqa: PLC0415
    from tintype.service.job import Job  # noqa: PLC0415
    from tintype.service.models import Repository  # noqa: PLC0415
    from tintype.service.prepare import prepare_job  # noqa: PLC0415

    start = time.perf_counter()
    with Repository([folder], providers=["cpu"]) as repository:
        repository.wait(timeout=3600)
        result = {"load": time.perf_counter() - start, "loaded": peak(resource.RUSAGE_SELF)}
        engine = Engine(repository)
        job = Job(prompt="a lake", steps=steps, seed=0, guidance_scale=5.0, width=size, height=size)
        engine.admit(prepare_job(job, repository.spec()))
        seconds = []
        while engine.busy:
            begun = time.perf_counter()
            engine.step()
            seconds.append(time.perf_counter() - begun)
        errors = [event.error for _, event in engine.collect() if isinstance(event, Failed)]
    if errors:
        raise SystemExit(str(errors[0]))
    print(json.dumps(result | {"units": seconds}))


def peak(processes: int) -> float:
    """Return the peak resident memory of `processes`, a constant of the module `resource`, in GB."""
    return resource.getrusage(processes).ru_maxrss * 1024 / GIGABYTE


def start_child(stage: str, arguments: argparse.Namespace, limit: float) -> str:
    """Run one stage in a child process, print its time and memory, and return its output."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (int(limit * GIGABYTE),) * 2)

    start = time.perf_counter()
    with (
        subprocess.Popen(  # noqa: S603
            [sys.executable, __file__, *sys.argv[1:], "--child", stage],
            stdout=subprocess.PIPE,
            preexec_fn=limited,  # noqa: PLW1509 - no thread has been started
            text=True,
        ) as process
    ):
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    took, memory = time.perf_counter() - start, usage.ru_maxrss * 1024 / GIGABYTE
    print(f"{stage}: {took:.0f} s, at most {memory:.1f} GB resident, exit code {process.returncode}", flush=True)
    if process.returncode:
        raise SystemExit(f"{stage} of {arguments.kind} failed within {limit} GB")
    return output


def run_child(stage: str, arguments: argparse.Namespace) -> None:
    """Run one stage in this process."""
    source, model = arguments.work / "source", arguments.work / "model"
    if stage == "make":
        make(arguments.kind, source)
    elif stage == "export":
        from tintype.export import main as export  # noqa: PLC0415

        options = ["--precision", arguments.precision, "--target", arguments.target, "--no-verify", "--force"]
        sys.exit(export([str(source), str(model), *options]))
    else:
        generate(model, arguments.size, arguments.steps)


def main() -> None:
    """Run all stages that are not done; `--child` runs one in this process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kind", choices=UNETS)
    parser.add_argument("work", type=Path)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--size", type=int, default=512, help="side of the image in pixels")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--limit", type=float, default=20, help="address space of a stage in GB")
    parser.add_argument("--child", choices=STAGES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run_child(arguments.child, arguments)
        return
    if not (arguments.work / "source" / "model_index.json").exists():
        start_child("make", arguments, arguments.limit)
    if not (arguments.work / "model" / "tintype.json").exists():
        start_child("export", arguments, arguments.limit)
    report(json.loads(start_child("generate", arguments, arguments.limit).splitlines()[-1]), arguments)


def report(result: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Print time and memory of loading and of the steps."""
    size = sum(path.stat().st_size for path in (arguments.work / "model").rglob("*") if path.is_file())
    print(f"{arguments.kind} {arguments.precision}: {size / GIGABYTE:.2f} GB on disk")
    print(f"loaded after {result['load']:.1f} s, at most {result['loaded']:.2f} GB resident until then")
    prompt, *steps, decoding = result["units"]
    each = ", ".join(f"{seconds:.1f}" for seconds in steps)
    print(f"{arguments.size} pixels square: prompt {prompt:.1f} s, steps {each} s, decoding {decoding:.1f} s")
    print(f"median step: {statistics.median(steps):.1f} s")


if __name__ == "__main__":
    main()
