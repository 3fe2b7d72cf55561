"""Requests for images: the request to the service, the response, and errors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from PIL import Image

from tests.support.gateway.bodies import BASE, encode_base64, make_images, open_image, png, png_of
from tests.support.gateway.fakes import FakeService, Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from tintype.v1 import image_service_pb2 as pb

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fake")]

TEXT, IMAGE = f"{BASE}/txt2img", f"{BASE}/img2img"


def info(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    assert isinstance(answer.json()["info"], str)
    read: dict[str, Any] = json.loads(answer.json()["info"])
    return read


class TestText:
    async def test_response_repeats_the_request(self, gateway: httpx.AsyncClient) -> None:
        """The response repeats the request, and `info` has all keys of the web UI's."""
        body = {"prompt": "a lake", "negative_prompt": "blurry", "seed": 5, "batch_size": 2, "n_iter": 2, "odd": 1}
        answer = await gateway.post(TEXT, json=body)
        assert answer.json()["parameters"].items() >= {k: v for k, v in body.items() if k != "odd"}.items()
        details = info(answer)
        assert details["all_seeds"] == [5, 6, 7, 8]
        assert details["all_prompts"] == ["a lake"] * 4
        assert details["all_negative_prompts"] == ["blurry"] * 4
        assert (details["steps"], details["cfg_scale"], details["sampler_name"], details["sd_model_name"]) == (
            20,
            7.5,
            "DDIM",
            "tiny",
        )
        usual = {"subseed", "all_subseeds", "subseed_strength", "index_of_first_image", "job_timestamp", "clip_skip"}
        usual |= {"styles", "batch_size", "version", "extra_generation_params", "restore_faces", "sd_vae_name"}
        assert usual <= set(details)

    async def test_absent_null_and_zero_are_the_models_own(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A field that is absent, null or zero is the model's own; the seed is random."""
        zeros = dict.fromkeys(["eta", "width", "height", "steps", "hr_scale", "s_churn"], 0)
        nulls = dict.fromkeys(
            ["sampler_name", "scheduler", "cfg_scale", "override_settings", "styles", "negative_prompt"]
        )
        details = info(await gateway.post(TEXT, json={"prompt": "x", "seed": -1} | zeros | nulls))
        received = fake.requests[0]
        assert (received.width, received.height, received.sampler, received.schedule) == (0, 0, "", "")
        assert not any(received.HasField(name) for name in ("steps", "guidance_scale", "eta", "strength"))
        assert details["seed"] == received.seed
        assert (details["width"], details["height"]) == (96, 64)

    async def test_fractions_of_integers_are_cut_off(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """Plug-ins send fractions: they are cut off, as in the web UI."""
        details = info(await gateway.post(TEXT, json={"width": 512.0, "height": 511.5, "steps": 4.2, "seed": 7.0}))
        received = fake.requests[0]
        assert (received.width, received.height, received.steps, received.seed) == (512, 511, 4, 7)
        assert details["seed"] == 7

    async def test_fields_without_effect_are_named(self, gateway: httpx.AsyncClient) -> None:
        """Fields without effect are named in a header, in `info`, and in the image's own infotext."""
        body = {"prompt": "x <lora:ink:0.5> <lora:none:1>", "restore_faces": True, "styles": ["a"], "tiling": True}
        body |= {
            "override_settings": {"sd_vae": "v", "sd_model_checkpoint": "nope"},
            "odd": 1,
            "refiner_checkpoint": "None",
        }
        answer = await gateway.post(TEXT, json=body)
        assert set(answer.headers["x-tintype-ignored"].split(", ")) == {
            "odd",
            "prompt",
            "restore_faces",
            "styles",
            "tiling",
            "override_settings.sd_vae",
            "override_settings.sd_model_checkpoint",
        }
        ignored_note = info(answer)["extra_generation_params"]["Ignored"]
        assert "prompt lora:none" in ignored_note
        assert "override_settings.sd_model_checkpoint nope" in ignored_note
        text = open_image(answer.json()["images"][0]).info["parameters"]
        assert text == info(answer)["infotexts"][0]
        assert ignored_note in text

    @pytest.mark.parametrize("prompt", [{}, {"prompt": None}, {"prompt": ""}, {"prompt": "<lora:ink:0.5>"}])
    async def test_prompt_may_be_absent(
        self, gateway: httpx.AsyncClient, fake: FakeService, prompt: dict[str, Any]
    ) -> None:
        """As in the web UI, the prompt may be absent."""
        for path, body in ((TEXT, prompt), (IMAGE, prompt | {"init_images": [encode_base64(png())]})):
            details = info(await gateway.post(path, json=body))
            assert details["prompt"] == (prompt.get("prompt") or "")
            assert (fake.requests[-1].prompt, fake.requests[-1].allow_empty_prompt) == ("", True)

    async def test_loras_of_the_prompt_are_applied(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """Adapters in the prompt reach the service as such; the prompt to encode does not contain them."""
        await gateway.post(TEXT, json={"prompt": "a lake <lora:INK:0.5> at dusk <lora:ink>"})
        assert [(lora.name, lora.weight) for lora in fake.requests[0].loras] == [("ink", 0.5), ("ink", 1.0)]
        assert fake.requests[0].prompt == "a lake  at dusk"

    async def test_disabled_loras_are_removed(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """With `disable_extra_networks`, adapters are removed from the prompt and not applied."""
        await gateway.post(TEXT, json={"prompt": "a lake <lora:ink:0.5>", "disable_extra_networks": True})
        assert (fake.requests[0].prompt, list(fake.requests[0].loras)) == ("a lake", [])

    @pytest.mark.parametrize(
        ("body", "syntax"),
        [
            ({"prompt": "a lake"}, False),
            ({"prompt": "a (lake:1.2)"}, True),
            ({"prompt": "a [lake:city:0.5]"}, True),
            ({"prompt": "a", "negative_prompt": "[b|c]"}, True),
            ({"prompt": "a BREAK b"}, True),
            ({"prompt": r"10\:30"}, True),
            ({"prompt": "a AND b"}, True),
        ],
    )
    async def test_prompt_syntax_is_left_to_the_service(
        self,
        gateway: httpx.AsyncClient,
        fake: FakeService,
        body: dict[str, str],
        syntax: bool,  # noqa: FBT001
    ) -> None:
        """The service parses the web UI's syntax: it gets the prompts unchanged, and the response repeats them."""
        details = info(await gateway.post(TEXT, json=body))
        received = fake.requests[0]
        assert (received.prompt, received.negative_prompt) == (body["prompt"], body.get("negative_prompt", ""))
        assert received.prompt_weighting is syntax
        assert (details["prompt"], details["negative_prompt"]) == (received.prompt, received.negative_prompt)

    @pytest.mark.parametrize(
        ("prompt", "ignored"),
        [
            ("a AND b", "prompt AND"),
            ("a :1.2 AND [b:c:3]", "prompt AND"),
            ("a <lora:none:1> AND b", "prompt lora:none AND"),
            ("SAND and ANDES", None),
            ("a <lora:AND:1>", "prompt lora:AND"),
        ],
    )
    async def test_and_is_named_as_ignored(self, gateway: httpx.AsyncClient, prompt: str, ignored: str | None) -> None:
        """AND, which composes prompts in the web UI, is not supported, and is named as ignored."""
        details = info(await gateway.post(TEXT, json={"prompt": prompt}))["extra_generation_params"]
        assert details.get("Ignored") == ignored

    @pytest.mark.parametrize(("steps", "earlier"), [({"steps": 20}, 20), ({}, None)])
    async def test_second_pass_continues_the_step_count(
        self, gateway: httpx.AsyncClient, fake: FakeService, steps: dict[str, int], earlier: int | None
    ) -> None:
        """The service learns the number of steps of the first pass if the prompt may change at one of them."""
        body = {"enable_hr": True, "denoising_strength": 0.5} | steps
        await gateway.post(TEXT, json={"prompt": "[a:b:0.5]"} | body)
        details = info(await gateway.post(TEXT, json={"prompt": "a"} | body))
        assert [request.earlier_steps for request in fake.requests] == [0, earlier or details["steps"], 0, 0]

    async def test_embeddings_are_found_as_words(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """Names that occur as words are chosen, in any case and both prompts, and written as the model spells them."""
        await gateway.post(TEXT, json={"prompt": "x<CAT>y (<cat>:1.2)", "negative_prompt": "easynegative, fog"})
        await gateway.post(TEXT, json={"prompt": "uneasynegatives", "negative_prompt": "easy negative"})
        first, second = fake.requests
        assert list(first.embeddings) == ["EasyNegative", "<cat>"]
        assert (first.prompt, first.negative_prompt) == ("x<cat>y (<cat>:1.2)", "EasyNegative, fog")
        assert (list(second.embeddings), second.prompt) == ([], "uneasynegatives")

    async def test_fields_that_the_model_lacks_are_dropped(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """Fields that the model does not have are dropped, and named as ignored."""

        async def plain(request: pb.GenerateImagesRequest, context: Any) -> AsyncIterator[Any]:
            unserved = Refusal(grpc.StatusCode.UNIMPLEMENTED, "x", "UNSUPPORTED", {"field": "prompt_weighting"})
            unfit = Refusal(grpc.StatusCode.INVALID_ARGUMENT, "x", "INVALID_FIELD", violations=[("schedule", "no")])
            refusal = unserved if request.prompt_weighting else unfit if request.schedule else make_images
            async for event in refusal(request, context):
                yield event

        fake.behave = plain
        answer = await gateway.post(
            TEXT, json={"prompt": "a (lake:1.2)", "sampler_name": "DDIM", "scheduler": "Karras"}
        )
        assert info(answer)["extra_generation_params"] == {"Ignored": "prompt_weighting; scheduler"}
        assert answer.headers["x-tintype-ignored"] == "prompt_weighting, scheduler"

    async def test_eta_applies_to_ddim_only(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """`eta` applies to DDIM; 1 is what other samplers do anyway, and any other value is named as ignored."""
        for body in ({"eta": 0.5}, {"eta": 1, "sampler_name": "Euler a"}, {"eta": 0.5, "sampler_name": "Euler a"}):
            answer = await gateway.post(TEXT, json={"prompt": "x"} | body)
            assert ("x-tintype-ignored" in answer.headers) is (body == {"eta": 0.5, "sampler_name": "Euler a"})
        assert [request.HasField("eta") for request in fake.requests] == [True, False, False]

    async def test_response_without_images_has_seeds(self, gateway: httpx.AsyncClient) -> None:
        """A request without images in the response still gets their seeds."""
        answer = await gateway.post(TEXT, json={"prompt": "x", "send_images": False})
        assert answer.json()["images"] == []
        assert len(info(answer)["all_seeds"]) == 1

    async def test_samples_format_sets_the_file_type(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """Images are PNG unless the settings of the request name another type."""
        for given, wanted in (
            (None, "image/png"),
            ("jpg", "image/jpeg"),
            ("webp", "image/webp"),
            ("avif", "image/png"),
        ):
            await gateway.post(
                TEXT, json={"prompt": "x", "override_settings": {"samples_format": given} if given else {}}
            )
            assert fake.requests[-1].output.mime_type == wanted

    async def test_hires_makes_each_image_again(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """`enable_hr` makes each image again from the first one, with its seed, in the requested size."""
        body = {"prompt": "x", "enable_hr": True, "hr_scale": 1.5, "hr_second_pass_steps": 9, "denoising_strength": 0.5}
        answer = await gateway.post(TEXT, json=body | {"batch_size": 2, "seed": 3, "hr_upscaler": "Latent"})
        first, *second = fake.requests
        assert (first.count, first.image) == (2, b"")
        assert [(one.seed, one.count, one.width, one.height, one.steps) for one in second] == [
            (3, 1, 144, 96, 9),
            (4, 1, 144, 96, 9),
        ]
        assert all(open_image(one.image).size == (96, 64) for one in second)
        assert second[0].strength == pytest.approx(0.5)
        assert [open_image(image).size for image in answer.json()["images"]] == [(144, 96)] * 2
        details = info(answer)
        assert details["extra_generation_params"]["Hires resize"] == "144x96"
        assert details["extra_generation_params"]["Ignored"] == "hr_upscaler Latent"
        assert details["all_seeds"] == [3, 4]

    @pytest.mark.parametrize(("x", "y", "size"), [(192, 0, (192, 128)), (0, 128, (192, 128)), (100, 90, (100, 90))])
    async def test_hires_size_by_one_side_or_both(
        self, gateway: httpx.AsyncClient, fake: FakeService, x: int, y: int, size: tuple[int, int]
    ) -> None:
        """The size can be given by one side, which determines the other, or by both."""
        await gateway.post(TEXT, json={"prompt": "x", "enable_hr": True, "hr_resize_x": x, "hr_resize_y": y})
        assert (fake.requests[1].width, fake.requests[1].height) == size


class TestImage:
    async def test_init_image_is_sent_in_the_requested_size(
        self, gateway: httpx.AsyncClient, fake: FakeService
    ) -> None:
        """The image is sent in the requested size, and the response repeats it only on request."""
        body = {"prompt": "x", "init_images": [encode_base64(png(64, 48))], "width": 96, "height": 96}
        answer = await gateway.post(IMAGE, json=body)
        received = fake.requests[0]
        assert open_image(received.image).size == (received.width, received.height) == (96, 96)
        assert (received.mask, received.strength) == (b"", 0.75)
        assert answer.json()["parameters"]["init_images"] is None
        assert info(answer)["denoising_strength"] == 0.75
        again = await gateway.post(IMAGE, json=body | {"include_init_images": True, "denoising_strength": 0})
        assert again.json()["parameters"]["init_images"] == body["init_images"]
        assert fake.requests[1].strength == 0

    async def test_default_size_is_the_images_own(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """Without a size, the image's own is used."""
        await gateway.post(
            IMAGE, json={"prompt": "x", "init_images": ["data:image/png;base64," + encode_base64(png(64, 48))]}
        )
        assert (fake.requests[0].width, fake.requests[0].height) == (64, 48)

    async def test_mask_repaints_white(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """White is repainted: the mask is sent to the service."""
        mask = Image.new("L", (64, 48))
        mask.paste(255, (0, 0, 32, 48))
        body = {
            "prompt": "x",
            "init_images": [encode_base64(png())],
            "mask": encode_base64(png_of(mask)),
            "mask_blur": 0,
        }
        await gateway.post(IMAGE, json=body | {"inpaint_full_res": False})
        await gateway.post(IMAGE, json=body | {"inpaint_full_res": False, "inpainting_mask_invert": 1})
        masks = [open_image(request.mask) for request in fake.requests]
        assert [(mask.getpixel((8, 8)), mask.getpixel((56, 8))) for mask in masks] == [(255, 0), (0, 255)]

    async def test_only_masked_part_is_made_and_pasted(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """The masked part is made at full size, and pasted into the whole image, whose rest is unchanged."""
        mask = Image.new("L", (64, 48))
        mask.paste(255, (8, 8, 24, 24))
        body = {"prompt": "x", "init_images": [encode_base64(png(64, 48, "red"))], "mask": encode_base64(png_of(mask))}
        answer = await gateway.post(IMAGE, json=body | {"mask_blur": 0, "width": 128, "height": 128})
        assert (fake.requests[0].width, fake.requests[0].height) == (128, 128)
        assert open_image(fake.requests[0].mask).getextrema() == (255, 255)
        image = open_image(answer.json()["images"][0])
        assert image.size == (64, 48)
        assert image.getpixel((16, 16)) == (0, 0, 128)
        assert {image.getpixel(at) for at in ((7, 7), (24, 24), (63, 47))} == {(255, 0, 0)}
        assert image.info["parameters"] == info(answer)["infotexts"][0]
        assert (info(answer)["width"], info(answer)["height"]) == (64, 48)

    @pytest.mark.parametrize("images", [None, []])
    async def test_missing_init_image_is_404(self, gateway: httpx.AsyncClient, images: list[str] | None) -> None:
        """A request without an initial image is the web UI's 404."""
        answer = await gateway.post(IMAGE, json={"prompt": "x", "init_images": images})
        assert answer.status_code == 404
        assert answer.json()["detail"] == "Init image not found"

    async def test_invalid_image_file_is_500(self, gateway: httpx.AsyncClient) -> None:
        """A file that is not an image is the web UI's 500, and `errors` says what is wrong."""
        answer = await gateway.post(IMAGE, json={"prompt": "x", "init_images": ["bm8="]})
        assert answer.status_code == 500
        body = answer.json()
        assert set(body) == {"error", "detail", "body", "errors"}
        assert body["detail"] == "Invalid encoded image"
        assert body["errors"] == "Invalid 'init_images': must be a PNG, JPEG or WebP file."
        assert answer.headers["x-should-retry"] == "false"
