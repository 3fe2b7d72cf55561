"""A clock that tests set."""


class Clock:
    """Returns `now`, in seconds."""

    def __init__(self, now: float = 50.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
