"""The sides: tintype, optimum, diffusers on torch, OpenVINO GenAI, and stable-diffusion.cpp."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .side import Side
from .task import SEEDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from .side import Pixels
    from .task import Task


class Tintype(Side):
    """tintype's engine on its own thread, as the service runs it; callers are tasks of one event loop."""

    provider = "cpu"

    def __init__(self, task: Task, *, mapped: bool = False, kept: bool = False) -> None:
        super().__init__(task)
        self._mapped, self._kept = mapped, Path(task.cache) / "graphs" if kept else None

    def import_library(self) -> None:
        """Import the engine and what it loads with the first model."""
        from tintype.service import engine, models  # noqa: F401, PLC0415
        from tintype.service.models.runtime.providers import onnxruntime  # noqa: PLC0415

        onnxruntime()

    def load(self) -> None:
        """Open the model: the built-in one, or a published folder through templates."""
        from tintype.service.engine import DeviceThread, Engine  # noqa: PLC0415
        from tintype.service.models import Repository  # noqa: PLC0415
        from tintype.service.models.loading_options import LoadingOptions  # noqa: PLC0415
        from tintype.service.models.runtime.provider_options import ProviderOptions  # noqa: PLC0415

        folders = [] if self.task.native else [self.task.folder("diffusers")]
        self._repository = Repository(
            folders,
            providers=[self.provider],
            threads=self.task.threads,
            loading=LoadingOptions(cache=Path(self.task.cache), mapped=self._mapped),
            options=ProviderOptions(mapped=self._mapped, kept=self._kept),
        )
        self._repository.wait(timeout=3600)
        self._device = DeviceThread(Engine(self._repository))

    def generate(self, seed: int) -> Pixels:
        """Return the image of a seed."""
        return asyncio.run(self._image(seed))

    def serve(self, callers: int, each: int) -> float:
        """Return images per second of `callers` tasks; the engine may put their rows into one call."""

        async def call(first: int) -> None:
            for seed in range(first, first + each):
                await self._image(seed)

        async def call_all() -> None:
            await asyncio.gather(*(call(each * number) for number in range(callers)))

        began = time.perf_counter()
        asyncio.run(call_all())
        return callers * each / (time.perf_counter() - began)

    async def _image(self, seed: int) -> Pixels:
        from tintype.service.engine.events import Failed, Finished  # noqa: PLC0415
        from tintype.service.job import Job  # noqa: PLC0415
        from tintype.service.prepare import prepare_job  # noqa: PLC0415

        task = self.task
        job = Job(
            prompt=task.prompt,
            steps=task.steps,
            seed=seed,
            guidance_scale=task.guidance,
            width=task.size,
            height=task.size,
            progress=False,
        )
        pixels: Pixels = None
        async for event in self._device.events(prepare_job(job, self._repository.spec())):
            if isinstance(event, Failed):
                raise event.error
            pixels = event.pixels if isinstance(event, Finished) else pixels
        return _levels(pixels.transpose(1, 2, 0))


class Pipeline(Side):
    """What optimum's and diffusers' pipelines share: one call for each image, noise of torch's generator."""

    _pipeline: Any
    _torch: Any

    def generate(self, seed: int) -> Pixels:
        """Return the image of a seed."""
        task = self.task
        image = self._pipeline(
            task.prompt,
            num_inference_steps=task.steps,
            guidance_scale=task.guidance,
            width=task.size,
            height=task.size,
            generator=self._torch.Generator("cpu").manual_seed(seed),
            output_type="np",
        ).images[0]
        return _levels(image)


class Optimum(Pipeline):
    """optimum's `ORTDiffusionPipeline` on exported graphs."""

    def import_library(self) -> None:
        """Import optimum's pipelines."""
        import torch  # noqa: PLC0415
        from optimum.onnxruntime import ORTDiffusionPipeline  # noqa: PLC0415

        self._torch, self._class = torch, ORTDiffusionPipeline

    def load(self) -> None:
        """Load the folder of graphs."""
        from onnxruntime import SessionOptions  # noqa: PLC0415

        options = SessionOptions()
        options.intra_op_num_threads = self.task.threads
        self._torch.set_num_threads(self.task.threads)
        folder = self.task.folder("optimum")
        self._pipeline = self._class.from_pretrained(folder, provider="CPUExecutionProvider", session_options=options)
        self._pipeline.set_progress_bar_config(disable=True)


class Diffusers(Pipeline):
    """diffusers on torch, eager or with the denoiser and the decoder compiled."""

    def __init__(self, task: Task, *, compiled: bool = False) -> None:
        super().__init__(task)
        self._compiled = compiled

    def import_library(self) -> None:
        """Import the pipeline and, for the built-in model, the class of its VAE."""
        import torch  # noqa: PLC0415
        from diffusers import StableDiffusionPipeline  # noqa: PLC0415

        self._torch, self._class = torch, StableDiffusionPipeline
        if self.task.native:
            from tintype.training.model.autoencoder import PatchAutoencoder  # noqa: PLC0415

            self._vae = PatchAutoencoder

    def load(self) -> None:
        """Load the folder of weights in float32."""
        self._torch.set_num_threads(self.task.threads)
        folder = self.task.folder("diffusers")
        parts: dict[str, Any] = {"safety_checker": None, "feature_extractor": None}
        if self.task.native:
            parts["vae"] = self._vae.from_pretrained(folder / "vae")
        pipeline = self._class.from_pretrained(folder, torch_dtype=self._torch.float32, **parts)
        pipeline.set_progress_bar_config(disable=True)
        if self._compiled:
            pipeline.unet = self._torch.compile(pipeline.unet)
            pipeline.vae.decode = self._torch.compile(pipeline.vae.decode)
        self._pipeline = pipeline


class OpenVino(Side):
    """OpenVINO GenAI's `Text2ImagePipeline` in float32, with the same noise as all."""

    def import_library(self) -> None:
        """Import the pipeline."""
        import numpy as np  # noqa: PLC0415
        import openvino  # noqa: PLC0415
        import openvino_genai  # noqa: PLC0415

        self._genai, self._np = openvino_genai, np

        class Noise(openvino_genai.Generator):  # type: ignore[misc]
            """Gives a seed's prepared noise."""

            def __init__(self, values: Any) -> None:
                super().__init__()
                self._values = values

            def next(self) -> float:
                return 0.0

            def randn_tensor(self, shape: Any) -> Any:
                return openvino.Tensor(self._values.reshape(tuple(shape)).copy())

            def seed(self, value: int) -> None:
                """Keep the noise."""

        self._generator = Noise

    def load(self) -> None:
        """Load and compile the folder of OpenVINO's graphs; the size is fixed, which makes it faster."""
        self._noise = self._np.load(self.task.noise)
        pipeline = self._genai.Text2ImagePipeline(str(self.task.folder("openvino")))
        pipeline.reshape(1, self.task.size, self.task.size, self.task.guidance)
        properties = {"INFERENCE_NUM_THREADS": self.task.threads, "INFERENCE_PRECISION_HINT": "f32"}
        pipeline.compile("CPU", **properties)
        self._pipeline = pipeline

    def generate(self, seed: int) -> Pixels:
        """Return the image of a seed."""
        task = self.task
        image = self._pipeline.generate(
            task.prompt,
            num_inference_steps=task.steps,
            guidance_scale=task.guidance,
            width=task.size,
            height=task.size,
            generator=self._generator(self._noise[seed % SEEDS]),
        )
        return image.data[0].copy()


class Cpp(Side):
    """stable-diffusion.cpp's binding, in float32, with the generator that draws torch's noise."""

    def import_library(self) -> None:
        """Import the binding."""
        import numpy as np  # noqa: PLC0415
        import stable_diffusion_cpp  # noqa: PLC0415

        self._library, self._np = stable_diffusion_cpp, np

    def load(self) -> None:
        """Load the folder of weights."""
        self._model = self._library.StableDiffusion(
            model_path=str(self.task.folder("cpp")),
            wtype="f32",
            n_threads=self.task.threads,
            rng_type="cpu",
            verbose=False,
        )

    def generate(self, seed: int) -> Pixels:
        """Return the image of a seed."""
        task = self.task
        images = self._model.generate_image(
            prompt=task.prompt,
            width=task.size,
            height=task.size,
            sample_steps=task.steps,
            cfg_scale=task.guidance,
            sample_method="euler",
            seed=seed,
        )
        return self._np.asarray(images[0])


def _levels(pixels: Any) -> Pixels:
    """Return float pixels 0 to 1 as levels 0 to 255."""
    return (pixels * 255).round().astype("uint8")


SIDES: dict[str, Callable[[Task], Side]] = {
    "tintype": Tintype,
    "tintype, mapped": lambda task: Tintype(task, mapped=True),
    "tintype, kept graphs": lambda task: Tintype(task, kept=True),
    "optimum": Optimum,
    "diffusers": Diffusers,
    "diffusers, compiled": lambda task: Diffusers(task, compiled=True),
    "OpenVINO GenAI": OpenVino,
    "stable-diffusion.cpp": Cpp,
}
