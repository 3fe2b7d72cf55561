"""Errors of jobs.

::

    GatewayError
    ├── NoSuchJob               404     unknown, expired, or another caller's
    ├── TooManyJobs             429     too many jobs are open
    ├── JobCancelled            409     a cancelled job has no result
    ├── AdminOnly
    │   └── OwnJobsOnly         403     the key may list only its own jobs
    ├── JobAbandoned            500     the job ended its process more than once
    ├── JobExpired              504     the job did not start before it expired
    └── NoKey
        └── KeyRemoved          401     the key of the job does not exist any more
"""

from __future__ import annotations

from tintype.v1.reasons import Reason

from ..access.rejections import AdminOnly, WrongKey
from ..errors import GatewayError


class NoSuchJob(GatewayError):
    """The job does not exist, has expired, or belongs to another caller; the message does not say which."""

    status = 404
    reason = Reason.NO_SUCH_JOB

    def __init__(self) -> None:
        super().__init__("There is no such job, or it has expired.")


class TooManyJobs(GatewayError):
    """As many jobs are open as the configuration allows."""

    status = 429
    reason = Reason.TOO_MANY_JOBS
    retry_after = 10.0

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} jobs are queued or running, which is the limit. Try again later.")


class JobCancelled(GatewayError):
    """The job was cancelled, so it has no result."""

    status = 409
    reason = Reason.CANCELLED

    def __init__(self) -> None:
        super().__init__("The job was cancelled, so it has no result.")


class OwnJobsOnly(AdminOnly):
    """The caller may list only its own jobs."""

    def __init__(self) -> None:
        GatewayError.__init__(self, "Only an admin key may list the jobs of all keys: leave out 'all'.", param="all")


class JobAbandoned(GatewayError):
    """The gateway, or the image service, ended unexpectedly each time the job ran."""

    status = 500
    reason = Reason.JOB_ABANDONED

    def __init__(self, attempts: int) -> None:
        super().__init__(f"The server stopped unexpectedly {attempts} times while the job ran; it does not run again.")


class JobExpired(GatewayError):
    """The job was queued for as long as jobs are kept."""

    status = 504
    reason = Reason.JOB_EXPIRED

    def __init__(self) -> None:
        super().__init__("The job expired before it started. Submit it again when fewer jobs are queued.")


class KeyRemoved(WrongKey):
    """The key that submitted the job has been removed since."""

    def __init__(self) -> None:
        GatewayError.__init__(self, "The API key of this job has been removed.")
