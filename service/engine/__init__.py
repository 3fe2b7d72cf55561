"""The step loop: a bounded queue, rows that share model calls, and events.

    engine = Engine(repository)
    with DeviceThread(engine) as device:
        async for event in device.events(job): ...

Who goes first is `policy`'s, arrays are `runner`'s, and neither knows of the other; `plan` fills a job in; `estimates`
measures.
"""

from .device_thread import DeviceThread
from .engine import Engine
from .queue import Limits
from .task import Ticket

__all__ = ["DeviceThread", "Engine", "Limits", "Ticket"]
