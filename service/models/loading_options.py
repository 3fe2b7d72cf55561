"""How published weights are loaded: their precision, and the folders that loading uses."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from threading import Event


class Precision(StrEnum):
    """Number format of weights and arithmetic.

    - `AUTO`: as stored. float16, bfloat16 and float8 weights compute in float16 on a GPU, in float32 on a CPU.
    - `FP16`: float16 on a GPU; on a CPU the weights are rounded to float16 and compute in float32.
    - `FP32`: float32 everywhere.
    - `INT8`, `INT4`: weights of linear layers in blocks of 8 or 4 bits; all others as with `AUTO`.
    """

    AUTO = "auto"
    FP16 = "fp16"
    FP32 = "fp32"
    INT8 = "int8"
    INT4 = "int4"


@dataclass(frozen=True, slots=True)
class SafetyOptions:
    """How finished images are checked.

    `checker` is the folder of the safety checker of models without one. A checker that is a classifier refuses images
    with one of `labels` if its probability is at least `threshold`.
    """

    checker: Path | None = None
    labels: tuple[str, ...] = ("nsfw",)
    threshold: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadingOptions:
    """Settings for models that are served from published weights.

    - `mapped`: weights stay in the mapped file. A model then loads in a fraction of the time and of the memory, and
      processes share it; calls take 5 to 11 % longer.
    - `exact`: int8 and int4 weights are multiplied in float32, so that no image depends on others in its batch.
    - `text_encoders`: a model folder that has the text encoders and tokenizers that a single file lacks.
    - `vae`: a model folder or file whose VAE replaces the model's own.
    - `cache`: the folder for converted weights.
    - `templates`: a folder with further templates, searched first.
    - `additions`: the folder that has `NAME/loras`, `NAME/embeddings`, `NAME/controlnets` and `NAME/image_adapters` of
      models that are not folders of their own.
    - `safety`: how finished images are checked; None checks none.
    - `provider`: the provider whose memory the sizes of weights are counted for: float16 on a GPU, float32 on a CPU.
    - `stop`: once it is set, no weights are converted any more.
    """

    precision: Precision = Precision.AUTO
    mapped: bool = False
    exact: bool = False
    text_encoders: Path | None = None
    vae: Path | None = None
    cache: Path = Path("~/.cache/tintype/weights")
    templates: Path | None = None
    additions: Path | None = None
    safety: SafetyOptions | None = None
    provider: str = field(default="cpu", compare=False)
    stop: Event = field(default_factory=Event, compare=False, repr=False)


DEFAULTS = LoadingOptions()
