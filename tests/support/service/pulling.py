"""A pull from the fake hub, with recorded waits instead of real ones."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tintype.service.models.hub import Hub, HubId, HubSettings, Plan, Transfer, Wish

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.service.fake_hub import FakeHub


@dataclass
class Pull:
    """One pull into `cache`; afterwards the waits in seconds, the notices, the plan and the progress."""

    hub: FakeHub
    cache: Path
    token: str = ""
    offline: bool = False
    waits: list[float] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    transfer: Transfer = field(default_factory=Transfer)

    @property
    def settings(self) -> HubSettings:
        return HubSettings(cache=self.cache, endpoint=self.hub.url, token=self.token, offline=self.offline)

    def run(self, text: str = "owner/name", **wish: Any) -> Path:
        """Pull, and return the path to serve. Raises HubError."""
        return asyncio.run(self.pull(text, **wish))

    async def pull(self, text: str = "owner/name", **wish: Any) -> Path:
        async with Hub(self.settings, notice=self.notices.append, sleep=self._sleep) as hub:
            self.plan: Plan = await hub.plan(HubId.parse(text), Wish(**wish))
            return await hub.download(self.plan, self.transfer)

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return the content of every file in a folder, by path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
