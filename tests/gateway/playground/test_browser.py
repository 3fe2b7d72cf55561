"""The pages in a real browser: a generation with previews, one that is cancelled, errors, keys."""

from __future__ import annotations

import asyncio
import base64
import socket
import sys
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.support.gateway.chromium import CONTROL, Page
from tests.support.gateway.fakes import (
    FakeService,
    Refusal,
    Service,
    config,
    image,
    running_gateway,
    running_service,
    sleep_long,
)
from tests.support.gateway.playground import (
    BLUE,
    GREEN,
    IDLE,
    OPEN,
    TEXT,
    VISIBLE,
    ControlledService,
    choose,
    drop,
    generate,
    open_with,
    png,
    press_button,
)
from tintype.gateway.config import GatewayConfig
from tintype.gateway.dialects import DIALECTS
from tintype.v1 import image_service_pb2 as pb
from tintype.v1.keyfile import create

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.browser,
    pytest.mark.slow,
]

# The colour in the middle of the tile, or of the finished image.
TILE = "[...document.querySelector('.tile').getContext('2d').getImageData(30, 30, 1, 1).data].slice(0, 3).join()"


async def test_generation_shows_its_progress(page: Page, fake: FakeService) -> None:
    """Ctrl+Enter sends; queue, step, preview and image are shown in turn, and the image is kept with its seed."""
    fake.behave = controlled = ControlledService()
    await page.type("#prompt", "a lake, by 'nobody' <b>")
    await page.type("#seed", "41")
    await page.press("Enter", CONTROL)
    await page.wait_until(f"{TEXT.format('#queue .step')} === '2 requests before yours'")
    controlled.started.set()
    await page.wait_until(f"{TEXT.format('#queue .step')} === 'Step 3 of 6'")
    await page.wait_until(f"{TILE} === '0,0,255'")
    assert await page.run("document.querySelector('#queue progress').value") == 0.5
    controlled.finished.set()
    await page.wait_until(VISIBLE.format("#shown-image"))
    await page.wait_until("document.querySelector('#shown-image').naturalWidth === 64")
    assert not await page.run(VISIBLE.format("#in-progress"))
    assert await page.run(TEXT.format("#shown-prompt")) == "a lake, by 'nobody' <b>"
    assert "seed41" in await page.run(TEXT.format("#shown-settings"))
    assert await page.run("document.querySelectorAll('#images li').length") == 1
    assert (await page.run(TEXT.format("#status"))).startswith("Ready after")
    assert (fake.requests[0].prompt, fake.requests[0].seed) == ("a lake, by 'nobody' <b>", 41)
    assert fake.previews[0].count == 3


async def test_escape_cancels(page: Page, fake: FakeService) -> None:
    """Escape cancels the request, in the page and at the service; the next one can be sent at once."""
    fake.behave = sleep_long
    await page.type("#prompt", "a lake")
    await page.run("document.querySelector('#generate').click()")
    await page.wait_until(VISIBLE.format("#queue .cancel"))
    await asyncio.wait_for(fake.started.wait(), 10)
    await page.press("Escape")
    await asyncio.wait_for(fake.cancelled.wait(), 10)
    await page.wait_until(f"{TEXT.format('#status')} === 'Cancelled.'")
    assert await page.run("document.querySelector('#status').getBoundingClientRect().bottom <= innerHeight")
    assert await page.run(TEXT.format("#error")) == ""
    assert not await page.run("document.querySelector('#generate').disabled")
    assert not await page.run(VISIBLE.format("#queue-section"))


async def test_error_focuses_the_field(page: Page, fake: FakeService) -> None:
    """An error is shown as text, and the field at fault gets the focus."""
    faults = [("steps", "must be 1 to 150, not 149")]
    fake.behave = Refusal(grpc.StatusCode.INVALID_ARGUMENT, reason="INVALID_FIELD", violations=faults)
    await page.type("#prompt", "a lake")
    await page.press("Enter", CONTROL)
    await page.wait_until(f"{TEXT.format('#queue .entry-problem')} === \"Invalid 'steps': must be 1 to 150, not 149.\"")
    assert await page.run("document.activeElement.id") == "steps"


async def test_invalid_fields_have_messages(page: Page, fake: FakeService) -> None:
    """An invalid field has a message of the page's own below it, also in closed settings; a valid one has none."""
    await page.run("document.querySelector('#sampling-group').open = false")
    await page.run("document.querySelector('#steps').value = 900")
    await page.press("Enter", CONTROL)
    await page.wait_until(f"{TEXT.format('#steps-problem')} === 'It must be a whole number from 1 to 150.'")
    assert await page.run(TEXT.format("#prompt-problem")) == "Describe the image."
    assert await page.run(VISIBLE.format("#steps-problem"))
    assert await page.run("document.activeElement.id") == "prompt"
    await page.type("#prompt", "a lake")
    await page.run("document.querySelector('#steps').value = 9")
    await page.press("Enter", CONTROL)
    await page.wait_until("!document.querySelector('#form .problem')")
    await page.wait_until(IDLE)
    assert [request.steps for request in fake.requests] == [9]


async def test_samplers_can_be_chosen(page: Page, fake: FakeService) -> None:
    """Sampler and schedule can be chosen among the model's; without a choice they are not sent."""
    options = "[...document.querySelector('#sampler').options].map((one) => one.value).join()"
    assert await page.run(options) == ",ddim,dpmpp_2m,euler,euler_ancestral"
    await page.type("#prompt", "a lake")
    for sampler, schedule in (("euler", "karras"), ("", "")):
        for name, value in (("sampler", sampler), ("schedule", schedule)):
            await page.run(f"document.querySelector('#{name}').value = {value!r}")
        before = len(fake.requests)
        await page.press("Enter", CONTROL)
        await page.wait_until(IDLE)
        assert [(one.sampler, one.schedule) for one in fake.requests[before:]] == [(sampler, schedule)]


async def test_each_image_has_its_own_seed(page: Page, fake: FakeService) -> None:
    """Each of several images is kept with the seed that makes it alone, and the copied request has that seed."""

    async def behave(request: pb.GenerateImagesRequest, _: Any) -> AsyncIterator[pb.StreamImagesResponse]:
        for index in range(request.count):
            yield image(index, data=png(GREEN))
        yield pb.StreamImagesResponse(completed=pb.Completed(model="tiny"))

    fake.behave = behave
    await page.type("#prompt", "a lake")
    await page.type("#seed", "5")
    await page.run("document.querySelector('#n').value = 3")
    await page.press("Enter", CONTROL)
    await page.wait_until("document.querySelectorAll('#images li').length === 3")
    await page.run("document.querySelector('#images button').click()")  # the newest is first
    await page.wait_until(f"{TEXT.format('#shown-settings')}.includes('seed7')")
    await page.run("navigator.clipboard.writeText = () => Promise.reject()")  # as in a page without https
    await page.run("document.querySelector('#curl').click()")
    await page.wait_until("document.querySelector('#snippet').open")
    command = await page.run("document.querySelector('#snippet-text').value")
    assert '"seed": 7' in command
    assert '"n"' not in command


async def test_presets_can_be_chosen(page: Page, fake: FakeService) -> None:
    """Qualities and styles can be chosen if the model has some, are sent, and are kept with the image."""
    fake.behave = ControlledService.ready()
    await page.run(OPEN)
    assert not await page.run(VISIBLE.format("#quality"))
    for name, value in (("model", "org/large"), ("quality", "hd"), ("style", "noir")):
        await page.run(f"document.querySelector('#{name}').value = {value!r}")
        await page.run(f"document.querySelector('#{name}').dispatchEvent(new Event('change'))")
    assert await page.run(VISIBLE.format("#style"))
    options = "[...document.querySelector('#quality').options].map((one) => one.textContent).join()"
    assert await page.run(options) == "default,low,hd"
    await page.type("#prompt", "a lake")
    await page.press("Enter", CONTROL)
    await page.wait_until(VISIBLE.format("#shown-image"))
    assert (fake.requests[0].quality, fake.requests[0].style) == ("hd", "noir")
    await page.run("document.querySelector('#style').value = ''")
    await page.run("document.querySelector('#reuse').click()")
    await page.wait_until("document.querySelector('#style').value === 'noir'")


async def test_example_prompt_makes_an_image(page: Page, fake: FakeService) -> None:
    """An example prompt makes an image with one click."""
    fake.behave = ControlledService.ready()
    await page.run("document.querySelector('#ideas button').click()")
    await page.wait_until(VISIBLE.format("#shown-image"))
    assert fake.requests[0].prompt == await page.run("document.querySelector('#prompt').value") != ""
    assert not await page.run(VISIBLE.format("#ideas"))


async def test_key_field_is_shown_if_required(browser: Page, service: Service, tmp_path: Path) -> None:
    """The field for a key is shown only if the server requires one, and with a key everything works."""
    path = tmp_path / "keys"
    key = create(path, "somebody")
    async with running_gateway(config(service, tmp_path, keys=path)) as client:
        await browser.open(str(client.base_url))
        await browser.wait_until(VISIBLE.format("#key"))
        await browser.type("#key", key)
        await browser.run("document.querySelector('#key').dispatchEvent(new Event('change'))")
        await browser.wait_until("document.querySelector('#model').options.length === 2")
        assert await browser.run(TEXT.format("#error")) == ""


# The server does not say what it offers until `back` is set.
AWAY = """{
    const ask = fetch;
    const isAway = (path) => path === "./" && !globalThis.back;
    fetch = (path, ...rest) => (isAway(path) ? Promise.reject(new TypeError()) : ask(path, ...rest));
}"""


async def test_models_load_when_the_service_starts(browser: Page, tmp_path: Path) -> None:
    """A page that is opened before the service runs says so, and offers all that it has once it runs."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with running_gateway(GatewayConfig(rest="127.0.0.1:0", grpc=f"127.0.0.1:{port}", data=tmp_path)) as client:
        away = await browser.send("Page.addScriptToEvaluateOnNewDocument", source=AWAY)
        await browser.open(str(client.base_url))
        await browser.send("Page.removeScriptToEvaluateOnNewDocument", identifier=away["identifier"])
        await browser.wait_until(f"{TEXT.format('#banner')}.includes('can\\'t be reached')")
        await browser.run("globalThis.back = true")
        async with running_service(port) as service:
            service.fake.behave = ControlledService.ready()
            await browser.wait_until("document.querySelector('#model').options.length === 2")
            assert not await browser.run(VISIBLE.format("#banner"))
            await browser.type("#prompt", "a lake")
            await browser.press("Enter", CONTROL)
            await browser.wait_until(VISIBLE.format("#upscale-2"))


async def test_documentation_has_every_dialect(page: Page, gateway: httpx.AsyncClient) -> None:
    """The documentation has a section for each dialect, with two examples and the fields of its JSON."""
    await page.open(f"{gateway.base_url}/docs")
    await page.wait_until("!document.querySelector('#article').hasAttribute('aria-busy')")
    for name in DIALECTS:
        heading = f"document.getElementById({name!r})"
        assert await page.run(f"{heading}.tagName") == "H2"
    assert await page.run("document.querySelectorAll('.example').length") == 2 * len(DIALECTS)
    prompts = "[...document.querySelectorAll('td')].filter((one) => one.textContent === 'promptrequired').length"
    assert await page.run(prompts) >= len(DIALECTS)
    assert await page.run("document.querySelector('#article').textContent.includes('-1 to 9223372036854775807')")
    assert not await page.run("document.querySelector('#article').textContent.includes('9223372036854776000')")


async def test_dropped_file_is_the_initial_image(page: Page, fake: FakeService) -> None:
    """A file that is dropped on the page is the next initial image; after its removal there is none."""
    await page.wait_until("!document.querySelector('#initial-image-field').hidden")
    await drop(page, png(BLUE))
    await page.wait_until(VISIBLE.format("#strength"))
    await page.wait_until("document.querySelector('#initial-image-preview').naturalWidth === 64")
    await page.type("#prompt", "a lake")
    for asked in (1, 2):
        await page.press("Enter", CONTROL)
        await page.wait_until(IDLE)
        assert len(fake.requests) == asked
        await page.run("document.querySelector('#initial-image-remove').click()")
    assert (fake.requests[0].image, round(fake.requests[0].strength, 2)) == (png(BLUE), 0.7)
    assert fake.requests[0].width == 0  # the size is that of the initial image
    assert (fake.requests[1].image, fake.requests[1].strength) == (b"", 0)


COUNT = "document.querySelectorAll('#references li').length"


async def test_references_are_ordered(page: Page, gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """Reference images are chosen or dropped, moved and removed by the keyboard, and sent in their order."""
    await open_with(page, gateway, fake, "both")
    red = png((255, 0, 0))
    await choose(page, "#references-input", png(BLUE), png(GREEN))
    await page.wait_until(f"{COUNT} === 2")
    assert list((await generate(page, fake)).references) == [png(BLUE), png(GREEN)]
    assert fake.requests[0].image == b""
    await press_button(page, "Move reference image 2 up")
    assert await page.run("document.activeElement.getAttribute('aria-label')") == "Move reference image 1 down"
    assert list((await generate(page, fake)).references) == [png(GREEN), png(BLUE)]
    await drop(page, red)
    await page.wait_until(f"{TEXT.format('#error')} === 'This model takes at most 2 reference images.'")
    await press_button(page, "Remove reference image 1")
    await drop(page, red)
    await page.wait_until(f"{COUNT} === 2")
    assert list((await generate(page, fake)).references) == [png(BLUE), red]
    await press_button(page, "Remove reference image 1")
    await press_button(page, "Remove reference image 1")
    assert await page.run("document.activeElement.id") == "references-input"
    assert list((await generate(page, fake)).references) == []


async def test_references_that_are_not_taken(page: Page, gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """The first of too many reference images are added, an empty one is refused, and the next choice clears errors."""
    await open_with(page, gateway, fake, "both")
    await choose(page, "#references-input", png(BLUE), b"")
    await page.wait_until(f"{TEXT.format('#error')} === 'Image 2 is empty.'")
    assert await page.run(COUNT) == 0
    await choose(page, "#references-input", png(BLUE), png(GREEN), png(BLUE))
    limit = "This model takes at most 2 reference images"
    await page.wait_until(f"{TEXT.format('#error')} === '{limit}: only the first 2 of 3 were added.'")
    assert list((await generate(page, fake)).references) == [png(BLUE), png(GREEN)]
    await choose(page, "#references-input", png(BLUE))
    await page.wait_until(f"{TEXT.format('#error')} === '{limit}.'")
    await press_button(page, "Remove reference image 2")
    await press_button(page, "Remove reference image 1")
    await choose(page, "#references-input", png(GREEN), png(BLUE))
    await page.wait_until(f"{COUNT} === 2")
    assert await page.run(TEXT.format("#error")) == ""


async def test_model_that_edits_needs_an_image(page: Page, gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """A model that only edits offers no initial image, and asks for a reference image before anything is sent."""
    await open_with(page, gateway, fake, "editor")
    assert not await page.run(VISIBLE.format("#initial-image"))
    await page.press("Enter", CONTROL)
    await page.wait_until(f"{TEXT.format('#references-input-problem')} === 'This model edits: add an image.'")
    assert fake.requests == []
    await choose(page, "#references-input", png(BLUE))
    await page.wait_until(f"{COUNT} === 1")
    assert list((await generate(page, fake)).references) == [png(BLUE)]


async def test_controls_are_sent(page: Page, gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """ControlNets and IP-Adapters are chosen with image, weight and range, sent, and restored by their image."""
    await open_with(page, gateway, fake, "guided")
    fake.behave = ControlledService.ready()
    await page.run("document.querySelector('#controls-add').click()")
    assert await page.run("document.activeElement.labels[0].textContent") == "Name"
    await page.press("Enter", CONTROL)
    await page.wait_until(f"{TEXT.format('#controls .problem')} === 'Choose an image.'")
    await choose(page, "#controls [type=file]", png(BLUE))
    await page.wait_until("document.querySelector('#controls img').naturalWidth === 64")
    for name, value in (("name", "controls:depth"), ("weight", "0.5"), ("end", "0.75")):
        field = f"document.querySelector('[name=\"controls[0].{name}\"]')"
        await page.run(f"{field}.value = {value!r}")
        await page.run(f"{field}.dispatchEvent(new Event('change'))")
    await page.run("document.querySelector('#controls-add').click()")
    second = "document.querySelectorAll('#controls fieldset')[1].querySelector"
    await page.run(f"{second}('select').value = 'image_prompts:ip-adapter'")
    await page.run(f"{second}('select').dispatchEvent(new Event('change'))")
    assert not await page.run(f"{second}('[data-field=start]').checkVisibility()")
    await choose(page, "#controls fieldset:last-child [type=file]", png(GREEN))
    await page.wait_until(f"{second}('img').naturalWidth === 64")
    await page.type("#clip_skip", "1")
    sent = await generate(page, fake)
    assert list(sent.controls) == [pb.Control(name="depth", image=png(BLUE), weight=0.5, end=0.75)]
    assert list(sent.image_prompts) == [pb.ImagePrompt(name="ip-adapter", image=png(GREEN))]
    assert sent.clip_skip == 1
    assert "controldepth 0.5" in await page.run(TEXT.format("#shown-settings"))
    await press_button(page, "Remove control 1")
    await page.run("document.querySelector('#reuse').click()")
    await page.wait_until("document.querySelectorAll('#controls img[src]').length === 2")
    assert (await generate(page, fake)).controls == sent.controls


async def test_copied_command_has_no_images(page: Page, gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """The copied command has placeholders for the images, and the names of what is controlled."""
    await open_with(page, gateway, fake, "both")
    fake.behave = ControlledService.ready()
    await choose(page, "#references-input", png(BLUE), png(GREEN))
    await page.wait_until(f"{COUNT} === 2")
    await generate(page, fake)
    await page.wait_until(VISIBLE.format("#curl"))
    await page.run("navigator.clipboard.writeText = () => Promise.reject()")
    await page.run("document.querySelector('#curl').click()")
    command = await page.run("document.querySelector('#snippet-text').value")
    assert command.count("PUT_YOUR_IMAGE_HERE") == 2
    assert base64.b64encode(png(BLUE)).decode() not in command
    await page.run("document.querySelector('#snippet-close').click()")
    await page.run("document.querySelector('#refer').click()")
    await page.wait_until(f"{TEXT.format('#error')} === 'This model takes at most 2 reference images.'")


async def test_copied_program_requests_the_same_image(page: Page, fake: FakeService, tmp_path: Path) -> None:
    """Copy as Python gives a program that requests the same image again, whatever is in the prompt."""
    fake.behave = ControlledService.ready()
    await page.type("#prompt", "a \"lake\" \\ 'é' 🌅")
    await page.press("Enter", CONTROL)
    await page.wait_until(VISIBLE.format("#python"))
    await page.run("navigator.clipboard.writeText = () => Promise.reject()")
    await page.run("document.querySelector('#python').click()")
    program = await page.run("document.querySelector('#snippet-text').value")
    await run_program(program, tmp_path)
    assert (tmp_path / "image.png").read_bytes() == png(GREEN)
    first, again = fake.requests
    first.ClearField("count")  # the program sends 1
    assert again == first


async def test_copied_program_with_a_vendors_defaults(
    browser: Page, service: Service, fake: FakeService, tmp_path: Path
) -> None:
    """It requests the same image also if the shared paths have a vendor's defaults."""
    fake.behave = ControlledService.ready()
    config = GatewayConfig(rest="127.0.0.1:0", grpc=service.address, data=tmp_path, dialect="apipie")
    async with running_gateway(config) as client:
        await browser.open(str(client.base_url))
        await browser.type("#prompt", "a lake")
        await browser.press("Enter", CONTROL)
        await browser.wait_until(VISIBLE.format("#python"))
        await browser.run("navigator.clipboard.writeText = () => Promise.reject()")
        await browser.run("document.querySelector('#python').click()")
        await run_program(await browser.run("document.querySelector('#snippet-text').value"), tmp_path)
    assert [asked.style for asked in fake.requests] == ["", ""]


async def run_program(program: str, folder: Path) -> None:
    """Run a program in a folder; it must succeed."""
    running = await asyncio.create_subprocess_exec(sys.executable, "-c", program, cwd=folder, env={"NO_PROXY": "*"})
    assert await running.wait() == 0
