"""Settings in image files, read by the playground's own script in a real browser; files are made here."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image, PngImagePlugin

from tintype.service.images import metadata

if TYPE_CHECKING:
    from tests.support.gateway.chromium import Page

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.browser,
    pytest.mark.slow,
]

READ = """(async () => {{
    const {{ readSettings }} = await import("/playground/form/metadata.js");
    const files = {files};
    return Promise.all(files.map(([type, base64]) => {{
        const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
        return readSettings(new File([bytes], "image", {{ type }}));
    }}));
}})()"""
INFOTEXT = """(a red:1.2) lighthouse, <lora:ink:0.8>
by the sea, ☀ at dusk
Negative prompt: blurry, "odd"
low contrast
Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.5, Seed: 41, Size: 512x768, Model hash: 6ce0161689, \
Model: sd15, Clip skip: 2, Lora hashes: "ink: 123, b: 456", odd, Version: v1.10.1
Template: a {colour} lighthouse"""
SETTINGS = {
    "prompt": "(a red:1.2) lighthouse, <lora:ink:0.8>\nby the sea, ☀ at dusk",
    "negative_prompt": 'blurry, "odd"\nlow contrast',
    "steps": 20,
    "sampler": "DPM++ 2M",
    "schedule": "Karras",
    "guidance_scale": 7.5,
    "seed": 41,
    "size": "512x768",
    "model": "sd15",
    "clip_layer": 2,
}


def lora(name: str, weight: float, source: str) -> dict[str, Any]:
    """Return a node of an adapter."""
    inputs = {"lora_name": name, "strength_model": weight, "model": [source, 0]}
    return {"class_type": "LoraLoader", "inputs": inputs}


GRAPH: dict[str, Any] = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": ["9", 0],
            "steps": 25,
            "cfg": 6.5,
            "sampler_name": "dpmpp_2m",
            "scheduler": "karras",
            "denoise": 1,
            "model": ["11", 0],
            "positive": ["20", 0],
            "negative": ["20", 1],
            "latent_image": ["5", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd/sdxl_base.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 832, "height": 1216, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": ["12", 0], "clip": ["11", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "fog", "clip": ["11", 1]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "PrimitiveInt", "inputs": {"value": 77}},
    "10": lora("ink.safetensors", 0.8, "4"),
    "11": lora("b.safetensors", -1, "10"),
    "12": {"class_type": "String Literal", "inputs": {"string": "a fox in snow"}},
    "13": {"class_type": "SaveImage", "inputs": {"images": ["8", 0]}},
    "20": {
        "class_type": "ControlNetApplyAdvanced",
        "inputs": {"positive": ["6", 0], "negative": ["7", 0], "strength": 1, "image": ["21", 0]},
    },
}
FOX = {
    "prompt": "a fox in snow",
    "negative_prompt": "fog",
    "steps": 25,
    "guidance_scale": 6.5,
    "seed": 77,
    "sampler": "dpmpp_2m",
    "schedule": "karras",
    "size": "832x1216",
    "model": "sd/sdxl_base.safetensors",
    "loras": [{"name": "ink.safetensors", "weight": 0.8}, {"name": "b.safetensors", "weight": -1}],
}
# FLUX has separate nodes for noise, guider, sampler and sigmas, and no negative prompt.
FLUX: dict[str, Any] = {
    "1": {
        "class_type": "SamplerCustomAdvanced",
        "inputs": {
            "noise": ["2", 0],
            "guider": ["3", 0],
            "sampler": ["4", 0],
            "sigmas": ["5", 0],
            "latent_image": ["6", 0],
        },
    },
    "2": {"class_type": "RandomNoise", "inputs": {"noise_seed": 5}},
    "3": {"class_type": "BasicGuider", "inputs": {"model": ["7", 0], "conditioning": ["8", 0]}},
    "4": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
    "5": {
        "class_type": "BasicScheduler",
        "inputs": {"scheduler": "simple", "steps": 4, "denoise": 1, "model": ["7", 0]},
    },
    "6": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 1024, "height": 1024}},
    "7": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux1-dev.safetensors"}},
    "8": {"class_type": "FluxGuidance", "inputs": {"guidance": 3.5, "conditioning": ["9", 0]}},
    "9": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox", "clip": ["10", 0]}},
}
WORKFLOW = {
    "nodes": [
        {
            "id": 3,
            "type": "KSampler",
            "widgets_values": [8, "randomize", 20, 8, "euler", "normal", 0.5],
            "inputs": [{"name": name, "link": link} for link, name in enumerate(("model", "positive", "latent_image"))],
        },
        {"id": 4, "type": "CheckpointLoaderSimple", "widgets_values": ["sd15.ckpt"]},
        {"id": 6, "type": "CLIPTextEncode", "widgets_values": ["a fox"], "inputs": []},
        {"id": 5, "type": "EmptyLatentImage", "widgets_values": [512, 640, 1]},
    ],
    "links": [[0, 4, 0, 3, 0, "MODEL"], [1, 6, 0, 3, 1, "CONDITIONING"], [2, 5, 0, 3, 3, "LATENT"]],
}


def png(zipped: bool = False, **texts: str) -> tuple[str, bytes]:  # noqa: FBT001, FBT002
    """Return a PNG file with texts, as the programs write them: Latin-1, or UTF-8 if that does not suffice."""
    info = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        info.add_text(key, text, zip=zipped)
    return "image/png", save("PNG", pnginfo=info)


def with_comment(kind: str, comment: bytes) -> tuple[str, bytes]:
    """Return a JPEG or WebP file with a UserComment."""
    block = Image.Exif()
    block.get_ifd(metadata.EXIF_IFD)[metadata.USER_COMMENT] = comment
    return f"image/{kind.lower()}", save(kind, exif=block.tobytes())


def save(kind: str, **options: Any) -> bytes:
    file = BytesIO()
    Image.new("RGB", (8, 8)).save(file, kind, **options)
    return file.getvalue()


def with_chunk(kind: bytes, data: bytes, *, length: int | None = None) -> tuple[str, bytes]:
    """Return a PNG file with one more chunk after its header; its length may be wrong."""
    file = save("PNG")
    size = struct.pack(">I", len(data) if length is None else length)
    chunk = size + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return "image/png", file[:33] + chunk + file[33:]


async def read(page: Page, *files: tuple[str, bytes]) -> list[Any]:
    """Return what the page's script reads in files."""
    encoded = [[kind, base64.b64encode(data).decode()] for kind, data in files]
    result: list[Any] = await page.run(READ.format(files=json.dumps(encoded)))
    return result


async def test_own_files(page: Page) -> None:
    """The settings that the service writes into each type of file are read again."""
    parameters = metadata.Parameters(
        prompt="a lake, ☀ at dusk",
        negative_prompt="fog",
        steps=9,
        sampler="dpmpp_2m",
        schedule="karras",
        guidance_scale=7.5,
        seed=2**40,
        width=512,
        height=640,
        model="a, b",
    )
    files = [
        ("image/png", save("PNG", pnginfo=metadata.png_text(parameters))),
        ("image/jpeg", save("JPEG", exif=metadata.exif(parameters))),
        ("image/webp", save("WEBP", exif=metadata.exif(parameters))),
    ]
    expected = {
        "prompt": "a lake, ☀ at dusk",
        "negative_prompt": "fog",
        "steps": 9,
        "sampler": "DPM++ 2M",
        "schedule": "Karras",
        "guidance_scale": 7.5,
        "seed": 2**40,
        "size": "512x640",
        "model": "a, b",
    }
    assert await read(page, *files) == [expected] * 3


async def test_web_uis_files(page: Page) -> None:
    """AUTOMATIC1111's text is read from a plain or compressed chunk of PNG, and from EXIF of either byte order."""
    files = [
        png(parameters=INFOTEXT),
        png(zipped=True, parameters=INFOTEXT),
        with_comment("JPEG", b"UNICODE\0" + INFOTEXT.encode("utf-16-be")),
        with_comment("JPEG", b"UNICODE\0" + INFOTEXT.encode("utf-16-le")),
        with_comment("WEBP", b"UNICODE\0" + INFOTEXT.encode("utf-16-be")),
    ]
    assert await read(page, *files) == [SETTINGS] * len(files)


async def test_graphs_of_nodes(page: Page) -> None:
    """ComfyUI's graph is followed from the sampler: prompts, size, seed, checkpoint and adapters in their order."""
    files = [
        png(prompt=json.dumps(GRAPH), workflow="{}"),
        png(prompt=json.dumps(FLUX)),
        png(workflow=json.dumps(WORKFLOW)),
        png(
            invokeai_metadata=json.dumps({"positive_prompt": "a fox", "scheduler": "euler_k", "width": 8, "height": 9})
        ),
    ]
    graph, flux, workflow, invoke = await read(page, *files)
    assert graph == FOX
    assert flux == {
        "prompt": "a fox",
        "steps": 4,
        "guidance_scale": 3.5,
        "seed": 5,
        "sampler": "euler",
        "schedule": "simple",
        "size": "1024x1024",
        "model": "flux1-dev.safetensors",
    }
    assert workflow == {
        "prompt": "a fox",
        "steps": 20,
        "guidance_scale": 8,
        "seed": 8,
        "sampler": "euler",
        "schedule": "normal",
        "size": "512x640",
        "strength": 0.5,
        "model": "sd15.ckpt",
    }
    assert invoke == {"prompt": "a fox", "size": "8x9", "sampler": "euler", "schedule": "karras"}


async def test_hostile_files(page: Page) -> None:
    """Bombs, wrong lengths, loops and damage give no settings, or those that are sound, and never an error."""
    bomb = zlib.compress(bytes(50_000_000), 9)
    loop = {
        str(node): {
            "class_type": "KSampler" if not node else "LoraLoader",
            "inputs": {name: [str((node + 1) % 3000), 0] for name in ("model", "positive", "latent_image", "seed")},
        }
        for node in range(3000)
    }
    files = [
        with_chunk(b"zTXt", b"parameters\0\0" + bomb),
        with_chunk(b"iTXt", b"parameters\0\1\0\0\0" + bomb[:900]),
        with_chunk(b"tEXt", b"parameters\0Steps: 9", length=2**31),
        with_chunk(b"tEXt", b"__proto__\0{}"),
        png(prompt=json.dumps(loop)),
        png(prompt="[" * 100_000),
        png(prompt=json.dumps({"1": {"class_type": "KSampler", "inputs": None}, "2": None})),
        png(workflow=json.dumps({"nodes": [None, {"type": "KSampler"}], "links": [1, [None]]})),
        png(parameters="a lake\nSteps: 20, " + " " * 60_000),
        png(parameters="a lake\nSteps: " + "9" * 70_000),
        with_comment("JPEG", b"UNICODE\0"),
        ("image/jpeg", b"\xff\xd8\xff\xe1\xff\xffExif\0\0MM\0*\0\0\0\x08\xff\xff"),
        ("image/webp", b"RIFF\0\0\0\0WEBPEXIF\xff\xff\xff\xffII*\0\xff\xff\xff\xff"),
        ("image/png", b""),
        ("text/plain", png(parameters=INFOTEXT)[1]),
    ]
    found = await read(page, *files)
    assert found.pop(8) == {"prompt": "a lake", "steps": 20}
    assert found.pop(4) == {"prompt": ""}
    assert found == [None] * len(found)
