import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ModelState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODEL_STATE_UNSPECIFIED: _ClassVar[ModelState]
    MODEL_STATE_UNLOADED: _ClassVar[ModelState]
    MODEL_STATE_LOADING: _ClassVar[ModelState]
    MODEL_STATE_LOADED: _ClassVar[ModelState]
    MODEL_STATE_FAILED: _ClassVar[ModelState]
MODEL_STATE_UNSPECIFIED: ModelState
MODEL_STATE_UNLOADED: ModelState
MODEL_STATE_LOADING: ModelState
MODEL_STATE_LOADED: ModelState
MODEL_STATE_FAILED: ModelState

class GenerateImagesRequest(_message.Message):
    __slots__ = ("model", "prompt", "negative_prompt", "count", "width", "height", "steps", "guidance_scale", "guidance_rescale", "sampler", "schedule", "eta", "seed", "image", "mask", "strength", "loras", "output", "priority", "timeout", "caller", "prompt_weighting", "quality", "style", "allow_empty_prompt", "embeddings", "earlier_steps", "references", "controls", "image_prompts", "clip_skip")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_PROMPT_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    GUIDANCE_SCALE_FIELD_NUMBER: _ClassVar[int]
    GUIDANCE_RESCALE_FIELD_NUMBER: _ClassVar[int]
    SAMPLER_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    ETA_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    STRENGTH_FIELD_NUMBER: _ClassVar[int]
    LORAS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    PROMPT_WEIGHTING_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    STYLE_FIELD_NUMBER: _ClassVar[int]
    ALLOW_EMPTY_PROMPT_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    EARLIER_STEPS_FIELD_NUMBER: _ClassVar[int]
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    CONTROLS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_PROMPTS_FIELD_NUMBER: _ClassVar[int]
    CLIP_SKIP_FIELD_NUMBER: _ClassVar[int]
    model: str
    prompt: str
    negative_prompt: str
    count: int
    width: int
    height: int
    steps: int
    guidance_scale: float
    guidance_rescale: float
    sampler: str
    schedule: str
    eta: float
    seed: int
    image: bytes
    mask: bytes
    strength: float
    loras: _containers.RepeatedCompositeFieldContainer[Lora]
    output: OutputFormat
    priority: int
    timeout: _duration_pb2.Duration
    caller: str
    prompt_weighting: bool
    quality: str
    style: str
    allow_empty_prompt: bool
    embeddings: _containers.RepeatedScalarFieldContainer[str]
    earlier_steps: int
    references: _containers.RepeatedScalarFieldContainer[bytes]
    controls: _containers.RepeatedCompositeFieldContainer[Control]
    image_prompts: _containers.RepeatedCompositeFieldContainer[ImagePrompt]
    clip_skip: int
    def __init__(self, model: _Optional[str] = ..., prompt: _Optional[str] = ..., negative_prompt: _Optional[str] = ..., count: _Optional[int] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., steps: _Optional[int] = ..., guidance_scale: _Optional[float] = ..., guidance_rescale: _Optional[float] = ..., sampler: _Optional[str] = ..., schedule: _Optional[str] = ..., eta: _Optional[float] = ..., seed: _Optional[int] = ..., image: _Optional[bytes] = ..., mask: _Optional[bytes] = ..., strength: _Optional[float] = ..., loras: _Optional[_Iterable[_Union[Lora, _Mapping]]] = ..., output: _Optional[_Union[OutputFormat, _Mapping]] = ..., priority: _Optional[int] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., caller: _Optional[str] = ..., prompt_weighting: bool = ..., quality: _Optional[str] = ..., style: _Optional[str] = ..., allow_empty_prompt: bool = ..., embeddings: _Optional[_Iterable[str]] = ..., earlier_steps: _Optional[int] = ..., references: _Optional[_Iterable[bytes]] = ..., controls: _Optional[_Iterable[_Union[Control, _Mapping]]] = ..., image_prompts: _Optional[_Iterable[_Union[ImagePrompt, _Mapping]]] = ..., clip_skip: _Optional[int] = ...) -> None: ...

class Control(_message.Message):
    __slots__ = ("name", "image", "weight", "start", "end", "mode")
    NAME_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    name: str
    image: bytes
    weight: float
    start: float
    end: float
    mode: int
    def __init__(self, name: _Optional[str] = ..., image: _Optional[bytes] = ..., weight: _Optional[float] = ..., start: _Optional[float] = ..., end: _Optional[float] = ..., mode: _Optional[int] = ...) -> None: ...

class ImagePrompt(_message.Message):
    __slots__ = ("name", "image", "weight")
    NAME_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    name: str
    image: bytes
    weight: float
    def __init__(self, name: _Optional[str] = ..., image: _Optional[bytes] = ..., weight: _Optional[float] = ...) -> None: ...

class Lora(_message.Message):
    __slots__ = ("name", "weight")
    NAME_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    name: str
    weight: float
    def __init__(self, name: _Optional[str] = ..., weight: _Optional[float] = ...) -> None: ...

class OutputFormat(_message.Message):
    __slots__ = ("mime_type", "quality", "omit_metadata", "alpha")
    MIME_TYPE_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    OMIT_METADATA_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    mime_type: str
    quality: int
    omit_metadata: bool
    alpha: bool
    def __init__(self, mime_type: _Optional[str] = ..., quality: _Optional[int] = ..., omit_metadata: bool = ..., alpha: bool = ...) -> None: ...

class GenerateImagesResponse(_message.Message):
    __slots__ = ("images", "model", "usage", "timings")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedCompositeFieldContainer[Image]
    model: str
    usage: Usage
    timings: Timings
    def __init__(self, images: _Optional[_Iterable[_Union[Image, _Mapping]]] = ..., model: _Optional[str] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ...) -> None: ...

class StreamImagesRequest(_message.Message):
    __slots__ = ("generation", "previews", "omit_progress")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    PREVIEWS_FIELD_NUMBER: _ClassVar[int]
    OMIT_PROGRESS_FIELD_NUMBER: _ClassVar[int]
    generation: GenerateImagesRequest
    previews: Previews
    omit_progress: bool
    def __init__(self, generation: _Optional[_Union[GenerateImagesRequest, _Mapping]] = ..., previews: _Optional[_Union[Previews, _Mapping]] = ..., omit_progress: bool = ...) -> None: ...

class Previews(_message.Message):
    __slots__ = ("count", "every", "mime_type")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    EVERY_FIELD_NUMBER: _ClassVar[int]
    MIME_TYPE_FIELD_NUMBER: _ClassVar[int]
    count: int
    every: int
    mime_type: str
    def __init__(self, count: _Optional[int] = ..., every: _Optional[int] = ..., mime_type: _Optional[str] = ...) -> None: ...

class StreamImagesResponse(_message.Message):
    __slots__ = ("queued", "loading", "progress", "preview", "image", "completed")
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    LOADING_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    queued: Queued
    loading: Loading
    progress: Progress
    preview: Preview
    image: Image
    completed: Completed
    def __init__(self, queued: _Optional[_Union[Queued, _Mapping]] = ..., loading: _Optional[_Union[Loading, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., preview: _Optional[_Union[Preview, _Mapping]] = ..., image: _Optional[_Union[Image, _Mapping]] = ..., completed: _Optional[_Union[Completed, _Mapping]] = ...) -> None: ...

class Queued(_message.Message):
    __slots__ = ("position", "eta")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    ETA_FIELD_NUMBER: _ClassVar[int]
    position: int
    eta: _duration_pb2.Duration
    def __init__(self, position: _Optional[int] = ..., eta: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Loading(_message.Message):
    __slots__ = ("model", "fraction")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FRACTION_FIELD_NUMBER: _ClassVar[int]
    model: str
    fraction: float
    def __init__(self, model: _Optional[str] = ..., fraction: _Optional[float] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("index", "step", "steps", "eta")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    ETA_FIELD_NUMBER: _ClassVar[int]
    index: int
    step: int
    steps: int
    eta: _duration_pb2.Duration
    def __init__(self, index: _Optional[int] = ..., step: _Optional[int] = ..., steps: _Optional[int] = ..., eta: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Preview(_message.Message):
    __slots__ = ("index", "step", "data", "mime_type", "width", "height", "preview_index")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    MIME_TYPE_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_INDEX_FIELD_NUMBER: _ClassVar[int]
    index: int
    step: int
    data: bytes
    mime_type: str
    width: int
    height: int
    preview_index: int
    def __init__(self, index: _Optional[int] = ..., step: _Optional[int] = ..., data: _Optional[bytes] = ..., mime_type: _Optional[str] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., preview_index: _Optional[int] = ...) -> None: ...

class Image(_message.Message):
    __slots__ = ("index", "seed", "data", "mime_type", "width", "height", "native_width", "native_height", "revised_prompt", "timings")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    MIME_TYPE_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    NATIVE_WIDTH_FIELD_NUMBER: _ClassVar[int]
    NATIVE_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    REVISED_PROMPT_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    index: int
    seed: int
    data: bytes
    mime_type: str
    width: int
    height: int
    native_width: int
    native_height: int
    revised_prompt: str
    timings: Timings
    def __init__(self, index: _Optional[int] = ..., seed: _Optional[int] = ..., data: _Optional[bytes] = ..., mime_type: _Optional[str] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., native_width: _Optional[int] = ..., native_height: _Optional[int] = ..., revised_prompt: _Optional[str] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ...) -> None: ...

class Timings(_message.Message):
    __slots__ = ("queue", "encode", "denoise", "decode", "total")
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    ENCODE_FIELD_NUMBER: _ClassVar[int]
    DENOISE_FIELD_NUMBER: _ClassVar[int]
    DECODE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    queue: _duration_pb2.Duration
    encode: _duration_pb2.Duration
    denoise: _duration_pb2.Duration
    decode: _duration_pb2.Duration
    total: _duration_pb2.Duration
    def __init__(self, queue: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., encode: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., denoise: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., decode: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., total: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Completed(_message.Message):
    __slots__ = ("model", "usage", "timings")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    model: str
    usage: Usage
    timings: Timings
    def __init__(self, model: _Optional[str] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("images", "steps", "prompt_tokens")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    images: int
    steps: int
    prompt_tokens: int
    def __init__(self, images: _Optional[int] = ..., steps: _Optional[int] = ..., prompt_tokens: _Optional[int] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: Model
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ...) -> None: ...

class LoadModelRequest(_message.Message):
    __slots__ = ("model", "no_wait")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    NO_WAIT_FIELD_NUMBER: _ClassVar[int]
    model: str
    no_wait: bool
    def __init__(self, model: _Optional[str] = ..., no_wait: bool = ...) -> None: ...

class LoadModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: Model
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ...) -> None: ...

class UnloadModelRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class UnloadModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: Model
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ...) -> None: ...

class UpscaleImageRequest(_message.Message):
    __slots__ = ("image", "factor", "output")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    FACTOR_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    factor: int
    output: OutputFormat
    def __init__(self, image: _Optional[bytes] = ..., factor: _Optional[int] = ..., output: _Optional[_Union[OutputFormat, _Mapping]] = ...) -> None: ...

class UpscaleImageResponse(_message.Message):
    __slots__ = ("data", "mime_type", "width", "height")
    DATA_FIELD_NUMBER: _ClassVar[int]
    MIME_TYPE_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    mime_type: str
    width: int
    height: int
    def __init__(self, data: _Optional[bytes] = ..., mime_type: _Optional[str] = ..., width: _Optional[int] = ..., height: _Optional[int] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "is_default", "family", "state", "load_fraction", "error", "provider", "precision", "weights_bytes", "native_sizes", "size_multiple", "defaults", "samplers", "schedules", "loras", "text_to_image", "image_to_image", "inpainting", "created", "license", "description", "qualities", "styles", "provider_options", "embeddings", "max_references", "requires_references", "controls", "image_adapters", "clip_layer", "control_modes", "devices", "memory_bytes", "guidance", "fixed_samplers")
    class ProviderOptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class ControlModesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    IS_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LOAD_FRACTION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_BYTES_FIELD_NUMBER: _ClassVar[int]
    NATIVE_SIZES_FIELD_NUMBER: _ClassVar[int]
    SIZE_MULTIPLE_FIELD_NUMBER: _ClassVar[int]
    DEFAULTS_FIELD_NUMBER: _ClassVar[int]
    SAMPLERS_FIELD_NUMBER: _ClassVar[int]
    SCHEDULES_FIELD_NUMBER: _ClassVar[int]
    LORAS_FIELD_NUMBER: _ClassVar[int]
    TEXT_TO_IMAGE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_TO_IMAGE_FIELD_NUMBER: _ClassVar[int]
    INPAINTING_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    LICENSE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    QUALITIES_FIELD_NUMBER: _ClassVar[int]
    STYLES_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    MAX_REFERENCES_FIELD_NUMBER: _ClassVar[int]
    REQUIRES_REFERENCES_FIELD_NUMBER: _ClassVar[int]
    CONTROLS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_ADAPTERS_FIELD_NUMBER: _ClassVar[int]
    CLIP_LAYER_FIELD_NUMBER: _ClassVar[int]
    CONTROL_MODES_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    GUIDANCE_FIELD_NUMBER: _ClassVar[int]
    FIXED_SAMPLERS_FIELD_NUMBER: _ClassVar[int]
    name: str
    is_default: bool
    family: str
    state: ModelState
    load_fraction: float
    error: str
    provider: str
    precision: str
    weights_bytes: int
    native_sizes: _containers.RepeatedCompositeFieldContainer[Size]
    size_multiple: int
    defaults: ModelDefaults
    samplers: _containers.RepeatedScalarFieldContainer[str]
    schedules: _containers.RepeatedScalarFieldContainer[str]
    loras: _containers.RepeatedScalarFieldContainer[str]
    text_to_image: bool
    image_to_image: bool
    inpainting: bool
    created: _timestamp_pb2.Timestamp
    license: str
    description: str
    qualities: _containers.RepeatedScalarFieldContainer[str]
    styles: _containers.RepeatedScalarFieldContainer[str]
    provider_options: _containers.ScalarMap[str, str]
    embeddings: _containers.RepeatedScalarFieldContainer[str]
    max_references: int
    requires_references: bool
    controls: _containers.RepeatedScalarFieldContainer[str]
    image_adapters: _containers.RepeatedScalarFieldContainer[str]
    clip_layer: int
    control_modes: _containers.ScalarMap[str, int]
    devices: _containers.RepeatedScalarFieldContainer[str]
    memory_bytes: int
    guidance: str
    fixed_samplers: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., is_default: bool = ..., family: _Optional[str] = ..., state: _Optional[_Union[ModelState, str]] = ..., load_fraction: _Optional[float] = ..., error: _Optional[str] = ..., provider: _Optional[str] = ..., precision: _Optional[str] = ..., weights_bytes: _Optional[int] = ..., native_sizes: _Optional[_Iterable[_Union[Size, _Mapping]]] = ..., size_multiple: _Optional[int] = ..., defaults: _Optional[_Union[ModelDefaults, _Mapping]] = ..., samplers: _Optional[_Iterable[str]] = ..., schedules: _Optional[_Iterable[str]] = ..., loras: _Optional[_Iterable[str]] = ..., text_to_image: bool = ..., image_to_image: bool = ..., inpainting: bool = ..., created: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., license: _Optional[str] = ..., description: _Optional[str] = ..., qualities: _Optional[_Iterable[str]] = ..., styles: _Optional[_Iterable[str]] = ..., provider_options: _Optional[_Mapping[str, str]] = ..., embeddings: _Optional[_Iterable[str]] = ..., max_references: _Optional[int] = ..., requires_references: bool = ..., controls: _Optional[_Iterable[str]] = ..., image_adapters: _Optional[_Iterable[str]] = ..., clip_layer: _Optional[int] = ..., control_modes: _Optional[_Mapping[str, int]] = ..., devices: _Optional[_Iterable[str]] = ..., memory_bytes: _Optional[int] = ..., guidance: _Optional[str] = ..., fixed_samplers: _Optional[_Iterable[str]] = ...) -> None: ...

class ModelDefaults(_message.Message):
    __slots__ = ("steps", "guidance_scale", "guidance_rescale", "sampler", "schedule", "width", "height", "strength")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    GUIDANCE_SCALE_FIELD_NUMBER: _ClassVar[int]
    GUIDANCE_RESCALE_FIELD_NUMBER: _ClassVar[int]
    SAMPLER_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    STRENGTH_FIELD_NUMBER: _ClassVar[int]
    steps: int
    guidance_scale: float
    guidance_rescale: float
    sampler: str
    schedule: str
    width: int
    height: int
    strength: float
    def __init__(self, steps: _Optional[int] = ..., guidance_scale: _Optional[float] = ..., guidance_rescale: _Optional[float] = ..., sampler: _Optional[str] = ..., schedule: _Optional[str] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., strength: _Optional[float] = ...) -> None: ...

class Size(_message.Message):
    __slots__ = ("width", "height")
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    width: int
    height: int
    def __init__(self, width: _Optional[int] = ..., height: _Optional[int] = ...) -> None: ...
