"""Errors of calls to a device's process: lost, refused, or final."""

from __future__ import annotations

import grpc
import pytest

from tintype.service.devices.failures import Failure, classify

UNAVAILABLE, INTERNAL = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL


@pytest.mark.parametrize(
    ("code", "message", "reason", "expected"),
    [
        (UNAVAILABLE, "Socket closed", "", Failure.PROCESS_LOST),
        (INTERNAL, "RST_STREAM", "", Failure.PROCESS_LOST),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", "", Failure.FINAL),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "message too large", "", Failure.FINAL),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full", "QUEUE_FULL", Failure.REFUSED),
        (UNAVAILABLE, "the server is shutting down", "UNAVAILABLE", Failure.REFUSED),
        (INTERNAL, "the image is entirely black", "GENERATION_FAILED", Failure.FINAL),
        (INTERNAL, "unet failed: CUDA failure 700: an illegal memory access", "GENERATION_FAILED", Failure.DEVICE_LOST),
        (INTERNAL, "unet failed: Device lost.", "GENERATION_FAILED", Failure.DEVICE_LOST),
        (INTERNAL, "VK_ERROR_DEVICE_LOST", "GENERATION_FAILED", Failure.DEVICE_LOST),
        (grpc.StatusCode.INVALID_ARGUMENT, "prompt: device lost", "INVALID_FIELD", Failure.FINAL),
        (grpc.StatusCode.PERMISSION_DENIED, "the safety checker refuses it", "MODERATION_BLOCKED", Failure.FINAL),
    ],
)
def test_meanings(code: grpc.StatusCode, message: str, reason: str, expected: Failure) -> None:
    """Errors without a reason come from the connection; only texts of drivers say that the device is lost."""
    assert classify(code, message, reason) is expected
