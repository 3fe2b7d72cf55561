"""The engine: a bounded queue, batches of rows that share model calls, and events.

    engine = Engine(repository)
    with DeviceThread(engine) as device:
        async for event in device.events(job): ...

`plan` resolves a job, `queue` admits it, `policy` chooses the next unit of work, `runner` runs it on arrays, and
`estimates` measures it. Policy never touches arrays, and the runner never decides.
"""

from .device_thread import DeviceThread
from .engine import Engine
from .plan import Ticket
from .queue import Limits

__all__ = ["DeviceThread", "Engine", "Limits", "Ticket"]
