"""Notice packs that are added, replaced or removed while the program runs, and open the new ones."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from overheard.catalogue.layer_files import Stamps, stamps_of
from overheard.catalogue.pack import Pack
from overheard.catalogue.selection import open_for_model, present_packs, waits
from overheard.errors import PackError
from overheard.fingerprint.model import Model
from overheard.settings import Settings
from overheard.text import one_line, plural

log = logging.getLogger(__name__)


class PackWatcher:
    """Compares the files of the packs with those that are open.

    Parameters
    ----------
    settings : Settings
    model : the model that the packs must be made with
    names : names or paths of packs, as for `selection.open_packs`
    packs : the packs that are open
    """

    def __init__(
        self, settings: Settings, model: Model, names: Sequence[str] | None, packs: Sequence[Pack]
    ) -> None:
        self._settings, self._model, self._names = settings, model, names
        self._packs = {pack.path: pack for pack in packs}
        self._seen: dict[Path, Stamps] = {}
        self._seen = self._stamps()
        # What could not be opened was reported, and is tried again when it changes.
        self._tried = {**self._seen, **{path: pack.stamps for path, pack in self._packs.items()}}

    def changed(self) -> list[Pack] | None:
        """Return all packs to search if they are others than at the last call; None if they are not.

        Files must be the same in two calls before they are opened: another program may be writing them.
        A new file that cannot be used is reported; the pack that was read from its place stays in use.
        """
        stamps = self._stamps()
        settled = {path: each for path, each in stamps.items() if self._seen.get(path) == each}
        before = dict(self._packs)
        for path in [path for path in self._packs if path not in stamps and path not in self._seen]:
            cause = "was disabled" if path.exists() else "was removed"
            log.warning("the pack %s %s", one_line(path.stem), cause)
            del self._packs[path]
        self._tried = {path: each for path, each in self._tried.items() if path in stamps}
        for path, each in settled.items():
            if self._tried.get(path) != each:
                self._open(path, each)
        self._seen = stamps
        return list(self._packs.values()) if self._packs != before else None

    def _open(self, path: Path, stamps: Stamps) -> None:
        self._tried[path] = stamps
        try:
            pack = open_for_model(path, self._model)
        except PackError as error:
            if waits(path, self._model.digest, self._settings):
                log.warning(
                    "%s: is for the newest model; restart overheard to search it", one_line(str(path))
                )
                return
            kept = "the earlier version stays in use" if path in self._packs else "skipped"
            log.warning("%s: %s", kept, one_line(str(error)))
            return
        self._packs[path] = pack
        self._tried[path] = pack.stamps
        log.warning("searching the new pack %s, %s", one_line(path.stem), plural(pack.n_tracks, "track"))

    def _stamps(self) -> dict[Path, Stamps]:
        """Return the stamps of each pack that exists."""
        found = {}
        for path in present_packs(self._settings, self._names):
            try:
                stamps = stamps_of(path)
            except PackError:  # the folder of its layers cannot be read now
                stamps = self._seen.get(path, ())
            if stamps:
                found[path] = stamps
        return found
