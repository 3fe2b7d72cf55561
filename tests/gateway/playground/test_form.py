"""The playground's form as a person uses it: names, sizes, seeds, adapters, weights, presets, links, dropped images."""

from __future__ import annotations

import json
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image, PngImagePlugin

from tests.support.gateway.chromium import CONTROL, Page
from tests.support.gateway.playground import (
    IDLE,
    OPEN,
    TEXT,
    VISIBLE,
    ControlledService,
    drop,
    generate,
    open_with,
    press_button,
)

if TYPE_CHECKING:
    import httpx

    from tests.support.gateway.fakes import FakeService
    from tintype.v1 import image_service_pb2 as pb

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.browser,
    pytest.mark.slow,
]

VALUE = "document.querySelector({!r}).value"
OPTIONS = "[...document.querySelector({!r}).options].map((one) => one.textContent).join()"
NOTICE = TEXT.format("#notice-text")
CHOOSE_FILE = """{{
    const data = new DataTransfer();
    data.items.add(new File([{text}], "presets.json", {{ type: "application/json" }}));
    document.querySelector({where!r}).files = data.files;
    document.querySelector({where!r}).dispatchEvent(new Event("change", {{ bubbles: true }}));
}}"""


async def select(page: Page, name: str, value: str) -> None:
    """Choose an option, as the keyboard or the mouse does."""
    await page.run(f"document.querySelector('#{name}').value = {value!r}")
    await page.run(f"document.querySelector('#{name}').dispatchEvent(new Event('change', {{bubbles: true}}))")


async def fill(page: Page, where: str, text: str) -> None:
    """Replace the text of a field."""
    await page.run(f"document.querySelector({where!r}).select()")
    await page.type(where, text)


async def settled(page: Page, fake: FakeService, count: int) -> list[pb.GenerateImagesRequest]:
    """Press Ctrl+Enter, and return the requests that the service got."""
    before = len(fake.requests)
    await page.press("Enter", CONTROL)
    await page.wait_until(IDLE)
    assert len(fake.requests) == before + count
    return fake.requests[before:]


async def test_first_view_is_calm(page: Page) -> None:
    """Prompt, model, size and seed are visible at once, also on a phone, where all fits; groups are closed."""
    for width, height in ((1280, 900), (390, 844)):
        await page.set_window(width, height, phone=width < 400)
        for name in ("prompt", "generate", "model", "size", "seed"):
            assert await page.run(f"document.querySelector('#{name}').getBoundingClientRect().bottom <= innerHeight")
        assert await page.run("document.querySelector('#form details[open]')") is None
        await page.run(OPEN)
        assert await page.run("document.documentElement.scrollWidth <= innerWidth")
        small = "[...document.querySelectorAll('#form button, #form select')].filter((one) => one.checkVisibility())"
        assert await page.run(f"{small}.every((one) => one.offsetHeight >= 24 && one.offsetWidth >= 24)")
        await page.run(OPEN.replace("true", "false"))


async def test_samplers_have_usual_names(page: Page, fake: FakeService) -> None:
    """Samplers and schedules have their usual names, the model's default is marked, and the contract's name is sent."""
    names = "DDIM (model's default),DDIM,DPM++ 2M,Euler,Euler a"
    assert await page.run(OPTIONS.format("#sampler")) == names
    await select(page, "sampler", "euler_ancestral")
    assert await page.run(OPTIONS.format("#schedule")) == "The sampler's own,Karras,Normal"
    await select(page, "schedule", "karras")
    await page.type("#prompt", "a lake")
    fake.behave = ControlledService.ready()
    sent = await generate(page, fake)
    assert (sent.sampler, sent.schedule) == ("euler_ancestral", "karras")
    assert "samplerEuler a" in await page.run(TEXT.format("#shown-settings"))


async def test_schedules_are_those_of_the_sampler(page: Page, fake: FakeService) -> None:
    """A schedule that the sampler refuses can't be chosen; one that is chosen or in a link is left out, with a note."""
    enabled = "[...document.querySelector('#schedule').options].map((one) => !one.disabled).join()"
    assert await page.run(OPTIONS.format("#schedule")) == "Model's default,Karras (not with DDIM),Normal"
    assert await page.run(enabled) == "true,false,true"
    await select(page, "sampler", "euler")
    assert await page.run(enabled) == "true,true,true"
    await select(page, "schedule", "karras")
    await page.run("document.querySelector('#sampling-group').open = false")
    await select(page, "sampler", "ddim")
    note = "DDIM does not take the schedule Karras: its own is used."
    assert await page.run(TEXT.format("#schedule-note")) == note
    assert await page.run(VISIBLE.format("#schedule-note"))
    await page.type("#prompt", "a lake")
    assert ((sent := await generate(page, fake)).sampler, sent.schedule) == ("ddim", "")
    await select(page, "schedule", "normal")
    assert await page.run(TEXT.format("#schedule-note")) == ""
    assert (await generate(page, fake)).schedule == "normal"
    await page.run("location.hash = '#sampler=ddim&schedule=karras'")
    await page.wait_until(f"{TEXT.format('#schedule-note')} === {note!r}")
    assert await page.run(VALUE.format("#schedule")) == ""


async def test_seed_is_random_kept_or_counts(page: Page, fake: FakeService) -> None:
    """A random seed changes, a typed one is kept, +1 continues after the images of a request; the last can be used."""
    await page.type("#prompt", "a lake")
    first, second = (await generate(page, fake)).seed, (await generate(page, fake)).seed
    assert first != second
    assert await page.run(VALUE.format("#seed")) == ""
    await press_button(page, "Use the last seed")
    assert (await generate(page, fake)).seed == second
    await fill(page, "#seed", "41")
    assert [(await generate(page, fake)).seed for _ in range(2)] == [41, 41]
    await page.click("#seed-mode label:last-child")
    await fill(page, "#n", "3")
    assert [(await generate(page, fake)).seed for _ in range(2)] == [41, 44]
    assert await page.run(VALUE.format("#seed")) == "47"
    await press_button(page, "New random seed")
    assert await page.run(VALUE.format("#seed")) not in {"", "47"}
    await page.click("#seed-mode label:first-child")
    assert await page.run(VALUE.format("#seed")) == ""


async def test_size_by_ratio(page: Page, fake: FakeService) -> None:
    """Sizes are listed by ratio for the model, its own is marked, and width and height can be swapped or typed."""
    listed = (await page.run(OPTIONS.format("#size"))).split(",")
    assert listed[0] == "3:2 – 96 × 64 (native)"  # noqa: RUF001 - as people write it
    sizes = dict(one.split(" – ") for one in listed if " – " in one)  # noqa: RUF001
    for ratios, size in list(sizes.items())[1:]:
        across, down = map(int, ratios.split(" / ")[0].split(":"))
        width, height = map(int, size.split(" × "))  # noqa: RUF001
        assert abs(width / height / (across / down) - 1) < 0.1
        assert 0.7 < width * height / (96 * 64) < 1.4
    await page.type("#prompt", "a lake")
    await press_button(page, "Swap width and height")
    swapped = await generate(page, fake)
    assert (swapped.width, swapped.height) == (64, 96)
    await select(page, "size", "other")
    assert await page.run(VISIBLE.format("#size-note"))
    await fill(page, "#width", "200")
    await page.click("#swap")
    assert (await generate(page, fake)).height == 200


async def test_adapters_and_weights(page: Page, fake: FakeService) -> None:
    """LoRAs have weights, embeddings are inserted at the cursor, and Ctrl+Up weighs words; all of it is sent."""
    await page.click("#adapters-group summary")
    await select(page, "lora", "ink")
    await page.run("document.querySelector('#loras [type=range]').focus()")
    for _ in range(5):
        await page.press("ArrowLeft")
    assert await page.run("document.querySelector('#loras [type=number]').value") == "0.75"
    await page.type("#prompt", "a red fox")
    await page.run("document.querySelector('#prompt').setSelectionRange(3, 3)")
    for key in ("ArrowUp", "ArrowUp", "ArrowUp", "ArrowDown"):
        await page.press(key, CONTROL)
    assert await page.run(VALUE.format("#prompt")) == "a (red:1.2) fox"
    await page.run("document.querySelector('#prompt').setSelectionRange(15, 15)")
    await select(page, "embedding", "<cat>")
    await fill(page, "#embedding-weight", "1.3")
    await page.click("#embedding-insert")
    await select(page, "embedding", "EasyNegative")
    await fill(page, "#embedding-weight", "1")
    await page.click("#embedding-insert-negative")
    sent = await generate(page, fake)
    assert (sent.prompt, sent.negative_prompt) == ("a (red:1.2) fox, (<cat>:1.3)", "EasyNegative")
    assert [(lora.name, lora.weight) for lora in sent.loras] == [("ink", 0.75)]
    assert (sorted(sent.embeddings), sent.prompt_weighting) == (["<cat>", "EasyNegative"], True)
    await press_button(page, "Remove ink")
    await fill(page, "#prompt", "a fox <lora:INK:0.5> <lora:odd:1>")
    left = "Left out: <lora:odd:1>, which the model does not have."
    await page.wait_until(f"{TEXT.format('#prompt-note')}.includes({left!r})")
    sent = await generate(page, fake)
    assert (sent.prompt, [(lora.name, lora.weight) for lora in sent.loras]) == ("a fox", [("ink", 0.5)])
    assert not sent.prompt_weighting


async def test_one_image_per_line(page: Page, fake: FakeService) -> None:
    """Several prompts, one a line, are as many requests, if the person says so; seeds count on."""
    await page.type("#prompt", "a fox\n\n a lake \na hill")
    await page.wait_until(VISIBLE.format("#lines"))
    (whole,) = await settled(page, fake, 1)
    assert whole.prompt == "a fox\n\n a lake \na hill"
    await page.click("#lines")
    await fill(page, "#seed", "5")
    await page.click("#seed-mode label:last-child")
    sent = await settled(page, fake, 3)
    assert sorted((one.prompt, one.seed) for one in sent) == [("a fox", 5), ("a hill", 7), ("a lake", 6)]
    assert await page.run(VALUE.format("#seed")) == "8"


async def test_own_presets(page: Page, gateway: httpx.AsyncClient) -> None:
    """Settings are saved under a name, applied after a reload, renamed, deleted, brought back, exported, imported."""
    await page.run(OPEN)
    note = TEXT.format("#presets-note")
    await page.type("#prompt", "a lake")
    await fill(page, "#steps", "9")
    await select(page, "lora", "ink")
    await page.type("#preset-name", "night")
    await page.click("#preset-save")
    await page.wait_until(f"{note} === 'Saved “night”.'")
    await page.open("about:blank")
    await page.open(str(gateway.base_url))
    await page.wait_until("document.querySelector('#model').options.length === 2")
    await page.run(OPEN)
    await select(page, "preset", "night")
    await page.click("#preset-apply")
    await page.wait_until(f"{note} === 'Applied “night”.'")
    assert await page.run(
        "['prompt', 'steps', 'lora-weight-0'].map((id) => document.getElementById(id).value).join()"
    ) == ("a lake,9,1")
    await fill(page, "#preset-name", "day")
    await page.click("#preset-rename")
    assert await page.run(OPTIONS.format("#preset")) == "Choose …,day"
    exported = await page.run("localStorage.getItem('tintype-presets')")
    await page.click("#preset-delete")
    assert await page.run(OPTIONS.format("#preset")) == "None yet"
    await page.click("#preset-undo")
    assert await page.run(OPTIONS.format("#preset")) == "Choose …,day"
    await page.click("#preset-delete")
    bad = exported.replace('"steps": 9', '"steps": 900')
    where = "#preset-import"
    await page.run(CHOOSE_FILE.format(text=json.dumps(bad), where=where))
    await page.wait_until(f"{note} === '“day”: steps must be a whole number from 1 to 150, not “900”.'")
    await page.run(CHOOSE_FILE.format(text=json.dumps(exported), where=where))
    await page.wait_until(f"{note} === 'Imported 1.'")


async def test_link_fills_the_form(page: Page, fake: FakeService) -> None:
    """A copied link fills the form without running, and says what of it is wrong or not there."""
    await page.run(OPEN)
    await page.type("#prompt", "a (red:1.2) lake & 50% “fog”")
    await select(page, "size", "512x512")
    await fill(page, "#seed", "7")
    await select(page, "lora", "ink")
    await page.run("navigator.clipboard.writeText = () => Promise.reject()")
    await page.click("#copy-link")
    await page.wait_until("document.querySelector('#snippet').open")
    link = await page.run(VALUE.format("#snippet-text"))
    await page.open("about:blank")
    await page.open(link)
    await page.wait_until(f"{NOTICE} === 'The settings of the link are filled in.'")
    assert fake.requests == []
    assert await page.run("location.hash") == ""
    sent = await generate(page, fake)
    assert (sent.prompt, sent.seed, sent.width) == ("a (red:1.2) lake & 50% “fog”", 7, 512)
    assert ([one.name for one in sent.loras], sent.prompt_weighting) == (["ink"], True)
    await page.run("location.hash = '#prompt=a+(red)+fox&prompt_weighting=false'")
    await page.wait_until(f"{VALUE.format('#prompt')} === 'a (red) fox'")
    assert not (await generate(page, fake)).prompt_weighting
    await page.run("location.hash = '#steps=900&model=odd&secret=1'")
    await page.wait_until(f"{NOTICE}.includes('no model “odd”')")
    for problem in ("steps must be a whole number from 1 to 150, not “900”.", "There is no setting “secret”."):
        assert problem in await page.run(NOTICE)
    await page.run("location.hash = '#stage'")
    assert await page.run("location.hash") == "#stage"


def image_of(text: str) -> bytes:
    """Return a PNG file with settings as AUTOMATIC1111's web UI writes them."""
    file, info = BytesIO(), PngImagePlugin.PngInfo()
    info.add_text("parameters", text)
    Image.new("RGB", (64, 64)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


async def test_dropped_image_offers_its_settings(page: Page, fake: FakeService) -> None:
    """Settings of a dropped image are offered beside using it as an image; what the server lacks is named."""
    settings = "Steps: 12, Sampler: DPM++ 2M Karras, CFG scale: 6, Seed: 3, Size: 64x96, Model: large, Clip skip: 2"
    file = image_of(f"a fox <lora:ink:0.5>\nNegative prompt: fog\n{settings}")
    button = "[...document.querySelectorAll('#notice button')].find((one) => one.textContent === {!r}).click()"
    await page.type("#prompt", "a lake")
    await drop(page, file)
    await page.wait_until(f"{NOTICE} === 'This image has settings.'")
    assert await page.run(VALUE.format("#prompt")) == "a lake"
    await page.run(button.format("Use its settings"))
    await page.wait_until(f"{NOTICE} === 'The settings of the image are filled in.'")
    expected: dict[str, Any] = {
        "model": "org/large",
        "prompt": "a fox",
        "negative_prompt": "fog",
        "steps": 12,
        "seed": 3,
    }
    expected |= {"guidance_scale": 6, "sampler": "dpmpp_2m", "schedule": "karras", "width": 64, "height": 96}
    sent = await generate(page, fake)
    assert {name: getattr(sent, name) for name in expected} == expected
    assert (sent.clip_skip, [(one.name, one.weight) for one in sent.loras]) == (1, [("ink", 0.5)])
    await drop(page, image_of("a fox\nSteps: 5, Sampler: Restart, Model: sd_xl_base_1.0"))
    await page.wait_until(f"{NOTICE} === 'This image has settings.'")
    await page.run(button.format("Use its settings"))
    await page.wait_until(f"{NOTICE}.includes('This server has no model “sd_xl_base_1.0”.')")
    assert "The model has no sampler “Restart”." in await page.run(NOTICE)
    await drop(page, file)
    await page.wait_until(f"{NOTICE} === 'This image has settings.'")
    await page.run(button.format("Use as image"))
    await page.wait_until("document.querySelector('#initial-image-preview').naturalWidth === 64")
    assert not await page.run(VISIBLE.format("#notice"))


async def test_state_of_the_model(page: Page, gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """The form says that the model must be loaded, and that a negative prompt has no effect without guidance."""
    assert "Not in memory" in await page.run(TEXT.format("#model-note"))
    fake.loaded.add("tiny")
    fake.behave = ControlledService.ready()
    await page.type("#prompt", "a lake")
    await generate(page, fake)
    await page.wait_until(f"{TEXT.format('#model-note')} === ''")
    await page.run(OPEN)
    assert not await page.run(VISIBLE.format("#negative-note"))
    await page.type("#guidance_scale", "1")
    assert await page.run(VISIBLE.format("#negative-note"))
    assert await page.run(TEXT.format("#sampling-summary")) == "guidance 1"
    await open_with(page, gateway, fake, "guided")
    assert await page.run("document.querySelector('#negative_prompt').disabled")
    assert "without a negative prompt" in await page.run(TEXT.format("#negative-note"))
