"""What diffusers' pipelines of Qwen-Image-Edit need beyond their parts, to be compared with the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import BatchFeature, Qwen2VLImageProcessorPil

from tintype.service.models.text.chat_templates import IMAGE_PAD

if TYPE_CHECKING:
    import torch

# Wider than published, which makes no difference: the pipelines make sizes that are within those limits.
PIXELS = {"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 16384}


class QwenProcessor:
    """Qwen2.5-VL's processor of texts with images, which in transformers needs torchvision for its videos."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.image_processor = tokenizer, Qwen2VLImageProcessorPil(size=PIXELS)

    def __call__(self, text: list[str], images: Any, **options: Any) -> BatchFeature:
        """Return ids, mask and patches; an image has as many tokens as its patches make."""
        seen = self.image_processor(images=images, return_tensors="pt")
        counts = [int(grid.prod()) // 4 for grid in seen["image_grid_thw"]] * len(text)
        for place, line in enumerate(text):
            first, *others = line.split(IMAGE_PAD)
            own = (IMAGE_PAD * counts.pop(0) + other for other in others)
            text[place] = first + "".join(own)
        return BatchFeature({**self.tokenizer(text, **options), **seen})


def complete(pipeline: Any) -> None:
    """Give a pipeline for editing its processor, and its text encoder the places of images.

    diffusers 0.42 does not tell transformers 5 which tokens are images. Without it their places are those of text,
    other than in training and in earlier versions.
    """
    if "processor" not in pipeline.components or pipeline.processor is not None:
        return
    pipeline.processor = QwenProcessor(pipeline.tokenizer)
    model = pipeline.text_encoder
    forward = type(model).forward

    def with_places(input_ids: torch.Tensor, **inputs: Any) -> Any:
        images = (input_ids == model.config.image_token_id).int()
        return forward(model, input_ids=input_ids, mm_token_type_ids=images, **inputs)

    model.forward = with_places
