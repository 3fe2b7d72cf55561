"""The interface by which engine, models and servicer report what happens. By default nothing is recorded."""

from __future__ import annotations


class Observer:
    """Ignores what it learns. Any thread may call the methods, also with locks; they return at once.

    `model` is the name of a served model. Times are seconds.
    """

    def started(self, model: str, waited: float) -> None:
        """Record that the first unit of a task starts, after it `waited`."""

    def ended(self, model: str, reason: str = "") -> None:
        """Record that a task has ended: with all images, or by an error with this reason."""

    def encoded(self, model: str, seconds: float) -> None:
        """Record one unit of encoding."""

    def denoised(self, model: str, images: int, width: int, seconds: float) -> None:
        """Record one step of `images` rows, in calls of at most `width` model rows."""

    def decoded(self, model: str, seconds: float) -> None:
        """Record one finished image, and how long its decoding took."""

    def loading(self, model: str) -> None:
        """Record that a model starts to load."""

    def loaded(self, model: str, outcome: str) -> None:
        """Record the end of a load: `loaded`, `failed` or `cancelled`."""

    def evicted(self, model: str) -> None:
        """Record that a model was evicted from memory."""

    def answered(self, call: str, status: str, seconds: float) -> None:
        """Record a call of the contract with the name of its gRPC status."""


IGNORE = Observer()
