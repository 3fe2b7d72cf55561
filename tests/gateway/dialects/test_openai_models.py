"""Models in OpenAI's format, with tintype's additional keys."""

from __future__ import annotations

import msgspec

from tests.support.gateway.samples import request
from tintype.gateway.dialects.openai import parse
from tintype.gateway.dialects.openai_models import render_model, render_models
from tintype.v1 import image_service_pb2 as pb


def test_models_to_the_byte() -> None:
    """Models as OpenAI's SDKs and LobeChat read them; nothing is null."""
    defaults = pb.ModelDefaults(width=96, height=64, steps=20, guidance_scale=7.1)
    model = pb.Model(name="a/b", defaults=defaults, size_multiple=8)
    model.created.FromSeconds(9)
    one = (
        b'{"id":"a/b","created":9,"owned_by":"tintype","object":"model","type":"image","parameters":{'
        b'"prompt":{"default":""},"width":{"default":96,"min":16,"max":4096,"step":8},'
        b'"height":{"default":64,"min":16,"max":4096,"step":8},"steps":{"default":20,"min":1,"max":150},'
        b'"cfg":{"default":7.1,"min":0,"max":50,"step":0.5},"seed":{"min":0,"max":9007199254740991}}}'
    )
    assert msgspec.json.encode(render_model(model)) == one
    assert msgspec.json.encode(render_models([model])) == b'{"data":[' + one + b'],"object":"list"}'


def test_samplers_and_schedules_of_the_model() -> None:
    """Samplers and schedules are those of the model, with labels, the default, and what a sampler does not take."""
    defaults = pb.ModelDefaults(sampler="ddim", schedule="karras")
    model = pb.Model(name="a", defaults=defaults, samplers=["ddim", "dpmpp_2m"], schedules=["karras", "sgm_uniform"])
    model.fixed_samplers.append("ddim")
    parameters = msgspec.to_builtins(render_model(model).parameters)
    assert parameters["sampler"] == {
        "default": "ddim",
        "enum": ["ddim", "dpmpp_2m"],
        "labels": {"ddim": "DDIM", "dpmpp_2m": "DPM++ 2M"},
        "schedules": {"ddim": ["normal"]},
    }
    assert parameters["schedule"] == {
        "default": "karras",
        "enum": ["karras", "sgm_uniform"],
        "labels": {"karras": "Karras", "sgm_uniform": "SGM Uniform"},
    }


def test_state_is_reported() -> None:
    """A model's state is reported, and why it failed."""
    failed = pb.Model(name="a", state=pb.MODEL_STATE_FAILED, error="no weights")
    assert (render_model(failed).state, render_model(failed).error) == ("failed", "no weights")
    assert render_model(pb.Model(name="a", state=pb.MODEL_STATE_LOADED)).state == "loaded"


def test_unreported_facts_are_left_out() -> None:
    """Facts that the service does not report are left out."""
    assert msgspec.json.encode(render_model(pb.Model(name="a"))) == (
        b'{"id":"a","created":0,"owned_by":"tintype","object":"model","type":"image",'
        b'"parameters":{"prompt":{"default":""},"seed":{"min":0,"max":9007199254740991}}}'
    )


def test_presets_in_order_of_effort() -> None:
    """A model's presets can be chosen by name, in the order of their effort, or left open."""
    model = pb.Model(name="a", qualities=["draft", "hd", "low", "medium"], styles=["noir", "vivid"])
    parameters = render_model(model).parameters
    assert msgspec.to_builtins(parameters.quality) == {
        "default": "auto",
        "enum": ["auto", "low", "medium", "hd", "draft"],
    }
    assert msgspec.to_builtins(parameters.style) == {"default": "", "enum": ["", "noir", "vivid"]}
    assert parse({"prompt": "x", "quality": "auto", "style": ""}).request == request()


def test_capabilities_are_reported() -> None:
    """What a model can do is reported, with the names of its ControlNets and adapters, and for LobeChat as a count."""
    model = pb.Model(name="a", text_to_image=True, image_to_image=True, max_references=4, controls=["canny"])
    model.control_modes["canny"] = 10
    model.clip_layer = 2
    model.guidance = "embedded"
    rendered = msgspec.to_builtins(render_model(model))
    assert rendered["capabilities"] == {
        "text_to_image": True,
        "image_to_image": True,
        "inpainting": False,
        "max_references": 4,
        "requires_references": False,
        "clip_layer": 2,
        "guidance": "embedded",
        "controls": ["canny"],
        "control_modes": {"canny": 10},
        "image_adapters": [],
        "loras": [],
        "embeddings": [],
    }
    assert rendered["parameters"]["imageUrls"] == {"default": [], "maxCount": 4}
    one = msgspec.to_builtins(render_model(pb.Model(name="a", image_to_image=True)).parameters)
    assert one["imageUrls"] == {"default": [], "maxCount": 1}
