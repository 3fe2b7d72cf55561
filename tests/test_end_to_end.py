"""End to end: `tintype up` with the built-in model, real sockets, real clients, and a clean shutdown."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import numpy as np
import openai
import pytest
from PIL import Image

from tests.support.up import Up, up
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import image_service_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

PROMPT = "A serene mountain lake at sunset"
STEPS = 4  # enough to distinguish images
SOON = 20.0  # seconds that an action of about one second may take on a busy machine


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("up")
    with up(folder, "--first-image", PROMPT, "--output", "images/lake.png") as found:
        found.read_until("Ctrl-C stops both.")
        yield found


def pixels(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return the pixels of an encoded image, and check that it is not blank."""
    image = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert image.std() > 5
    return image


def is_open(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def wait_until_gone(pids: list[int], addresses: tuple[str, ...]) -> None:
    end = time.monotonic() + SOON
    while any(map(is_alive, pids)) or any(map(is_open, addresses)):
        assert time.monotonic() < end, f"left behind: {[pid for pid in pids if is_alive(pid)]}"
        time.sleep(0.05)


def test_first_image(running: Up) -> None:
    """`up` prints both addresses, makes the first image, names its file, and prints examples."""
    assert f"First image, '{PROMPT}': images/lake.png" in running.output
    pixels((running.data.parent / "images" / "lake.png").read_bytes())
    assert f"curl {running.url}/v1/images/generations" in running.output
    assert f'OpenAI(base_url="{running.url}/v1"' in running.output


def test_rest_link(running: Up) -> None:
    """The image is a link that works without a key."""
    answer = httpx.post(
        f"{running.url}/v1/images/generations", json={"prompt": PROMPT, "steps": STEPS}, timeout=SOON, trust_env=False
    )
    assert answer.status_code == httpx.codes.OK, answer.text
    image = httpx.get(answer.json()["data"][0]["url"], trust_env=False)
    assert image.headers["content-type"] == "image/png"
    pixels(image.content)


def test_openai_sdk_link(running: Up) -> None:
    """OpenAI's SDK gets a link, requested or by default, and the link leads to the image."""
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", timeout=SOON) as client:
        for wanted in ({}, {"response_format": "url"}):
            answer = client.images.generate(prompt=PROMPT, extra_body={"steps": STEPS} | wanted)
            assert answer.data is not None
            assert answer.data[0].url is not None
            pixels(httpx.get(answer.data[0].url, trust_env=False).content)


def test_openai_sdk(running: Up) -> None:
    """OpenAI's SDK gets several images of one request, and they differ."""
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", timeout=SOON) as client:
        answer = client.images.generate(
            prompt=PROMPT, n=2, response_format="b64_json", extra_body={"steps": STEPS, "seed": 7}
        )
    assert answer.data is not None
    first, second = (pixels(base64.b64decode(image.b64_json or "")) for image in answer.data)
    assert first.shape == second.shape
    assert (first != second).any()


def test_openai_sdk_edit(running: Up) -> None:
    """OpenAI's SDK edits an image: the kept part is bit-identical, the transparent part changes."""
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", timeout=SOON) as client:
        made = client.images.generate(prompt=PROMPT, response_format="b64_json", extra_body={"steps": STEPS})
        assert made.data is not None
        lake = base64.b64decode(made.data[0].b64_json or "")
        before = pixels(lake)
        mask = Image.new("RGBA", (before.shape[1], before.shape[0]), "white")
        mask.paste((0, 0, 0, 0), (0, 0, mask.width // 2, mask.height))
        file = io.BytesIO()
        mask.save(file, "PNG")
        answer = client.images.edit(
            image=("lake.png", lake), mask=file.getvalue(), prompt="a red house", extra_body={"steps": STEPS}
        )
    assert answer.data is not None
    after = pixels(base64.b64decode(answer.data[0].b64_json or ""))
    half = mask.width // 2
    assert np.array_equal(after[:, half:], before[:, half:])
    assert (after[:, :half] != before[:, :half]).any()


def test_openai_sdk_variation(running: Up) -> None:
    """A variation has the size of its image, and is close to it."""
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", timeout=SOON) as client:
        made = client.images.generate(prompt=PROMPT, response_format="b64_json", extra_body={"steps": STEPS})
        assert made.data is not None
        lake = base64.b64decode(made.data[0].b64_json or "")
    path, form = f"{running.url}/v1/images/variations", {"response_format": "b64_json", "steps": str(STEPS)}
    answers = [
        httpx.post(path, data=form | {"strength": strength}, files={"image": lake}, timeout=SOON, trust_env=False)
        for strength in ("0.25", "1")
    ]
    near, far = (pixels(base64.b64decode(answer.json()["data"][0]["b64_json"])) for answer in answers)
    assert near.shape == pixels(lake).shape
    assert distance(near, pixels(lake)) < distance(far, pixels(lake))


def test_unprompted(running: Up) -> None:
    """The web UI's API accepts an empty prompt; guidance then changes the image only with a negative prompt."""
    path, body = f"{running.url}/sdapi/v1/txt2img", {"steps": STEPS, "seed": 7}
    more: list[dict[str, Any]] = [{"cfg_scale": 1}, {"cfg_scale": 7}, {"cfg_scale": 7, "negative_prompt": PROMPT}]
    answers = [httpx.post(path, json=body | one, timeout=SOON, trust_env=False) for one in more]
    free, guided, led = (pixels(base64.b64decode(answer.json()["images"][0])) for answer in answers)
    assert distance(free, guided) < 0.01
    assert distance(free, led) > 1


def distance(one: np.ndarray[tuple[int, ...], Any], other: np.ndarray[tuple[int, ...], Any]) -> float:
    return float(np.abs(one.astype(float) - other).mean())


def test_grpc_stream(running: Up) -> None:
    """A gRPC client gets the steps, the previews and the image; the summary comes last.

    A step that is over before its event was sent has none.
    """
    request = pb.GenerateImagesRequest(prompt=PROMPT, steps=STEPS, seed=7)
    asked = pb.StreamImagesRequest(generation=request, previews=pb.Previews(count=2))
    with grpc.insecure_channel(running.address("gRPC")) as channel:
        events = list(pb_grpc.ImageServiceStub(channel).StreamImages(asked, timeout=SOON))
    kinds = [event.WhichOneof("event") for event in events]
    steps = [event.progress.step for event in events if event.HasField("progress")]
    assert steps == sorted(set(steps))
    assert steps[-1] == STEPS
    assert kinds.count("preview") == 2
    assert kinds[-2:] == ["image", "completed"]
    preview = next(event.preview for event in events if event.HasField("preview"))
    assert Image.open(io.BytesIO(preview.data)).size == (preview.width, preview.height)
    assert events[-2].image.seed == 7
    pixels(events[-2].image.data)


def test_rest_equals_grpc(running: Up) -> None:
    """The same seed makes the same image over REST and gRPC."""
    body = {"prompt": PROMPT, "steps": STEPS, "seed": 7, "response_format": "b64_json"}
    answer = httpx.post(f"{running.url}/v1/images/generations", json=body, timeout=SOON, trust_env=False).json()
    request = pb.GenerateImagesRequest(prompt=PROMPT, steps=STEPS, seed=7)
    image = answer["data"][0]
    with grpc.insecure_channel(running.address("gRPC")) as channel:
        same = pb_grpc.ImageServiceStub(channel).GenerateImages(request, timeout=SOON).images[0]
    assert image["seed"] == same.seed == 7
    assert np.array_equal(pixels(base64.b64decode(image["b64_json"])), pixels(same.data))


def command(running: Up, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a `tintype` command against the running servers."""
    words = [sys.executable, "-P", "-m", "tintype.cli", *arguments, "--grpc", running.address("gRPC")]
    done = subprocess.run(words, cwd=running.data.parent, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done


def test_generate(running: Up) -> None:
    """`tintype generate` saves numbered files in the format of their suffix."""
    done = command(running, "generate", PROMPT, "--steps", "4", "--seed", "7", "--count", "2", "-o", "lake.webp")
    for number in (1, 2):
        assert re.search(rf"^lake-{number}\.webp: \d+x\d+, seed {6 + number}, [\d.]+ s$", done.stdout, re.MULTILINE)
        with Image.open(running.data.parent / f"lake-{number}.webp") as image:
            assert image.format == "WEBP"


def test_generate_from_a_file(running: Up) -> None:
    """A file of prompts makes files by a pattern and a sheet; a prompt that fails is named, and the others are made."""
    file = running.data.parent / "prompts.txt"
    file.write_text(
        '# two and a half\na red house\n{"prompt": "a lake", "seed": 7, "count": 2}\n{"prompt": "x", "model": "y"}\n'
    )
    words = ["--prompts", str(file), "--steps", "1", "-o", "run/{index}-{image}-{slug}.png", "--grid", "sheet.webp"]
    command_line = [sys.executable, "-P", "-m", "tintype.cli", "generate", *words, "--grpc", running.address("gRPC")]
    done = subprocess.run(command_line, cwd=file.parent, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"tintype: {file}:4: there is no model 'y'" in done.stderr
    assert "3 images in " in done.stderr
    names = ["1-1-a-red-house.png", "2-1-a-lake.png", "2-2-a-lake.png"]
    assert sorted(path.name for path in (file.parent / "run").iterdir()) == names
    with Image.open(file.parent / "run" / names[2]) as image:
        assert "Seed: 8," in image.info["parameters"]
    with Image.open(file.parent / "sheet.webp") as sheet:
        assert sheet.width > 2 * image.width


def test_bench_of_a_running_service(running: Up) -> None:
    """`tintype bench` measures a running service and what its gateway adds."""
    words = ["--url", running.url, "--seconds", "4", "--steps", "1", "--json", "-q"]
    found = json.loads(command(running, "bench", *words).stdout)
    assert found["first"]["count"] == 1
    assert found["notes"] or found["by_steps"][0]["through_gateway"]["count"] >= 3
    assert found["where"] == "a running service, over gRPC"


def test_models(running: Up) -> None:
    """`tintype models` lists the models, and unloads and loads one."""
    name = command(running, "models").stdout.splitlines()[1].split()[0]
    assert "on disk" in command(running, "models", "unload", name).stdout
    assert "loaded" in command(running, "models", "load", name).stdout


@pytest.mark.parametrize("interrupt", [os.kill, os.killpg], ids=["kill", "terminal"])
def test_ctrl_c(tmp_path: Path, interrupt: Callable[[int, int], None]) -> None:
    """Ctrl-C ends both servers within seconds with exit code 0, and frees the ports.

    A terminal sends it to the whole process group, `kill` to one process.
    """
    with up(tmp_path) as one:
        one.read_until("Ctrl-C stops both.")
        children, addresses = one.children(), one.addresses
        assert len(children) == 2
        assert all(map(is_open, addresses))
        interrupt(one.process.pid, signal.SIGINT)
        assert one.process.wait(SOON) == 0
        wait_until_gone(children, addresses)
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_killed_parent(tmp_path: Path) -> None:
    """If `tintype up` is killed, its servers end too."""
    with up(tmp_path) as one:
        one.read_until("Ctrl-C stops both.")
        children, addresses = one.children(), one.addresses
        one.process.kill()
        wait_until_gone(children, addresses)


@pytest.mark.parametrize(("index", "name"), [(0, "service"), (1, "gateway")])
def test_killed_child(tmp_path: Path, index: int, name: str) -> None:
    """A server that dies is restarted at its address, and images can be made again."""
    with up(tmp_path) as one:
        one.read_until("Ctrl-C stops both.")
        os.kill(sorted(one.children())[index], signal.SIGKILL)
        deadline = time.monotonic() + SOON
        while not is_ready(one.url) or len(one.children()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        body = {"prompt": PROMPT, "steps": 1, "response_format": "b64_json"}
        answer = httpx.post(f"{one.url}/v1/images/generations", json=body, timeout=SOON, trust_env=False)
        assert answer.status_code == 200
    assert f"the {name} was ended by signal SIGKILL" in (tmp_path / "log").read_text()
    assert "starting it again in 1 s (1 of 5)" in (tmp_path / "log").read_text()


def is_ready(url: str) -> bool:
    """Return whether the gateway answers and is ready."""
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_terminated(tmp_path: Path) -> None:
    """SIGTERM drains both servers; the exit code is 0."""
    with up(tmp_path, "--lame-duck", "0.2") as one:
        one.read_until("Ctrl-C stops both.")
        children, addresses = one.children(), one.addresses
        one.process.send_signal(signal.SIGTERM)
        assert one.process.wait(SOON) == 0
        wait_until_gone(children, addresses)
    assert "not ready; the port closes in 0.2 s" in (tmp_path / "log").read_text()
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_reloaded(tmp_path: Path) -> None:
    """SIGHUP to `up` brings new settings and models to both servers; an invalid file changes nothing.

    Requests during that are answered. A server that is restarted later has the new settings.
    """
    settings, shelf = tmp_path / "tintype.toml", tmp_path / "shelf"
    shelf.mkdir()
    settings.write_text('models_folder = "shelf"\n')
    with up(tmp_path) as one:
        one.read_until("Ctrl-C stops both.")
        log, images = tmp_path / "log", f"{one.url}/v1/images/generations"

        def reload(text: str, said: str) -> None:
            settings.write_text(text)
            count = log.read_text().count(said)
            one.process.send_signal(signal.SIGHUP)
            end = time.monotonic() + SOON
            while log.read_text().count(said) == count:
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.05)

        def rate() -> str | None:
            answer = httpx.post(images, json={"prompt": PROMPT, "steps": 1}, trust_env=False, timeout=SOON * 3)
            assert answer.status_code == 200, answer.text
            return answer.headers.get("x-ratelimit-limit-requests")

        assert rate() is None
        copy_model(shelf / "new", name="new")
        new = 'models_folder = "shelf"\ngrace = 7\n[gateway]\nrate_limit = 50\n'
        reload(new, "gateway: the settings were read again")
        assert rate() == "50"
        models = httpx.get(f"{one.url}/v1/models", trust_env=False, timeout=SOON).json()["data"]
        assert [model["id"] for model in models] == ["new"]
        reload("rate_limit = [", "up: the settings are not reloaded: tintype.toml is not valid TOML")
        assert rate() == "50"
        os.kill(one.children()[1], signal.SIGKILL)
        wait_until_ready(one.url)
        assert rate() == "50"


def copy_model(folder: Path, name: str) -> None:
    """Copy the built-in model under another name."""
    shutil.copytree(BUILTIN, folder)
    manifest = folder / "tintype.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"name": name}))


def wait_until_ready(url: str) -> None:
    """Wait until the gateway is ready again after a crash."""
    end = time.monotonic() + SOON * 2
    time.sleep(0.5)
    while not is_ready(url):
        assert time.monotonic() < end
        time.sleep(0.2)


def test_check(tmp_path: Path) -> None:
    """--check starts, makes one image, stops and exits with 0; files of the current folder are not executed."""
    for name in ("uvicorn", "numpy", "random"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the folder was run')")
    with up(tmp_path, "--check") as one:
        assert one.process.wait(SOON * 2) == 0
        assert one.process.stdout is not None
        assert f"First image, '{PROMPT}': not kept (" in one.process.stdout.read()


def test_no_telemetry(tmp_path: Path) -> None:
    """Onnxruntime's telemetry is off: it would store an id of the machine and the data to send."""
    quiet = ("ORT_", "CI", "GITHUB_", "XDG_", "PYTEST")  # onnxruntime sends nothing if it detects a test
    environ = {name: value for name, value in os.environ.items() if not name.startswith(quiet)}
    words = [sys.executable, "-P", "-m", "tintype.cli", "generate", PROMPT, "--steps", "1", "-o", "a.png"]
    subprocess.run(words, cwd=tmp_path, env=environ | {"HOME": str(tmp_path)}, check=True, timeout=60)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_generate_alone(tmp_path: Path) -> None:
    """`tintype generate` needs no server: it runs the model itself, and the same seed makes the same image."""
    words = [
        sys.executable,
        "-P",
        "-m",
        "tintype.cli",
        "generate",
        PROMPT,
        "--steps",
        "4",
        "--seed",
        "7",
        "--quiet",
        "-o",
    ]
    for name in ("a.png", "b.png"):
        done = subprocess.run([*words, name], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{name}: ")
        assert done.stderr == ""
    first, second = (pixels((tmp_path / name).read_bytes()) for name in ("a.png", "b.png"))
    assert np.array_equal(first, second)
