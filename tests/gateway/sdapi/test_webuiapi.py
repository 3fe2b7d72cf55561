"""A foreign client, `webuiapi`, with the built-in model over real sockets."""

from __future__ import annotations

import base64
import threading
import time
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import webuiapi
from PIL import Image

from tests.support.up import Up, up

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

LONG = 60.0  # seconds until something quick must have happened, on a busy machine
STEPS = 4  # enough to tell images apart


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("up")) as found:
        found.read_until("Ctrl-C stops both.")
        yield found


@contextmanager
def connect(running: Up) -> Iterator[Any]:
    api = webuiapi.WebUIApi(baseurl=f"{running.url}/sdapi/v1")
    api.session.trust_env = False
    try:
        yield api
    finally:
        api.session.close()


@pytest.fixture
def api(running: Up) -> Iterator[Any]:
    with connect(running) as found:
        yield found


def levels(image: Image.Image) -> np.ndarray[tuple[int, ...], Any]:
    return np.asarray(image.convert("RGB")).astype(float)


def test_webuiapi_parses_all_lists(api: Any) -> None:
    """All its lists are parsed, and its helpers find the model."""
    name = api.util_get_current_model()
    assert api.util_get_model_names() == [name]
    assert "Euler a" in api.util_get_sampler_names()
    assert "karras" in api.util_get_scheduler_names()
    api.util_set_model(name)
    api.util_wait_for_ready(check_interval=0.1)
    for read in (api.get_cmd_flags, api.get_upscalers, api.get_latent_upscale_modes, api.get_sd_vae, api.get_loras):
        assert read() is not None
    for read in (api.get_embeddings, api.get_hypernetworks, api.get_face_restorers, api.get_prompt_styles):
        assert read() is not None
    assert set(api.get_memory()) == {"ram", "cuda"}
    assert api.refresh_checkpoints() is None


def test_txt2img_seeds_and_infotexts(api: Any) -> None:
    """Images of one request differ, the seed makes one again, and `info` and file have the same infotext."""
    body = {"prompt": "a lake at sunset", "steps": STEPS, "width": 256, "height": 256, "sampler_name": "Euler a"}
    made = api.txt2img(**body, scheduler="Karras", seed=7, batch_size=2)
    assert made.info["all_seeds"] == [7, 8]
    assert (levels(made.images[0]) != levels(made.images[1])).any()
    again = api.txt2img(**body, scheduler="Karras", seed=8)
    assert np.abs(levels(again.image) - levels(made.images[1])).max() <= 2
    for image, text, seed in zip(made.images, made.info["infotexts"], (7, 8), strict=True):
        assert image.info["parameters"] == text
        assert text.startswith(
            f"a lake at sunset\nSteps: {STEPS}, Sampler: Euler a, Schedule type: Karras, CFG scale: 7"
        )
        assert f"Seed: {seed}, Size: 256x256" in text
        assert api.png_info(image).info == text


def test_img2img_keeps_unmasked_parts(api: Any) -> None:
    """A low strength stays close to the image; parts that the mask keeps are bit-identical, and white parts change."""
    made = api.txt2img(prompt="a lake at sunset", steps=STEPS, seed=7, width=256, height=256)
    body = {"images": [made.image], "prompt": "a red house", "seed": 3, "width": 256, "height": 256, "steps": 8}
    near, far = (api.img2img(**body, denoising_strength=strength).image for strength in (0.2, 1.0))
    before = levels(made.image)
    assert np.abs(levels(near) - before).mean() < np.abs(levels(far) - before).mean()
    mask = Image.new("L", (256, 256))
    mask.paste(255, (64, 64, 192, 192))
    kept = np.asarray(mask) == 0
    for only_masked in (False, True):
        after = levels(api.img2img(**body, mask_image=mask, mask_blur=0, inpaint_full_res=only_masked).image)
        assert np.array_equal(after[kept], before[kept])
        assert np.abs(after[~kept] - before[~kept]).mean() > 5


def test_hires_keeps_the_content(api: Any) -> None:
    """`enable_hr` gives a larger image of the same content."""
    body = {"prompt": "a lake at sunset", "steps": 8, "seed": 7, "width": 256, "height": 256}
    small = api.txt2img(**body)
    large = api.txt2img(**body, enable_hr=True, hr_scale=1.5, denoising_strength=0.3)
    other = api.txt2img(**body | {"seed": 99})
    assert large.image.size == (384, 384)
    shrunk = levels(large.image.resize((256, 256)))
    assert np.abs(shrunk - levels(small.image)).mean() < np.abs(shrunk - levels(other.image)).mean()


def test_extra_single_image_enlarges(api: Any) -> None:
    """An image is enlarged."""
    assert api.extra_single_image(Image.new("RGB", (64, 48), "teal"), upscaler_1="Lanczos").image.size == (128, 96)


def test_interrupt_from_another_thread(running: Up, api: Any) -> None:
    """While one thread waits for images, another sees steps and a preview, and interrupts it; then nothing runs."""
    answers: list[Any] = []

    def request_images() -> None:
        with connect(running) as other:
            answers.append(other.txt2img(prompt="a lake", steps=150, n_iter=50, width=256, height=256))

    thread = threading.Thread(target=request_images)
    thread.start()
    seen = wait_until(api, lambda progress: progress["current_image"])
    assert 0 < seen["progress"] <= 1
    assert (seen["state"]["job_count"], seen["state"]["sampling_steps"]) == (50, 150)
    assert Image.open(BytesIO(base64.b64decode(seen["current_image"]))).size == (256, 256)
    assert api.interrupt() == {}
    thread.join(LONG)
    assert len(answers[0].images) < 50
    assert len(answers[0].images) == len(answers[0].info["all_seeds"])
    wait_until(api, lambda progress: progress["state"]["job_count"] == 0 == progress["progress"])


def wait_until(api: Any, condition: Any) -> dict[str, Any]:
    end = time.monotonic() + LONG
    while not condition(progress := dict(api.get_progress())):
        assert time.monotonic() < end, progress
        time.sleep(0.02)
    return progress


def test_errors_are_raised(api: Any) -> None:
    """It raises the error, with status and text."""
    with pytest.raises(RuntimeError) as caught:
        api.txt2img(prompt="x", steps=900)
    assert caught.value.args[0] == 422
    assert "must be an integer from 0 to 150, not 900" in caught.value.args[1]
