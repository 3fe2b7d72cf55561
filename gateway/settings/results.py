"""Where results are stored and how long their links are valid."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tintype.v1.settings import Common

from ..errors import StartError
from .checks import require_choice, require_positive, require_url

RESPONSE_FORMATS = ("url", "b64_json")
_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/[!-~]*)?")


@dataclass(frozen=True, kw_only=True)
class ResultSettings(Common):
    """Settings of results and their links."""

    public_url: str = field(
        default="", metadata={"help": "base URL of result links (empty: the address that the request was sent to)"}
    )
    url_ttl: float = field(default=3600.0, metadata={"help": "seconds for which a result link is valid"})
    store_bytes: int = field(
        default=2 * 2**30,
        metadata={"unit": "bytes", "help": "space for results, for example 2GiB; the oldest are deleted first"},
    )
    store: str = field(
        default="",
        metadata={"help": "bucket for results, s3://BUCKET/PREFIX; needs the extra `s3` (empty: the data folder)"},
    )
    store_endpoint: str = field(
        default="", metadata={"help": "URL of an S3 server other than Amazon's, for example http://minio:9000"}
    )
    store_public: str = field(
        default="",
        metadata={
            "help": "URL at which clients reach S3; result links then redirect to it (empty: the gateway sends results)"
        },
    )
    store_timeout: float = field(
        default=20.0,
        metadata={"help": "maximum seconds per file operation in the data folder; after that requests get 503"},
    )
    response_format: str = field(
        default="url", metadata={"help": "format of images in answers if the request does not set it: url or b64_json"}
    )

    def check_results(self) -> None:
        """Raise StartError for an invalid value."""
        require_positive(self, ("store_timeout", "url_ttl", "store_bytes"))
        require_choice(self, "response_format", RESPONSE_FORMATS)
        for name in ("public_url", "store_endpoint", "store_public"):
            require_url(self, name)
        if self.store and not _BUCKET.fullmatch(self.store):
            raise StartError(f"--store must be s3://BUCKET or s3://BUCKET/PREFIX; got {self.store!r}")
