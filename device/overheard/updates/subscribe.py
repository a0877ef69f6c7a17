"""Subscribe to repositories, and update what they offer."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Callable, Iterator, Sequence

from overheard.errors import UpdateError
from overheard.fingerprint.model import Model
from overheard.settings import Settings
from overheard.text import one_line, shorten
from overheard.updates.documents import Index, Root
from overheard.updates.keys import fingerprint, parse_fingerprint
from overheard.updates.source import LIMITS, Limits, Source, normalized
from overheard.updates.state import Seen, State, Subscription, locked
from overheard.updates.trust import after_rotation, first_root, latest, newest_index, newest_root
from overheard.updates.update import PARTS_FOLDER, Outcome, PackUpdater, Report
from overheard.updates.web import open_source

Now = Callable[[], datetime.datetime]


def utc_now() -> datetime.datetime:
    """Return the current time."""
    return datetime.datetime.now(datetime.timezone.utc)


@dataclasses.dataclass(frozen=True)
class Offer:
    """A repository before the user trusts it.

    Attributes
    ----------
    url : str
    fingerprints : tuple of str
        Of the keys that may sign its next root.
    index : Index
    """

    url: str
    root: Root
    index: Index

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Fingerprints of the keys that the user trusts by subscribing."""
        return tuple(map(fingerprint, self.root.root.keys))


def subscribe(
    settings: Settings,
    address: str,
    accept: Callable[[Offer], bool],
    key: str | None = None,
    packs: Sequence[str] = (),
    limits: Limits = LIMITS,
    now: Now = utc_now,
) -> bool:
    """Remember a repository and its key, if the user accepts them, and return whether; download no pack.

    Parameters
    ----------
    settings : Settings
    address : URL or folder
    accept : asked before the key is trusted, unless `key` is given
    key : fingerprint of a key of the repository
    packs : the packs to download; empty: all
    limits, now : for tests

    Raises
    ------
    UpdateError
        If the address is not that of a repository, its key is another one, or it is known already.
    """
    url = normalized(address)
    pinned = parse_fingerprint(key) if key is not None else None
    with locked(settings):
        state = State(settings)
        if url in state.subscriptions:
            raise UpdateError(f"you have subscribed to {url} already", "run `overheard packs update`")
        source = open_source(url, limits)
        root = first_root(source, pinned)
        index, seen = newest_index(source, root, latest(source)[1], Seen(), now())
        _require_packs(index, packs)
        if pinned is None and not accept(Offer(url, root, index)):
            return False
        state.save(Subscription(url, root, seen, tuple(dict.fromkeys(packs))))
    return True


def _require_packs(index: Index, names: Sequence[str]) -> None:
    """Raise UpdateError if a pack that the user wants is not in the index."""
    offered = {pack.name for pack in index.packs}
    if unknown := sorted(set(names) - offered):
        remedy = f"its packs: {', '.join(sorted(offered)) or 'none'}"
        raise UpdateError(f"the repository has no pack {one_line(shorten(unknown[0]))}", remedy)


def unsubscribe(settings: Settings, address: str) -> Subscription:
    """Forget a repository; its packs stay, and become the user's own. Raises UpdateError if it is unknown."""
    url = normalized(address)
    with locked(settings):
        state = State(settings)
        if url not in state.subscriptions:
            raise UpdateError(f"you have not subscribed to {url}", _known(state))
        subscription = state.subscriptions[url]
        state.remove(url)
        return subscription


class Update:
    """An update of all subscriptions, or of one.

    Parameters
    ----------
    settings, model : as for `overheard listen`
    address : of the repository to update; None: all
    limits, now : for tests

    Raises
    ------
    UpdateError
        If there is no subscription, or another update is running.
    """

    def __init__(
        self,
        settings: Settings,
        model: Model,
        address: str | None = None,
        limits: Limits = LIMITS,
        now: Now = utc_now,
    ) -> None:
        self._settings, self._model, self._limits, self._now = settings, model, limits, now
        self._url = None if address is None else normalized(address)

    def run(
        self, check: bool = False, report: Report = lambda *_: None
    ) -> Iterator[tuple[str, Outcome | UpdateError]]:
        """Yield the address of each repository with the outcome of each pack, or with the error.

        Parameters
        ----------
        check : whether to only look what an update would do
        report : called with the progress of the download
        """
        with locked(self._settings):
            state = State(self._settings)
            wanted = [url for url in state.subscriptions if self._url in (None, url)]
            if not wanted:
                what = f"to {self._url}" if self._url else "to any repository"
                raise UpdateError(f"you have not subscribed {what}", _known(state))
            indexes: list[Index] = []
            for url in wanted:
                try:
                    source, index = self.refresh(state, url)
                except UpdateError as error:
                    yield url, error
                    continue
                indexes.append(index)
                updater = PackUpdater(self._settings, self._model, state, source, index, self._limits, report)
                for outcome in updater.run(check):
                    yield url, outcome
            if len(indexes) == len(state.subscriptions) and not check:
                self._remove_parts(indexes)

    def refresh(self, state: State, url: str) -> tuple[Source, Index]:
        """Verify and remember the newest root and index of a repository. Raises UpdateError."""
        subscription = state.subscriptions[url]
        source = open_source(url, self._limits)
        root_version, index_version = latest(source)
        root = newest_root(source, subscription.root, root_version)
        seen = after_rotation(subscription.root, root, subscription.seen)
        if root != subscription.root:
            state.save(dataclasses.replace(subscription, root=root, seen=seen))
        index, newest = newest_index(source, root, index_version, seen, self._now())
        if newest != seen:
            # Before any download, so that an older index is refused even if this update fails.
            state.save(dataclasses.replace(state.subscriptions[url], seen=newest))
        return source, index

    def _remove_parts(self, indexes: Sequence[Index]) -> None:
        """Delete interrupted downloads of files that no repository has any more."""
        offered = {file.sha256 for index in indexes for pack in index.packs for file in pack.files}
        folder = self._settings.packs_dir / PARTS_FOLDER
        for part in folder.glob("*.part"):
            if part.stem not in offered:
                with contextlib.suppress(OSError):
                    part.unlink()
        with contextlib.suppress(OSError):
            folder.rmdir()  # unless something is in it


def _known(state: State) -> str:
    addresses = ", ".join(state.subscriptions)
    return f"your subscriptions: {addresses}" if addresses else "run `overheard packs subscribe URL`"
