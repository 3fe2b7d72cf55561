"""Rules for every dialect: which paths it has, and that any JSON is a call or a bad request."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tintype.gateway.access.rejections import WrongContentType
from tintype.gateway.config import GatewayConfig
from tintype.gateway.dialects import DIALECTS, SHARED_PATHS, Dialect, dialects_by_path
from tintype.gateway.dialects.geometry import parse_size, size_of_ratio
from tintype.gateway.errors import BadRequest, GatewayError, InvalidValue, StartError
from tintype.gateway.settings.clients import SHARED_PATH_DIALECTS

DOCUMENTED = {
    "openai": {"/v1/images/generations", "/images/generations"},
    "apipie": {"/v1/images/generations"},
    "aqueduct": {"/v1/images/generations", "/images/generations"},
    "agent.ai": {"/v1/action/generate_image", "/action/generate_image"},
    "oxen": {"/api/ai/images/generate"},
}
# One vendor may have several actions, each with its own paths.
EVERYTHING = tuple(dict.fromkeys(dialects_by_path("openai").values()))


def field_names(dialect: Dialect) -> list[str]:
    kind = dialect.request_type
    return sorted(msgspec.json.schema(kind)["$defs"][kind.__name__]["properties"])


class TestPaths:
    def test_documented_paths_are_served(self) -> None:
        """Every vendor is served on the paths that it documents."""
        assert {name: set(dialect.paths) for name, dialect in DIALECTS.items()} == DOCUMENTED

    @pytest.mark.parametrize("shared", SHARED_PATH_DIALECTS)
    def test_shared_paths_have_the_configured_dialect(self, shared: str) -> None:
        """The paths that three vendors share have the dialect of the configuration; the others always have the same."""
        names = {path: dialect.name for path, dialect in dialects_by_path(shared).items()}
        assert {names[path] for path in SHARED_PATHS} == {shared}
        assert names["/v1/action/generate_image"] == "agent.ai"
        assert names["/api/ai/images/generate"] == "oxen"

    def test_paths_below_the_vendors_name(self) -> None:
        """Every vendor is also served below its name, whichever dialect has the shared paths."""
        names = {path: dialect.name for path, dialect in dialects_by_path("openai").items()}
        for name, paths in DOCUMENTED.items():
            assert {names[f"/{name}{path}"] for path in paths} == {name}

    def test_setting_offers_vendors_with_shared_paths(self) -> None:
        """The configuration offers exactly the dialects that document a shared path, and names them."""
        assert set(SHARED_PATH_DIALECTS) == {
            name for name, dialect in DIALECTS.items() if SHARED_PATHS & set(dialect.paths)
        }
        with pytest.raises(StartError, match="dialect must be one of openai, apipie, aqueduct; got 'oxen'"):
            GatewayConfig(dialect="oxen")


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
class TestEveryDialect:
    def test_null_is_absent(self, dialect: Dialect) -> None:
        """A field that is null counts as absent."""
        body = dict.fromkeys(field_names(dialect)) | {"prompt": "x"}
        assert dialect.parse(body) == dialect.parse({"prompt": "x"})

    @pytest.mark.parametrize("prompt", [{}, {"prompt": None}, {"prompt": ""}, {"prompt": " \n"}])
    def test_missing_prompt_names_the_prompt(self, dialect: Dialect, prompt: dict[str, Any]) -> None:
        """A request without a prompt is an error that names the prompt."""
        with pytest.raises(BadRequest) as caught:
            dialect.parse(prompt | {"model": "x"})
        assert dialect.error(caught.value).status == 400
        assert caught.value.param == "prompt"

    def test_unknown_keys_are_listed_in_order(self, dialect: Dialect) -> None:
        """Unknown keys are listed in order; those that are null are not."""
        assert dialect.parse({"prompt": "x", "zz": 1, "odd": [], "none": None}).ignored == ("zz", "odd")

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 415, 429, 500, 503, 504, 507])
    def test_retry_headers_of_every_vendor(self, dialect: Dialect, status: int) -> None:
        """For every vendor the headers say when to retry, or that a retry does not help."""
        problem = GatewayError("x")
        problem.status = status
        assert dialect.error(problem).headers.get("x-should-retry") == (
            "false" if status in (429, 500, 503, 504, 507) else None
        )
        problem.retry_after = 0.25
        assert dialect.error(problem).headers == {"retry-after": "1", "retry-after-ms": "250"}

    def test_status_without_a_row_is_unchanged(self, dialect: Dialect) -> None:
        """A status without a row is unchanged."""
        assert dialect.error(WrongContentType("no")).status == 415


@pytest.mark.parametrize("dialect", EVERYTHING, ids=lambda dialect: f"{dialect.name}{dialect.paths[0]}")
@given(data=st.data())
def test_any_json_is_a_call_or_a_bad_request(dialect: Dialect, data: st.DataObject) -> None:
    """Any JSON is a call or a bad request, and the error can be rendered."""
    leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    values = st.recursive(
        leaves | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    )
    keys = st.sampled_from(field_names(dialect)) | st.text(max_size=5)
    try:
        dialect.parse({"prompt": "x", "image": "aGk="} | data.draw(st.dictionaries(keys, values, max_size=6)))
    except BadRequest as problem:
        failure = dialect.error(problem)
        assert failure.status == 400
        assert msgspec.json.encode(failure.body)


class TestGeometry:
    @pytest.mark.parametrize(
        ("ratio", "sides"),
        [
            ("9:16", (720, 1280)),
            ("1:1", (1024, 1024)),
            ("4:3", (1152, 864)),
            ("16:9", (1280, 720)),
            ("3:4", (864, 1152)),
            ("3:2", (1248, 832)),
            ("21:9", (1456, 624)),
            ("1920:1080", (1280, 720)),
            ("16:1", (4096, 256)),
            ("1:16", (256, 4096)),
            ("999:1000", (1024, 1024)),
            ("40:53", (896, 1184)),
        ],
    )
    def test_ratio_is_about_a_megapixel(self, ratio: str, sides: tuple[int, int]) -> None:
        """A ratio becomes about a megapixel, with the exact ratio if multiples of 16 have it."""
        assert size_of_ratio(ratio, "r") == sides

    @given(st.integers(1, 9999), st.integers(1, 9999))
    def test_any_ratio_gives_valid_sides(self, width: int, height: int) -> None:
        """Every ratio within 16:1 gives sides that the contract accepts, close to the ratio; others name the field."""
        if max(width, height) > 16 * min(width, height):
            with pytest.raises(InvalidValue, match="'shape': must be between 1:16 and 16:1"):
                size_of_ratio(f"{width}:{height}", "shape")
            return
        sides = size_of_ratio(f"{width}:{height}", "shape")
        assert sides is not None
        assert all(16 <= side <= 4096 and side % 16 == 0 for side in sides)
        assert sides[0] / sides[1] == pytest.approx(width / height, rel=0.05)
        assert 0.75 <= sides[0] * sides[1] / 1024**2 < 1.1

    @pytest.mark.parametrize(("size", "sides"), [(None, None), ("auto", None), ("512x768", (512, 768))])
    def test_size_is_its_two_sides(self, size: str | None, sides: tuple[int, int] | None) -> None:
        """A size is its two sides; without one, or with `auto`, the model chooses."""
        assert parse_size(size) == sides
