"""What the fields of all dialects mean, by name; vendors use the same names for the same things.

`TYPE.NAME` is the field of one type, and goes before the plain name. Types, ranges and choices stand in the types
themselves. DEFAULTS has only what is so with every model; where the model or the configuration decides, the meaning
says so.
"""

from __future__ import annotations

from typing import Any

from .agent_ai import STYLES

# The image in examples of requests: a lake of 64 x 64 pixels in three colours, a PNG file in base64.
LAKE = (
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAABAAgMAAADXB5lNAAAACVBMVEV4tOZablooWpa6FVrxAAAAdUlEQVR42u2RwQ3AIAhFP4YB6KH7sESXbJfs"
    "wQJicIA29YDmKU9Q4HODfdX6tM0AM1DNgCAZcFgXDgFloICOgAC31g4eim94jtMI1MPCQUBc09zHAQQIa+l4/GrAKhADnB66clifPZVOXLa5a088"
    "qm/4wevADbw5BSR9fwnKAAAAAElFTkSuQmCC"
)
LAKE_URL = f"data:image/png;base64,{LAKE}"

_PICTURE = "a PNG, JPEG or WebP file: its URL, a data: URL, or base64"
_CREATED = "When it was made, in Unix seconds"

MEANINGS: dict[str, str] = {
    # Requests
    "prompt": "What the picture shall show",
    "negative_prompt": "What it shall not show; without effect where guidance_scale is at most 1. Absent: nothing",
    "model": "Name of the model, as GET /v1/models lists it, or a usual name such as dall-e-3. Absent: the default one",
    "n": "How many pictures; the k-th has the seed seed + k",
    "size": "'auto', or WIDTHxHEIGHT in pixels. Absent: the model's own size",
    "quality": "Effort: a preset of the model, where it has one of this name. Absent: the model's own settings",
    "style": "Look: a preset of the model, where it has one of this name. Absent: the model's own settings",
    "response_format": "Whether pictures come as links or as base64. Absent: as the server is configured, mostly links",
    "output_format": "Type of the files",
    "output_compression": "Quality of JPEG and WebP, 0 the smallest, 100 the best; without effect on PNG",
    "background": "transparent adds an alpha channel to PNG, which is opaque: models draw no transparency",
    "moderation": "Without effect: nothing is moderated here",
    "stream": "Whether events come, one for each preview and picture, instead of one answer",
    "partial_images": "How many previews of each picture a stream has",
    "user": "Who asks: the queue is fair between users. Absent: the key's name, or the address",
    "safety_identifier": "Another name for user",
    "seed": "Draws the same image again. Absent or -1: a random one, which the answer names",
    "steps": "Denoising steps. Absent: the model's own number",
    "num_inference_steps": "Another name for steps",
    "guidance_scale": "How closely to follow the prompt; at most 1 turns guidance off. Absent: the model's own",
    "cfg_scale": "Another name for guidance_scale",
    "cfg": "Another name for guidance_scale",
    "aspect_ratio": "WIDTH:HEIGHT, for about 1024 x 1024 pixels. Absent: see size",
    "width": "Pixels; without effect beside size. Absent: the model's own width",
    "height": "Pixels; without effect beside size. Absent: the model's own height",
    "sampler": "Name of the sampler. Absent: the model's own",
    "schedule": "Name of the spacing of noise levels. Absent: the model's own",
    "strength": "How far the result may leave the picture: 0 not at all, 1 entirely. Absent: 0.8, in edits with a "
    "mask 1, with input_fidelity 'high' 0.6, in variations 0.7",
    "image": f"What to start from: {_PICTURE}. Absent: pure noise",
    "EditRequest.image": f"What to edit: {_PICTURE}, or a list of these, the first of which is edited. Or images",
    "OxenEditRequest.image": f"What to edit: {_PICTURE}",
    "VariationRequest.image": f"What to vary: {_PICTURE}",
    "VariationRequest.prompt": "What the pictures shall show; none is needed",
    "images": "Instead of image: a list of {image_url}, of which the first is edited",
    "mask": f"What of the picture to repaint, of the same size: {_PICTURE}. Transparent is repainted, or white where "
    "nothing is transparent. Absent: everything",
    "input_fidelity": "high keeps more of the picture",
    "provider": "Without effect: there is one provider here",
    "loras": "Adapters to apply; their weights add up. Absent: none",
    "embeddings": "Embeddings (textual inversion) whose names in the prompts stand for their vectors. Absent: none",
    "name": "Name of the adapter",
    "weight": "Factor of its change",
    "image_size": "Another name for size: a preset, or width and height",
    "ImageSize.width": "Pixels",
    "ImageSize.height": "Pixels",
    "model_style": "Look: a preset of the model, where it has one of this name",
    "model_aspect_ratio": "WIDTH:HEIGHT, for about 1024 x 1024 pixels",
    # Answers
    "created": _CREATED,
    "created_at": _CREATED,
    "data": "The pictures",
    "url": "Link to the file; it works without a key until it expires",
    "b64_json": "The file in base64",
    "revised_prompt": "The prompt that was drawn, where it is not the one that came",
    "Picture.seed": "The seed that draws it again",
    "usage": "What was used",
    "total_tokens": "Tokens of input and output",
    "input_tokens": "Tokens of the prompt",
    "output_tokens": "0: pictures are not made of tokens here",
    "input_tokens_details": "Tokens of the input by kind",
    "text_tokens": "Tokens of the prompt",
    "image_tokens": "0: pictures are no tokens here",
    "ImagesResponse.background": "opaque, where a background was asked for",
    "ImagesResponse.size": "WIDTHxHEIGHT, where it is one that OpenAI lists",
    "ImagesResponse.quality": "The preset that was taken, where it is one that OpenAI lists",
    "ImagesResponse.safety_identifier": "The safety_identifier of the request",
    "ImagesResponse.output_format": "Type of the files: png, jpeg or webp",
    "OxenResponse.model": "The name that was asked for, or of the default model",
    "OxenResponse.images": "The pictures",
    "metadata": "The pictures one by one",
    "AgentAiMetadata.images": "The pictures",
    "AgentAiPicture.prompt": "The prompt as it came",
    "response": "HTML that shows the pictures",
    "AgentAiResponse.status": "HTTP's status",
    # Models
    "id": "Name of the model",
    "object": "Kind of the object",
    "ModelList.data": "The models, the default model first",
    "owned_by": "Who serves it",
    "ModelObject.type": "What it makes",
    "parameters": "What can be chosen, with defaults and limits",
    "enum": "The names that can be chosen",
    "default": "What it is where nothing is chosen",
    "min": "The least",
    "max": "The most",
    "step": "What lies between two values",
    **{
        f"Parameters.{name}": f"The field {name} of a request"
        for name in ("prompt", "width", "height", "steps", "seed")
    },
    "Parameters.cfg": "The field guidance_scale of a request",
    # Errors
    "error": "What went wrong",
    "message": "What went wrong, for people: the field, its value, what would be right",
    "type": "Kind of error",
    "param": "The field at fault, or null",
    "AqueductErrorBody.param": "The field at fault",
    "code": "Name of the error, for programs, or null",
    "AqueductErrorBody.code": "Name of the error, for programs",
    "title": "Kind of error, for people",
    "detail": "What went wrong, for people",
    "OxenError.status": "'error'",
    "status_message": "Kind of error",
    "AgentAiError.error": "What went wrong, for people",
    "AgentAiError.status": "HTTP's status",
}

DEFAULTS: dict[str, Any] = {
    "n": 1,
    "output_format": "png",
    "output_compression": 100,
    "background": "auto",
    "moderation": "auto",
    "stream": False,
    "partial_images": 0,
    "weight": 1,
    "model_style": "default",
    "model_aspect_ratio": "9:16",
    "input_fidelity": "low",
}

_URL = {"type": "object", "properties": {"image_url": {"type": "string"}}, "required": ["image_url"]}
_ONE: dict[str, Any] = {"anyOf": [{"type": "string"}, _URL], "examples": [LAKE_URL]}
_LIST: dict[str, Any] = {"type": "array", "items": _ONE, "minItems": 1, "maxItems": 16}
_TEXT = {"pattern": r"\S"}
# What a schema says beyond what the type checks, or where the type is open.
SHAPES: dict[str, dict[str, Any]] = {
    "ImagesRequest.prompt": _TEXT,
    "EditRequest.prompt": _TEXT,
    "OxenRequest.prompt": _TEXT,
    "OxenEditRequest.prompt": _TEXT,
    "AgentAiRequest.prompt": _TEXT,
    "AgentAiRequest.model_style": {"anyOf": [{"type": "string", "enum": list(STYLES)}, {"type": "null"}]},
    "EditRequest.image": {"anyOf": [*_ONE["anyOf"], _LIST], "examples": [LAKE_URL]},
    "EditRequest.images": {"anyOf": [_LIST, {"type": "null"}]},
    "EditRequest.mask": {"anyOf": [*_ONE["anyOf"], {"type": "null"}]},
    "VariationRequest.image": _ONE,
    "VariationRequest.mask": {"anyOf": [*_ONE["anyOf"], {"type": "null"}]},
    "OxenEditRequest.image": {"type": "string", "examples": [LAKE_URL]},
    "ImageToImage.init_images": {"type": "array", "items": {"type": "string"}, "minItems": 1, "examples": [[LAKE]]},
}
# What a request must have, where its type can't say it: either of two fields, or one that has an error of its own.
REQUIRED: dict[str, dict[str, Any]] = {
    "EditRequest": {"anyOf": [{"required": ["image"]}, {"required": ["images"]}]},
    "VariationRequest": {"required": ["image"]},
    "OxenEditRequest": {"required": ["prompt", "image"]},
    "ImageToImage": {"required": ["init_images"]},
}
