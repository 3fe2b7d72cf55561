"""Limits and names of the contract: ranges and lengths of fields, sizes of files and messages, keepalive.

The service enforces them, and the gateway documents them. Fields are named as in `GenerateImagesRequest`. All limits
are inclusive. Both ends of a gRPC connection use the same size of messages and the same names.
"""

from __future__ import annotations

from . import image_service_pb2 as pb

MAX_PROMPT = 32_000  # characters
MAX_NAME = 256  # characters of model, sampler, schedule, quality, style, adapters and embeddings
MAX_COUNT = 10  # images of one request
MAX_SEED = 2**63 - 1
MAX_LORAS = 8  # adapters of one request
MAX_EMBEDDINGS = 8  # embedding files of one request
MAX_FILES = 64_000_000  # bytes of all images of a request together: a message has at most 64 MiB
MAX_REFERENCES = 16  # images of one request, OpenAI's limit
MAX_CONTROLS = 4  # ControlNets of one request
MAX_IMAGE_PROMPTS = 4  # IP-Adapters of one request

MAX_UPLOAD_BYTES = 50_000_000  # of one file, OpenAI's limit
MAX_UPLOAD_SIDE = 8192  # pixels
MAX_UPLOAD_PIXELS = 4096 * 4096  # 64 MiB as RGBA

UPSCALE_FACTORS = (2, 4)

MIN_SIDE, MAX_SIDE = 16, 4096  # pixels of width and height
MIN_STEPS, MAX_STEPS = 1, 150

MIME_TYPES = ("image/png", "image/jpeg", "image/webp")  # of results and previews

RANGES: dict[str, tuple[float, float]] = {
    "count": (1, MAX_COUNT),
    "width": (MIN_SIDE, MAX_SIDE),
    "height": (MIN_SIDE, MAX_SIDE),
    "steps": (MIN_STEPS, MAX_STEPS),
    "guidance_scale": (0, 50),
    "guidance_rescale": (0, 1),
    "eta": (0, 1),
    "seed": (0, MAX_SEED),
    "strength": (0, 1),
    "priority": (-100, 100),
    "earlier_steps": (0, MAX_STEPS),
    "clip_skip": (0, 11),
}
"""Minimum and maximum by field."""

LENGTHS: dict[str, int] = {
    "prompt": MAX_PROMPT,
    "negative_prompt": MAX_PROMPT,
    "model": MAX_NAME,
    "sampler": MAX_NAME,
    "schedule": MAX_NAME,
    "quality": MAX_NAME,
    "style": MAX_NAME,
}
"""Maximum number of characters by field."""

SERVICE = pb.DESCRIPTOR.services_by_name["ImageService"].full_name

REQUEST_ID = "x-request-id"
"""Name of the metadata with the id of a call; the trailing metadata repeats it."""

MAX_MESSAGE = 64 * 2**20
"""Maximum size of a message in bytes, in both directions: ten PNGs of 1024x1024 take 20 MB."""

MESSAGE_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE),
)

KEEPALIVE_OPTIONS = (("grpc.keepalive_time_ms", 30_000), ("grpc.keepalive_timeout_ms", 10_000))
"""Keepalive pings, which both ends send to detect lost connections; the gateway sends more. The service allows one
every 5 s."""
