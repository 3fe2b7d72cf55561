"""What a model from published weights says of its quantization."""

from __future__ import annotations

from tintype.service.models.templates.cards import describe_quantization


def test_size_and_error_are_named() -> None:
    """The bytes before and after, the mean error, and the layer that suffered most."""
    card = {
        "bits": 8,
        "quantized": {"up.weight": 0.004, "down.weight": 0.006},
        "kept": {"conv_in.weight": "not a linear layer"},
        "bytes_before": 3_280_000_000,
        "bytes_after": 2_620_000_000,
        "mean_error": 0.005,
        "worst_error": 0.006,
        "worst_layer": "down.weight",
    }
    assert describe_quantization({"quantization": card}) == (
        "2 layers in 8 bits, 1 kept, 2.62 GB instead of 3.28, error 0.005, at most 0.006 (down.weight)"
    )
    assert describe_quantization({"quantization": None}) == describe_quantization(None) == ""
