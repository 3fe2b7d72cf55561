"""Events on their way to one reader, who may be slow."""

import asyncio

import numpy as np

from tintype.service.engine.event_buffer import PREVIEWS, Mailbox
from tintype.service.engine.events import Preview


def test_mailboxes_keep_the_newest_previews() -> None:
    """What waits of previews is bounded for each picture; order stays."""

    async def main() -> None:
        box, pixels = Mailbox(), np.zeros((3, 1, 1), np.float32)
        box.put([Preview(n % 2, n // 2, n // 2, pixels) for n in range(40)])
        kept = [await box.get() for _ in range(len(box))]
        assert [(e.index, e.number) for e in kept if isinstance(e, Preview)] == [
            (k, n) for n in range(20 - PREVIEWS, 20) for k in (0, 1)
        ]

    asyncio.run(main())
