"""Jobs: how many, how long they are kept, and how much space they take."""

from __future__ import annotations

from dataclasses import dataclass, field

from tintype.v1.settings import Common

from .checks import require_non_negative, require_positive


@dataclass(frozen=True, kw_only=True)
class JobSettings(Common):
    """Settings of jobs, requests for images that are answered at once and run later."""

    jobs: int = field(
        default=1000,
        metadata={"help": "maximum number of queued and running jobs; beyond it requests get 429 (0: no jobs)"},
    )
    jobs_running: int = field(
        default=16,
        metadata={"help": "jobs of this gateway that run at once; the service orders them with all requests"},
    )
    job_ttl: float = field(
        default=86400.0,
        metadata={"help": "seconds for which a job is kept; one whose result has links is kept as long as the links"},
    )
    job_bytes: int = field(
        default=2 * 2**30,
        metadata={"unit": "bytes", "help": "space for jobs, for example 2GiB; the oldest finished are deleted first"},
    )

    def check_jobs(self) -> None:
        """Raise StartError for an invalid value."""
        require_non_negative(self, ("jobs",))
        require_positive(self, ("jobs_running", "job_ttl", "job_bytes"))
