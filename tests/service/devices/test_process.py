"""New configurations for the processes of devices."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support.source import ROOT
from tintype.service.config import ServiceConfig
from tintype.service.devices.front import _update
from tintype.service.devices.inventory import DeviceSpec
from tintype.service.devices.pool import DevicePool
from tintype.service.devices.process import READY, child_config, device_process
from tintype.service.rpc.listen import ServeError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

BUILTIN = ROOT / "service" / "models" / "builtin"


async def test_what_a_device_refuses_is_not_kept(tmp_path: Path) -> None:
    """A device with a broken model in its new settings has the previous ones, and so has the one after a crash."""
    (tmp_path / "broken" / "unet").mkdir(parents=True)
    shutil.copy(BUILTIN / "model_index.json", tmp_path / "broken")
    config = ServiceConfig(models=(BUILTIN,), threads=1, providers=("cpu",), data=tmp_path)
    spec = DeviceSpec("0")
    pool = DevicePool(config, [spec])
    async with device_process(spec, child_config(config, spec, tmp_path / "socket", "key")) as process:
        pool.devices[0].process = process
        async for word, _ in process.announcements():
            if word == READY:
                break
        reading = process.announcements()
        listening = asyncio.create_task(anext(reading, None))
        await _update(pool, accepted := replace(config, grace=7))
        assert pool.config is accepted
        with pytest.raises(ServeError, match="device 0: model 'broken' can't be served"):
            await _update(pool, replace(config, models=(BUILTIN, tmp_path / "broken")))
        assert pool.config is accepted
        process.kill()
        await _update(pool, config)  # one that has ended starts with it
        assert pool.config is config
        await listening
