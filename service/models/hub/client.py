"""The hub client: from OWNER/NAME to a folder with the files that serving needs.

    async with Hub(HubSettings.from_environment(os.environ)) as hub:
        plan = await hub.plan(HubId.parse("stabilityai/sd-turbo"), Wish())
        folder = await hub.download(plan, Transfer())

Requests, and what the hub answers (its own client at ee0a4510, August 2026):

- `GET /api/models/REPO/revision/REV`: `sha`, the commit; `cardData`, `tags` and `gated`
- `GET /api/models/REPO/tree/COMMIT?recursive=true`: entries `type`, `path`, `size`, `oid` and, for large files, `lfs`;
  the next page in `Link`
- `GET /REPO/resolve/COMMIT/PATH`: the content of a small file, a redirect to storage for a large one

All but the first request name the commit, so that files of two commits never mix. A listing is kept in the cache, so a
second pull is one request, and none offline.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from ..families.table import by_pipeline, known_pipelines
from .cache import CachedRepository
from .card import LONGEST_README, Card
from .choice import INDEX, OWN_INDEX, Choice, adapter_advice, choose
from .download import Downloader, Transfer
from .errors import CacheFailure, DamagedFile, HubError, HubRefused, HubUnavailable, NotOnHub, NotServable, printable
from .identifiers import is_commit
from .listing import check_listing, digest, read_page
from .transport import TRIES, Transport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path
    from typing import Self

    from .choice import Wish
    from .identifiers import HubId
    from .listing import ListedFile, Listing
    from .settings import HubSettings

FILES = 3  # downloaded at a time
MOST_PAGES = 1000
LARGEST_INDEX = 1 << 20  # bytes
README = "README.md"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a pull downloads.

    `files` has the bytes of all chosen files, `missing` those that are not in the snapshot yet, and `bytes_missing` how
    much of them has to be received. `path` is the folder or file to serve, once all is there. `listing` is empty if the
    hub was not asked.
    """

    id: HubId
    commit: str
    card: Card
    path: Path
    files: Mapping[str, int]
    missing: Mapping[str, ListedFile] = field(default_factory=dict)
    bytes_missing: int = 0
    listing: Mapping[str, ListedFile] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(self.files.values())


class Hub:
    """A client of one hub; an async context manager. `notice` gets lines for the user, such as a long wait."""

    def __init__(
        self,
        settings: HubSettings,
        *,
        notice: Callable[[str], object] = lambda _: None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._settings, self._notice = settings, notice
        self._transport = Transport(settings, notice=notice, sleep=sleep)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transport.__aexit__()

    async def plan(self, hub_id: HubId, wish: Wish) -> Plan:
        """Return what to download.

        A complete snapshot in the cache is used without a request if the client is offline or the revision is a
        commit, and if the hub does not answer.

        Raises:
            HubError: the hub denies access, or the repository has nothing that can be served.
        """
        repository = CachedRepository(self._settings.cache, hub_id.repository)
        wish = replace(wish, file=hub_id.file)
        try:
            cached = _plan_from_cache(repository, hub_id, wish)
        except HubError as error:
            if self._settings.offline:
                raise HubUnavailable(f"{hub_id}: HF_HUB_OFFLINE is set, and {error}") from error
            return await self._plan_online(repository, hub_id, wish, TRIES)
        if self._settings.offline or hub_id.is_commit:
            return cached
        try:
            return await self._plan_online(repository, hub_id, wish, tries=1)
        except (HubUnavailable, HubRefused, NotOnHub) as error:
            self._notice(f"{error}; using the files of commit {cached.commit[:12]}, which are in the cache")
            return cached

    async def download(self, plan: Plan, transfer: Transfer) -> Path:
        """Download the missing files of a plan, and return what to serve.

        Raises:
            HubError: what has arrived stays for the next attempt.
        """
        repository = CachedRepository(self._settings.cache, plan.id.repository)
        here = {path: repository.bytes_here(file) for path, file in plan.missing.items()}
        transfer.total, transfer.sizes = sum(file.size for file in plan.missing.values()), here
        try:
            if plan.missing:
                repository.check_space(plan.bytes_missing)
                await self._fetch_all(Downloader(self._transport, repository, plan.commit, transfer), plan.missing)
            if plan.listing:  # last: a reader without network must not find a commit before its files
                repository.keep_listing(plan.commit, plan.listing)
                repository.keep_commit(plan.id.revision, plan.commit)
        except OSError as error:
            if plan.missing:
                raise CacheFailure(
                    f"{plan.id}: cannot write {error.filename or repository.folder}: {error.strerror}"
                ) from error
        return plan.path

    async def _fetch_all(self, downloader: Downloader, files: Mapping[str, ListedFile]) -> None:
        """Fetch files, small ones first, FILES at a time. After an error the others stop as well."""
        free = asyncio.Semaphore(FILES)

        async def fetch(path: str) -> None:
            async with free:
                await downloader.fetch(path, files[path])

        tasks = [asyncio.create_task(fetch(path)) for path in sorted(files, key=lambda path: files[path].size)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _plan_online(self, repository: CachedRepository, hub_id: HubId, wish: Wish, tries: int) -> Plan:
        what = str(hub_id)
        revision = f"{self._api(hub_id)}/revision/{quote(hub_id.revision, safe='')}"
        info, _ = await self._transport.read_json(revision, what, tries)
        if not isinstance(info, dict) or not is_commit(info.get("sha")):
            raise HubError(f"{what}: {self._settings.endpoint} names no commit; is it a hub?")
        commit, card = info["sha"], Card.from_info(info)
        listing = repository.listing(commit) or await self._list(hub_id, commit)
        is_pipeline = INDEX in listing and not wish.file
        index = await self._index(repository, hub_id, commit, listing) if is_pipeline else None
        if card.adapter and index is None and not wish.file:
            raise NotServable(f"{what}: it is an adapter ({card.adapter}), not a model: {adapter_advice()}")
        sizes = {path: file.size for path, file in listing.items()}
        choice = _choose(hub_id, sizes, index, replace(wish, present=_present(repository, commit, sizes)))
        files = {path: sizes[path] for path in choice.files}
        missing = {path: listing[path] for path in files if not repository.has(commit, path, sizes[path])}
        return Plan(
            id=hub_id,
            commit=commit,
            card=card,
            path=repository.snapshot(commit) / choice.target,
            files=files,
            missing=missing,
            bytes_missing=sum(file.size - repository.bytes_here(file) for file in missing.values()),
            listing=listing,
        )

    async def _list(self, hub_id: HubId, commit: str) -> Listing:
        """Return all files of a commit. Later pages are asked of the same endpoint, whatever host a mirror names."""
        first = f"{self._api(hub_id)}/tree/{commit}"
        query = "recursive=true&expand=false"
        listing: Listing = {}
        for _ in range(MOST_PAGES):
            page, following = await self._transport.read_json(f"{first}?{query}", str(hub_id))
            try:
                listing = check_listing(listing | read_page(page))
            except ValueError as error:
                raise HubError(f"{hub_id}: the hub's listing of files is invalid: {printable(str(error))}") from error
            query = urlsplit(following).query
            if not query:
                return listing
        raise HubError(f"{hub_id}: the hub's listing of files has more than {MOST_PAGES} pages")

    async def _index(self, repository: CachedRepository, hub_id: HubId, commit: str, listing: Listing) -> Any:
        """Return the content of model_index.json."""
        file, what = listing[INDEX], f"{hub_id.repository}/{INDEX}"
        if repository.has(commit, INDEX, file.size):
            return _parse_index(hub_id, repository.pointer(commit, INDEX).read_bytes())
        content, _ = await self._transport.read(
            self._settings.content(hub_id.repository, commit, INDEX), what, LARGEST_INDEX
        )
        if digest(file, content) != file.digest:
            raise DamagedFile(f"{what}: its content differs from the hub's listing")
        return _parse_index(hub_id, content)

    def _api(self, hub_id: HubId) -> str:
        return f"{self._settings.endpoint}/api/models/{hub_id.repository}"


def _plan_from_cache(repository: CachedRepository, hub_id: HubId, wish: Wish) -> Plan:
    """Return a plan without missing files, from the cache alone. Raises HubError if it is not complete."""
    commit = repository.commit(hub_id.revision)
    here = repository.sizes(commit) if commit else {}
    if not here:
        raise HubUnavailable(f"nothing of it is in {repository.cache}")
    listing = repository.listing(commit)  # None if an older tool filled the cache: then what is here must do
    sizes = here if listing is None else {path: file.size for path, file in listing.items()}
    is_pipeline = INDEX in sizes and not wish.file
    if is_pipeline and INDEX not in here:
        raise HubUnavailable(f"{INDEX} is not in {repository.cache}")
    index = _parse_index(hub_id, repository.pointer(commit, INDEX).read_bytes()) if is_pipeline else None
    present = {path for path, size in here.items() if sizes.get(path) == size}
    choice = _choose(hub_id, sizes, index, replace(wish, present=present))
    if missing := [path for path in choice.files if path not in present]:
        raise HubUnavailable(f"{missing[0]} is not in {repository.cache}")
    readme = repository.pointer(commit, README)
    return Plan(
        id=hub_id,
        commit=commit,
        card=Card.from_readme(_read_start(readme)) if README in here else Card(),
        path=repository.snapshot(commit) / choice.target,
        files={path: sizes[path] for path in choice.files},
    )


def _present(repository: CachedRepository, commit: str, sizes: Mapping[str, int]) -> set[str]:
    return {path for path, size in repository.sizes(commit).items() if sizes.get(path) == size}


def _choose(hub_id: HubId, sizes: Mapping[str, int], index: Mapping[str, Any] | None, wish: Wish) -> Choice:
    """Choose files, and refuse a pipeline that is not served before gigabytes of it are downloaded."""
    try:
        if index is not None and not (wish.part or wish.file or OWN_INDEX in sizes):
            _check_pipeline(index)
        return choose(sizes, index, wish)
    except (NotServable, NotOnHub) as error:
        raise type(error)(f"{hub_id}: {error}") from None


def _check_pipeline(index: Mapping[str, Any]) -> None:
    name = str(index.get("_class_name", ""))
    if by_pipeline(name.removeprefix("Onnx")) is None:
        raise NotServable(
            f"pipeline {printable(name, 100)!r} is not supported; supported are {', '.join(known_pipelines())}"
        )


def _parse_index(hub_id: HubId, content: bytes) -> dict[str, Any]:
    try:
        index = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise HubError(f"{hub_id}: {INDEX} is not JSON: {error}") from error
    if not isinstance(index, dict):
        raise HubError(f"{hub_id}: {INDEX} must hold a JSON object")
    return index


def _read_start(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(LONGEST_README).decode("utf-8", "replace")
