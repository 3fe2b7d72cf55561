"""Where requests go, and how many replicas there are."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.cluster.nodes import wait_until
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.cluster.nodes import Nodes

pytestmark = pytest.mark.slow

NAMES = ("first", "second")
REQUESTS = 40


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    """Two copies of the built-in model under other names, as flags."""
    for name in NAMES:
        shutil.copytree(BUILTIN, tmp_path / name)
        path = tmp_path / name / "tintype.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"name": name}))
    return [text for name in NAMES for text in ("--model", str(tmp_path / name))]


def served(nodes: Nodes, since: dict[str, str]) -> dict[str, Counter[str]]:
    """Return how many images of each model each replica has made, by its log."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for name, text in nodes.replica_logs().items():
        new = text[len(since.get(name, "")) :]
        counts[name].update(re.findall(r"GenerateImages .*model='(\w+)'", new))
    return counts


def test_models_are_sticky(nodes: Nodes, stub: Any, models: list[str]) -> None:
    """Requests for a model go to the replica that has it, through either proxy, so each model is loaded once."""
    nodes.deploy("--replicas", "2", "--cpus", "2", *models)
    before = nodes.replica_logs()

    def generate(number: int, model: str) -> str:
        request = pb.GenerateImagesRequest(prompt="a", steps=4, width=64, height=64, model=model)
        metadata = (("multiplexed_model_id", model),)
        response: pb.GenerateImagesResponse = stub(number % 2).GenerateImages(request, timeout=60, metadata=metadata)
        return response.model

    for name in NAMES:  # one after the other, so that the second is loaded where the first is not needed
        assert generate(0, name) == name
    asked = random.Random(5).choices(NAMES, k=REQUESTS)  # noqa: S311
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(generate, range(REQUESTS), asked)) == asked
    counts = served(nodes, before)
    print(f"sticky models: {[dict(count) for count in counts.values() if count]}")  # noqa: T201
    for name in NAMES:
        assert sum(count[name] > 0 for count in counts.values()) == 1
        assert sum(count[name] for count in counts.values()) == asked.count(name) + 1


def test_scale_to_zero_and_back(nodes: Nodes, stub: Any) -> None:
    """Without requests no replica is left; the next request starts one and is answered, and many start more."""
    nodes.deploy("--replicas", "0..2", "--cpus", "2", "--scale-up-after", "0", "--scale-down-after", "2")
    wait_until(lambda: "replicas  none" in nodes.command("status").stdout, "no replica is left")
    request = pb.GenerateImagesRequest(prompt="a lake", steps=4)
    assert len(stub(0).GenerateImages(request, timeout=60).images) == 1

    long = pb.GenerateImagesRequest(prompt="a lake", steps=150, width=512, height=512)
    calls = [stub(0).GenerateImages.future(long, timeout=170) for _ in range(8)]
    wait_until(lambda: "2 running" in nodes.command("status").stdout, "a second replica runs")
    assert [len(call.result().images) for call in calls] == [1] * len(calls)
