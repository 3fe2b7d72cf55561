"""Safety checkers: graphs that look at finished images, and refuse some.

They run on the CPU, on the thread that encodes the image, so the device goes on with other images meanwhile. A checker
is loaded with its model, and counts towards the memory budget if models are on the CPU too; then it may be evicted like
any component, and is loaded again for the next image.
"""

from __future__ import annotations

import logging
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from ..errors import GenerationFailed, ImageRefused, ModelBroken
from .files import ModelFileError
from .residency.component_memory import ModelMemory
from .runtime.provider_options import DEVICES
from .runtime.providers import choose
from .runtime.runtime import Runtime
from .runtime.session import Session

if TYPE_CHECKING:
    from PIL import Image

    from .folder.safety_files import Preprocessing, SafetyFiles
    from .model import Array
    from .residency.component_memory import ComponentMemory
    from .spec import ModelSpec

log = logging.getLogger(__name__)

CLIP_INPUT, IMAGES, CONCEPTS = "clip_input", "images", "has_nsfw_concepts"
PIXEL_VALUES, LOGITS = "pixel_values", "logits"
NO_IMAGES = np.zeros((1, 8, 8, 3), np.float32)
"""Diffusers' checker blackens refused `images`, which nothing reads here."""


class SafetyChecker:
    """One checker, loaded.

    Raises:
        ModelFileError: the graph is neither diffusers' safety checker nor an image classifier.
    """

    def __init__(self, files: SafetyFiles, session: Session) -> None:
        self._files, self._session = files, session
        self._is_classifier = PIXEL_VALUES in session.inputs
        if self._is_classifier:
            session.require(inputs=(PIXEL_VALUES,), output=LOGITS)
            if not files.labels:
                raise ModelFileError(f"{session.label} is a classifier, which needs a config.json with id2label")
        else:
            session.require(inputs=(CLIP_INPUT,), output=CONCEPTS, optional=(IMAGES,))

    def refuses(self, image: Image.Image) -> bool:
        """Return whether the checker refuses an image.

        Raises:
            GenerationFailed, OutOfMemory: the graph could not be run.
        """
        values = prepare(image, self._files.preprocessing)
        if self._is_classifier:
            return self._refuses_label(self._session.run(LOGITS, pixel_values=values)[0])
        feeds = {CLIP_INPUT: values} | ({IMAGES: NO_IMAGES} if IMAGES in self._session.inputs else {})
        (concepts,) = self._session.compute((CONCEPTS,), feeds)
        return bool(concepts.any())

    def _refuses_label(self, logits: Array) -> bool:
        files = self._files
        if logits.shape != (len(files.labels),) or not np.isfinite(logits).all():
            found = f"gave {list(logits.shape)} values for the {len(files.labels)} labels in its config.json"
            raise GenerationFailed(f"the safety checker {self._session.label} {found}, or one is not finite")
        scores = 1 / (1 + np.exp(-logits)) if files.several else _softmax(logits)
        return bool((scores[list(files.refused)] >= files.threshold).any())


class SafetyCheckers:
    """The checkers of all models, each loaded with its model. Thread-safe.

    `memory` holds them if models that `providers` run are in the same memory; `threads` are those of one call (0: one
    per core).
    """

    def __init__(self, memory: ComponentMemory, providers: tuple[str, ...] = (), threads: int = 0) -> None:
        self._memory, self._providers, self._threads = memory, providers, threads
        self._lock = Lock()
        self._checkers: dict[tuple[str, SafetyFiles], SafetyChecker] = {}

    def load(self, spec: ModelSpec) -> None:
        """Load the checker of a model, if it has one. Blocks.

        Raises:
            ModelBroken: its graph can't be loaded, or is of neither kind.
            OutOfMemory: memory is not sufficient.
        """
        if spec.safety is not None:
            try:
                self._checker(spec.name, spec.safety)
            except ModelFileError as error:
                raise ModelBroken(spec.name, [f"its safety checker: {error}"]) from error

    def check(self, spec: ModelSpec, image: Image.Image) -> None:
        """Check a finished image of a model. Blocks.

        Raises:
            ImageRefused: the model's checker refuses it.
            GenerationFailed, OutOfMemory: it could not be checked.
        """
        if spec.safety is None:
            return
        try:
            checker = self._checker(spec.name, spec.safety)
        except ModelFileError as error:
            raise GenerationFailed(f"the image could not be checked: {error}") from error
        if checker.refuses(image):
            log.info("model %s: the safety checker refuses an image", spec.name)
            raise ImageRefused(spec.name)

    def forget(self, model: str) -> None:
        """Forget the checkers of a model that is unloaded; the memory frees their graphs. Takes no lock."""
        for key in [key for key in list(self._checkers) if key[0] == model]:
            self._checkers.pop(key, None)

    def _checker(self, model: str, files: SafetyFiles) -> SafetyChecker:
        """Return a checker, loaded if it is not yet. Raises ModelFileError, OutOfMemory."""
        with self._lock:
            checker = self._checkers.get((model, files))
            if checker is None:
                self.forget(model)
                checker = self._checkers[model, files] = SafetyChecker(files, self._session(model, files))
            return checker

    def _session(self, model: str, files: SafetyFiles) -> Session:
        runtime = Runtime.choose(("cpu",), self._threads)
        if choose(self._providers) not in DEVICES:
            shared = {files.graph.files: f"safety checker {files.graph.path} {files.identity}"}
            runtime = runtime.within(ModelMemory(self._memory, model, shared), runtime.stop_flag)
        return Session(files.graph, runtime)


def prepare(image: Image.Image, how: Preprocessing) -> Array:
    """Return an image as the input [1, 3, h, w] of a graph, float32."""
    image = image.convert("RGB")
    if how.size:
        image = image.resize(how.size, how.resample)
    elif how.shortest:
        short = min(image.size)
        width, height = (how.shortest if side == short else int(how.shortest * side / short) for side in image.size)
        image = image.resize((width, height), how.resample)
    if how.crop:
        left, top = ((side - own) // 2 for side, own in zip(image.size, how.crop, strict=True))
        image = image.crop((left, top, left + how.crop[0], top + how.crop[1]))
    levels = np.asarray(image, np.float32) * np.float32(how.factor)
    values = (levels - np.array(how.mean, np.float32)) / np.array(how.deviation, np.float32)
    return np.ascontiguousarray(values.transpose(2, 0, 1)[np.newaxis])


def _softmax(logits: Array) -> Array:
    shares = np.exp(logits - logits.max())
    return np.asarray(shares / shares.sum(), np.float32)
