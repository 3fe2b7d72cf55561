"""Records of jobs in the database: the schema, and a job as it is read from a row."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

FILE = "jobs.db"  # in the data folder
ROW_OVERHEAD = 4096  # bytes that a job counts in addition to its request and result

# Released migrations never change; a change of the schema is one more.
MIGRATIONS = (
    (
        """
        CREATE TABLE jobs (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            key TEXT NOT NULL,              -- name of the API key, empty without one
            caller TEXT NOT NULL,           -- name of the key, or the address
            priority INTEGER NOT NULL,
            path TEXT NOT NULL,
            model TEXT NOT NULL,            -- as requested
            images INTEGER NOT NULL,
            links INTEGER NOT NULL,         -- whether the result has links
            seed INTEGER NOT NULL,
            request TEXT NOT NULL,          -- StoredRequest
            reply_key BLOB UNIQUE,          -- Idempotency-Key; NULL without one, and for failed jobs
            fingerprint BLOB,
            state TEXT NOT NULL DEFAULT 'queued',
            created REAL NOT NULL,          -- times in Unix seconds
            not_before REAL NOT NULL DEFAULT 0,
            started REAL,
            finished REAL,
            expires REAL NOT NULL,
            attempts INTEGER NOT NULL DEFAULT 0,
            runner TEXT NOT NULL DEFAULT '',
            lease REAL NOT NULL DEFAULT 0,
            cancelling INTEGER NOT NULL DEFAULT 0,
            begun INTEGER NOT NULL DEFAULT 0,
            position INTEGER NOT NULL DEFAULT 0,
            progress REAL NOT NULL DEFAULT 0,
            eta REAL,
            status INTEGER,                 -- of the result
            headers TEXT,
            error TEXT,
            size INTEGER NOT NULL
        )
        """,
        "CREATE TABLE bodies (job INTEGER PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE, data BLOB NOT NULL)",
        "CREATE TABLE results (job INTEGER PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE, data BLOB NOT NULL)",
        "CREATE INDEX queued_jobs ON jobs (priority, seq, caller, not_before, cancelling) WHERE state = 'queued'",
        "CREATE INDEX running_jobs ON jobs (caller, lease) WHERE state = 'running'",
        "CREATE INDEX finished_jobs ON jobs (finished, size) WHERE finished IS NOT NULL",
        "CREATE INDEX jobs_of_caller ON jobs (caller, seq)",
        "CREATE INDEX jobs_by_expiry ON jobs (expires)",
        "CREATE INDEX jobs_by_size ON jobs (size)",
    ),
)


class State(StrEnum):
    """The state of a job. The last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job to add. `reply_key` and `fingerprint` are those of its Idempotency-Key, if any."""

    id: str
    key: str
    caller: str
    priority: int
    path: str
    model: str
    images: int
    links: bool
    seed: int
    request: str
    body: bytes | bytearray
    reply_key: bytes | None = None
    fingerprint: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as recorded. Times are in Unix seconds; `eta` is one, too: of the start until it runs, then of the end.

    A job in the state `running` has a process that runs it; until it has `begun`, it waits in the service's queue.
    """

    seq: int
    id: str
    key: str
    caller: str
    path: str
    model: str
    images: int
    links: bool
    seed: int
    request: str
    reply_key: bytes | None
    fingerprint: bytes | None
    state: State
    created: float
    started: float | None
    finished: float | None
    expires: float
    attempts: int
    begun: bool
    position: int
    progress: float
    eta: float | None
    status: int
    headers: Mapping[str, str]
    error: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_final(self) -> bool:
        """Whether the job has ended."""
        return self.state in FINAL

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> Job:
        """Return the job of a row."""
        values = {name: row[name] for name in cls.__slots__}
        return cls(
            **values
            | {
                "state": State(row["state"]),
                "links": bool(row["links"]),
                "begun": bool(row["begun"]),
                "status": row["status"] or 0,
                "headers": json.loads(row["headers"] or "{}"),
                "error": json.loads(row["error"] or "{}"),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The response of a finished job, and the error that it reports, empty without one."""

    status: int
    headers: Mapping[str, str]
    body: bytes | bytearray
    error: Mapping[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> State:
        """The final state of the job."""
        return State.FAILED if self.status >= 400 else State.SUCCEEDED
