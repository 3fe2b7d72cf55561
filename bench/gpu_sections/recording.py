"""The inputs of a denoiser call of a model folder, in the graph's own types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tintype.service.models import Prompt, Repository
from tintype.service.models.runtime.provider_options import ProviderOptions

from .ways import GraphCall

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self


class DenoiserInputs:
    """A loaded model whose calls of the denoiser are recorded instead of computed twice."""

    def __init__(self, provider: str, folder: Path) -> None:
        self._repository = Repository([folder], providers=[provider], options=ProviderOptions(cuda_graphs=False))
        self.model: Any = self._repository.wait(timeout=3600)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._repository.close()

    def of_call(self, rows: int, size: int) -> GraphCall:
        """Return the denoiser with the inputs of a call with `rows` rows at `size` pixels."""
        stage = getattr(self.model._stages, "_first", self.model._stages)
        session, recorded = stage.denoiser._session, []

        class Recorder:
            def run(self, outputs: Any, feeds: Any) -> Any:
                recorded.append((outputs[0], dict(feeds)))
                return inner.run(outputs, feeds)

        inner, session._session = session._session, Recorder()
        try:
            shape = self.model.spec.latent_shape(size, size)
            latents = np.random.default_rng(0).standard_normal((rows, *shape), np.float32)
            (conditioning,) = self.model.encode([Prompt("a red circle")])
            self.model.denoise(latents, np.full(rows, 500, np.float32), [conditioning] * rows)
        finally:
            session._session = inner
        (output, feeds), *_ = recorded
        return GraphCall(session.source, output, inner.inputs, feeds)
