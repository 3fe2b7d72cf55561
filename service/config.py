"""Settings of the service: names, units, defaults and help.

`cli` reads flags, environment variables and the settings file according to a field's metadata: `unit` says how a value
is written if its type does not, `flag` is the flag if it differs from the field's name. A field without `help` is not
a setting.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from tintype.v1.keys import Keys, check_access, is_loopback
from tintype.v1.settings import Common, flag

from .devices.choice import parse_choice
from .metrics.setting import FORWARDED, parse_address

if TYPE_CHECKING:
    from pathlib import Path

PRECISIONS = ("auto", "fp16", "fp32", "int8", "int4")  # the values of models.loading_options.Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfig(Common):
    """Settings of the gRPC service. Sizes are bytes, times are seconds.

    Without `models` and `models_folder` the built-in model is served. With `threads` or `max_batch` 0 the service
    chooses.
    """

    RELOADED: ClassVar[frozenset[str]] = Common.RELOADED | {"models", "models_folder"}

    grpc: str = field(
        default="127.0.0.1:50051", metadata={"unit": "address", "help": "address of the gRPC service, HOST:PORT"}
    )
    models: tuple[Path, ...] = field(
        default=(),
        metadata={
            "flag": "--model",
            "unit": "models",
            "help": "model: a folder, a .safetensors file, or OWNER/NAME on the Hugging Face hub; the first one is the "
            "default model",
        },
    )
    models_folder: Path | None = field(
        default=None,
        metadata={"help": "folder of further models: each folder or .safetensors file in it, also those added later"},
    )
    precision: str = field(
        default="auto",
        metadata={
            "help": f"number format of published weights: {', '.join(PRECISIONS)}; auto is as stored, int8 and int4 "
            "quantize the linear layers"
        },
    )
    mapped: bool = field(
        default=False,
        metadata={
            "help": "use weights from their mapped files: models load faster and take less memory, calls are slower"
        },
    )
    keep_graphs: bool = field(
        default=False,
        metadata={
            "help": "on a CPU, keep optimized graphs in --weights-cache, where they take up to 1.7 times the bytes of "
            "the weights: from its second start on a large model loads faster and takes less memory"
        },
    )
    exact: bool = field(
        default=False,
        metadata={
            "help": "multiply int8 and int4 weights in float32, so that no image depends on others in its batch; slower"
        },
    )
    text_encoders: Path | None = field(
        default=None,
        metadata={
            "unit": "model",
            "help": "model whose text encoders and tokenizers serve a single file without them: a folder or OWNER/NAME",
        },
    )
    vae: Path | None = field(
        default=None,
        metadata={
            "unit": "model",
            "help": "VAE in place of the models' own: a folder, a .safetensors file or OWNER/NAME, for example "
            "madebyollin/taesd for fast decoding",
        },
    )
    templates: Path | None = field(
        default=None, metadata={"help": "folder of further templates, which precede the included ones"}
    )
    weights_cache: Path | None = field(
        default=None,
        metadata={"help": "folder for converted weights and kept graphs (default: ~/.cache/tintype/weights)"},
    )
    additions: Path | None = field(
        default=None,
        metadata={
            "help": "folder with NAME/loras, NAME/embeddings, NAME/controlnets and NAME/image_adapters of models that "
            "are files or from the hub (default: `models` in the data folder)"
        },
    )
    providers: tuple[str, ...] = field(
        default=(),
        metadata={
            "flag": "--provider",
            "help": "execution providers in order of preference: tensorrt, cuda, tensorrt-rtx, webgpu, openvino, cpu",
        },
    )
    devices: str = field(
        default="",
        metadata={
            "unit": "devices",
            "help": "devices to use, with one process each: a number of them, all, or names separated by commas, for "
            "example 0,1; with the provider cpu, shares of the cores (default: one device, in one process)",
        },
    )
    cuda_graphs: bool = field(
        default=True,
        metadata={"help": "capture denoiser calls as CUDA graphs; each denoiser then has its own GPU memory"},
    )
    fixed_shapes: bool = field(
        default=False,
        metadata={
            "help": "with webgpu, load a denoiser again for a shape that is called often, and capture its calls at "
            "this shape"
        },
    )
    engines: Path | None = field(
        default=None,
        metadata={"help": "folder for the engines that TensorRT builds (default: ~/.cache/tintype/engines)"},
    )
    arena: int = field(
        default=0,
        metadata={
            "unit": "bytes",
            "help": "maximum memory of an NVIDIA GPU for the intermediate results of a call (0: an eighth of --memory; "
            "no limit without it)",
        },
    )
    memory: int = field(
        default=0,
        metadata={
            "unit": "bytes",
            "help": "memory budget for models, of each device, for example 6GiB; on an NVIDIA GPU also for "
            "intermediate results (0: no limit)",
        },
    )
    threads: int = field(default=0, metadata={"help": "threads per model call on a CPU (0: one per core)"})
    queue: int = field(default=64, metadata={"help": "maximum number of waiting requests; further ones are refused"})
    max_batch: int = field(default=0, metadata={"help": "images per model call (0: tune automatically)"})
    safety_checks: bool = field(
        default=False,
        metadata={
            "help": "refuse images that the models' safety checkers flag; each model needs one, or see --safety-checker"
        },
    )
    safety_checker: Path | None = field(
        default=None,
        metadata={
            "help": "folder of a safety checker or an image classifier (ONNX) for models without a checker; turns "
            "--safety-checks on"
        },
    )
    safety_labels: tuple[str, ...] = field(
        default=("nsfw",), metadata={"help": "labels of a classifier for which an image is refused"}
    )
    safety_threshold: float = field(
        default=0.5, metadata={"help": "probability of such a label from which on an image is refused, up to 1"}
    )
    mark_images: bool = field(
        default=False,
        metadata={"help": "mark images as generated, with IPTC's metadata in XMP; requests cannot leave the mark out"},
    )
    metrics: str = field(
        default="",
        metadata={
            "help": "address of the metrics for Prometheus, HOST:PORT, for example 127.0.0.1:9464 (default: none)"
        },
    )
    hang_after: float = field(
        default=300.0,
        metadata={
            "help": "seconds after which a device that computes without a result counts as hung and health says "
            "NOT_SERVING, at least five times the longest computation so far (0: never)"
        },
    )
    connection_age: float = field(
        default=600.0,
        metadata={
            "help": "seconds after which clients are asked to connect again, so that balancers spread them over "
            "replicas; running calls finish (0: never)"
        },
    )
    tls_cert: Path | None = field(default=None, metadata={"help": "TLS certificate chain (PEM)"})
    tls_key: Path | None = field(default=None, metadata={"help": "TLS private key (PEM)"})
    tls_client_ca: Path | None = field(
        default=None, metadata={"help": "CA (PEM) that must have signed client certificates (mutual TLS)"}
    )
    companion_key: str = ""  # key of the gateway that `tintype up` starts; other requests still need no key

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"{flag('precision')} must be one of {', '.join(PRECISIONS)}; got {self.precision!r}")
        if self.devices:
            try:
                parse_choice(self.devices)
            except ValueError as error:
                raise ValueError(f"{flag('devices')} {error}") from None
        if self.exports_metrics:
            parse_address(self.metrics)

    def check(self) -> None:
        """Raise ValueError if a number is negative, or a path to read from cannot be read."""
        for name in ("threads", "grace", "memory", "arena", "lame_duck", "hang_after", "connection_age"):
            if getattr(self, name) < 0:
                raise ValueError(f"{flag(name)} must be at least 0; got {getattr(self, name):g}")
        if not 0 < self.safety_threshold <= 1:
            raise ValueError(f"--safety-threshold must be above 0 and at most 1; got {self.safety_threshold:g}")
        if self.models_folder and not self.models_folder.is_dir():
            raise ValueError(f"--models-folder must be a folder; got {self.models_folder}")
        for name in ("text_encoders", "vae", "templates", "safety_checker"):
            path: Path | None = getattr(self, name)
            try:
                path.stat() if path else None
            except OSError as error:
                raise ValueError(f"{flag(name)} {path} can't be read: {error.strerror}") from error

    def check_access(self) -> None:
        """Raise KeysError if the keys are unusable, or if other machines could connect without a key."""
        Common.check_access(self)  # a class with slots is made anew, which `super()` does not know
        if self.exports_metrics:
            keys = Keys(self.key_file, optional=self.keys is None, api_key=self.api_key)
            is_open = not (is_loopback(self.metrics) or self.anonymous)
            check_access(keys, self.key_file, self.metrics, is_open=is_open)

    @property
    def exports_metrics(self) -> bool:
        """Whether this process has an address for metrics."""
        return self.metrics not in ("", FORWARDED)

    @property
    def address(self) -> str:
        """The address that the server listens on, HOST:PORT."""
        return self.grpc

    @property
    def is_open(self) -> bool:
        """Whether other machines can connect, and only keys restrict access."""
        return not (self.is_local or self.anonymous or self.tls_client_ca)
