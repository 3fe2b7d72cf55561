"""The draft of a request to the service: immutable parts, joined in one place."""

from __future__ import annotations

import ast
from pathlib import Path

from tintype.gateway import requests
from tintype.gateway.requests.draft import Draft
from tintype.v1 import image_service_pb2 as pb

GATEWAY = Path(requests.__file__).parents[1]
# The builders of messages: here, and for the batches of the web UI's API. Dialects build theirs by constructors.
BUILDERS = {
    "moderation/client.py",
    "requests/draft.py",
    "sdapi/from_webui.py",
    "sdapi/handler.py",
    "upstream/client.py",
}
MUTATORS = {"CopyFrom", "MergeFrom", "ClearField"}


def parsed() -> pb.GenerateImagesRequest:
    return pb.GenerateImagesRequest(
        model="sdxl", prompt="a lake", quality="hd", seed=0, output=pb.OutputFormat(mime_type="image/png", quality=90)
    )


def test_message_joins_all_parts() -> None:
    """The message has what was parsed, the changes, what is set for the call, and none of the fields left out."""
    draft = Draft(parsed()).with_fields(model="tiny", image=b"file", output=pb.OutputFormat(mime_type="image/webp"))
    message = draft.without(["quality"]).message(pb.Previews(count=2), timeout=1.5, priority=7)
    expected = pb.GenerateImagesRequest(
        model="tiny",
        prompt="a lake",
        seed=0,
        image=b"file",
        priority=7,
        output=pb.OutputFormat(mime_type="image/webp"),
    )
    expected.timeout.FromMilliseconds(1500)
    assert message == pb.StreamImagesRequest(generation=expected, previews=pb.Previews(count=2))


def test_no_step_changes_a_part() -> None:
    """No step changes a part: neither the parsed message nor an earlier draft."""
    first = Draft(parsed())
    second = first.with_fields(model="tiny", steps=None).without(["quality"])
    second.message(None, timeout=1)
    assert first.parsed == second.parsed == parsed()
    assert (first.model, second.model) == ("sdxl", "tiny")
    assert (first.value("quality"), second.value("quality")) == ("hd", "")
    assert not second.message(None, timeout=1).generation.HasField("steps")


def test_left_out_fields_stay_out() -> None:
    """A field that is left out stays out, even if it was changed; the response sees what was granted."""
    draft = Draft(parsed()).with_fields(mask=b"file").without(["mask", "quality"])
    assert not draft.message(None, timeout=1).generation.mask
    assert (draft.value("mask"), draft.effective_request().quality, draft.effective_request().prompt) == (
        b"",
        "",
        "a lake",
    )


def test_only_builders_modify_messages() -> None:
    """Outside of the builders, no module of the gateway assigns to a field of a request or merges messages."""
    mutations = {
        f"{path.relative_to(GATEWAY).as_posix()}:{getattr(node, 'lineno', 0)}"
        for path in GATEWAY.rglob("*.py")
        if path.relative_to(GATEWAY).as_posix() not in BUILDERS
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if _is_mutation(node)
    }
    assert mutations == set()


def _is_mutation(node: ast.AST) -> bool:
    """Return whether a node is `….request.field = …`, or calls a method that changes a message."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS
    if not isinstance(node, ast.Assign):
        return False
    targets = [
        element for target in node.targets for element in (target.elts if isinstance(target, ast.Tuple) else [target])
    ]
    owners = [target.value for target in targets if isinstance(target, ast.Attribute)]
    return any(ast.unparse(owner).split(".")[-1] in ("request", "generation") for owner in owners)
