"""A request to the image service, in immutable parts, which only `Draft.message` joins.

- The parts are the message that a dialect parsed, changes to its fields (uploads, model, priority, …), and the fields
  that are left out. No part is ever modified: each step of a request returns a new draft.
- `message` makes the one message that is sent, so uploads are copied into a message once.
- Changes are named by their place in the contract: `steps`, `references[1]`, `controls[0].image`. References are listed
  in their order; the objects of other lists must be in the parsed message.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message

from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


_PLACE = re.compile(r"(\w+)(?:\[(\d+)\](?:\.(\w+))?)?")


@dataclass(frozen=True, slots=True)
class Draft:
    """The parts of one request; `changes` names places in the contract, `left_out` its fields."""

    parsed: pb.GenerateImagesRequest
    changes: Mapping[str, Any] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()

    @property
    def model(self) -> str:
        """The name of the model; empty for the default model."""
        return str(self.value("model"))

    def value(self, name: str) -> Any:
        """Return the value of a field; the contract's zero value if it is not set or left out."""
        if name in self.left_out:
            return getattr(pb.GenerateImagesRequest(), name)
        return self.changes.get(name, getattr(self.parsed, name))

    def with_fields(self, **fields: Any) -> Draft:
        """Return a draft with other values; None keeps a field as it is."""
        values = {name: value for name, value in fields.items() if value is not None}
        return replace(self, changes={**self.changes, **values})

    def without(self, fields: Iterable[str]) -> Draft:
        """Return a draft that leaves these fields out."""
        return replace(self, left_out=self.left_out.union(fields))

    def effective_request(self) -> pb.GenerateImagesRequest:
        """Return a copy of the parsed request without the fields that are left out; responses repeat its values."""
        granted = pb.GenerateImagesRequest()
        granted.CopyFrom(self.parsed)
        for name in self.left_out:
            granted.ClearField(name)
        return granted

    def message(self, previews: pb.Previews | None, *, timeout: float, **fields: Any) -> pb.StreamImagesRequest:
        """Return the message to send, with `fields` set in addition; `timeout` is in seconds."""
        message = pb.StreamImagesRequest(generation=self.effective_request(), previews=previews)
        generation = message.generation
        for name, value in {**self.changes, **fields}.items():
            if name.partition("[")[0] not in self.left_out:
                _set(generation, name, value)
        generation.timeout.FromMilliseconds(round(timeout * 1000))
        return message


def _set(message: pb.GenerateImagesRequest, place: str, value: Any) -> None:
    """Set the value at a place of a message: a field, the next item of a list, or a field of an item."""
    match = _PLACE.fullmatch(place)
    name, index, inner = match.groups() if match else (place, None, None)
    if inner:
        setattr(getattr(message, name)[int(index or 0)], inner, value)
    elif index:
        getattr(message, name).append(value)
    elif isinstance(value, Message):
        getattr(message, name).CopyFrom(value)
    else:
        setattr(message, name, value)
