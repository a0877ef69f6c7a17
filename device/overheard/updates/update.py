"""Bring the packs of a repository up to date."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

from overheard.catalogue.layer import open_layer
from overheard.catalogue.layers import MAX_LAYERS, merge_layers
from overheard.catalogue.pack import Pack, open_pack
from overheard.catalogue.pack_format import UnusablePack
from overheard.catalogue.pack_lock import pack_lock
from overheard.catalogue.selection import mismatch
from overheard.errors import OverheardError, PackError, UpdateError
from overheard.fingerprint.model import Model
from overheard.settings import Settings
from overheard.text import size
from overheard.updates.documents import Index, PackEntry, PackFile
from overheard.updates.download import check_space, download, part_size
from overheard.updates.installed import installed_files, pack_path
from overheard.updates.place import place, remove_unused
from overheard.updates.source import LIMITS, Limits, Source
from overheard.updates.state import InstalledFile, State, Subscription
from overheard.updates.update_plan import Plan, chain, plan

PARTS_FOLDER = ".updates"  # in the folder of packs, so that files can be renamed from one to the other

Report = Callable[[str, int, int], None]  # pack, bytes that arrived, bytes in total


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What happened to a pack.

    Attributes
    ----------
    name : str
    kind : "updated", "current", "available", "skipped" or "failed"
    detail : str
        For people, in one line.
    bytes : int
        Downloaded, or to download.
    """

    name: str
    kind: str
    detail: str
    bytes: int = 0


class PackUpdater:
    """Updates the packs of one subscription.

    Parameters
    ----------
    settings, model : as for `overheard listen`; packs of other models are skipped
    state : where the files that are installed are remembered
    source, index : the repository, and its newest index
    limits : of the downloads
    report : called with the progress of the download
    """

    def __init__(
        self,
        settings: Settings,
        model: Model,
        state: State,
        source: Source,
        index: Index,
        limits: Limits = LIMITS,
        report: Report = lambda *_: None,
    ) -> None:
        self._folder, self._model, self._state = settings.packs_dir, model, state
        self._source, self._index, self._limits, self._report = source, index, limits, report

    @property
    def _subscription(self) -> Subscription:
        return self._state.subscriptions[self._source.url]

    def run(self, check: bool = False) -> Iterator[Outcome]:
        """Update each pack that the user subscribed to, or only say what an update would do."""
        by_fit = sorted(self._index.packs, key=lambda entry: entry.model == self._model.digest)
        offered = {entry.name: entry for entry in by_fit}  # of this model, if there is one
        subscription = self._subscription
        wanted = subscription.packs or tuple(dict.fromkeys((*offered, *subscription.installed)))
        for name in wanted:
            try:
                if name not in offered:
                    kept = "what you have of it stays" if name in subscription.installed else "check its name"
                    yield Outcome(name, "skipped", f"the repository does not have this pack; {kept}")
                elif offered[name].model != self._model.digest:
                    detail = f"made for another model ({offered[name].model}, yours is {self._model.digest})"
                    yield Outcome(name, "skipped", f"{detail}; update overheard")
                else:
                    yield self._update(offered[name], check)
            except (OverheardError, OSError) as error:
                yield Outcome(name, "failed", str(error))

    def part_of(self, file: PackFile) -> Path:
        """Return where a file is downloaded to."""
        return self._folder / PARTS_FOLDER / f"{file.sha256}.part"

    def _update(self, entry: PackEntry, check: bool) -> Outcome:
        base = pack_path(self._folder, entry.name)
        found = self._installed(entry, base)
        bases = [known for known in found if known.file.base]
        same = [known.file for known in found if bases and known.lineage == entry.lineage == bases[0].lineage]
        used = chain(same)
        if used and used[-1].last > entry.last:
            raise UpdateError(f"the repository has an older version ({entry.last}, yours is {used[-1].last})")
        planned = plan(entry, used)
        if planned is None:
            raise UpdateError("its files in the repository are incomplete", "ask its publisher")
        if not planned.new:
            return self._finish(entry, base, planned, found, check)
        in_place = {known.file for known in found if known.lineage == entry.lineage and not known.file.base}
        missing = [file for file in planned.new if file not in in_place]
        n_bytes = sum(file.size - min(part_size(self.part_of(file)), file.size) for file in missing)
        if check:
            return Outcome(entry.name, "available", f"{size(n_bytes)} to download", n_bytes)
        check_space(self._folder, n_bytes)
        self._download(entry, base, planned, found, missing)
        return Outcome(entry.name, "updated", f"version {entry.last}, {size(n_bytes)} downloaded", n_bytes)

    def _finish(
        self, entry: PackEntry, base: Path, planned: Plan, found: list[InstalledFile], check: bool
    ) -> Outcome:
        """Complete an update that was interrupted after its last rename."""
        if not check and len(found) > len(planned.kept):
            with pack_lock(base):
                remove_unused(base, planned.kept)
        if not check:
            self._remember(entry.name, [known for known in found if known.file in planned.kept])
        return Outcome(entry.name, "current", "up to date")

    def _download(
        self,
        entry: PackEntry,
        base: Path,
        planned: Plan,
        found: list[InstalledFile],
        missing: list[PackFile],
    ) -> None:
        """Download and verify the missing files, put them into place, and remember them."""
        total = sum(file.size for file in missing)
        arrived = sum(part_size(self.part_of(file)) for file in missing)

        def report(n_bytes: int) -> None:
            nonlocal arrived
            arrived += n_bytes
            self._report(entry.name, min(arrived, total), total)

        new = []
        for file in missing:
            stamp = download(self._source, file, self.part_of(file), self._limits, report)
            new.append(InstalledFile(file, entry.lineage, stamp))
            self._verify(entry, file)
        with pack_lock(base):
            if self._installed(entry, base) != found:
                raise UpdateError(f"{base} was changed during the download", "update again")
            # Before the files are in place, so that after a crash they are known to be of this repository.
            self._remember(entry.name, [*found, *new])
            place(base, planned, {file: self.part_of(file) for file in missing})
            if len(planned.kept) + len(planned.new) > 1 + MAX_LAYERS:
                merge_layers(open_pack(base))
            self._remember(entry.name, self._installed(entry, base))

    def _remember(self, name: str, files: list[InstalledFile]) -> None:
        old = self._subscription
        if tuple(files) != old.installed.get(name):
            self._state.save(dataclasses.replace(old, installed={**old.installed, name: tuple(files)}))

    def _verify(self, entry: PackEntry, file: PackFile) -> None:
        """Open a downloaded file as a pack; one that is signed can still be unusable. Raises UpdateError."""
        part = self.part_of(file)
        try:
            layer = open_layer(part)
            facts = (layer.digest, layer.lineage, layer.last)
            if facts != (entry.model, entry.lineage, file.last) or layer.first != file.first:
                raise UnusablePack("it is not the layer that the index describes")
            if (problem := mismatch(Pack(part, [layer]), self._model)) is not None:
                raise UnusablePack(problem)
        except (UnusablePack, PackError) as error:
            part.unlink(missing_ok=True)
            raise UpdateError(
                f"{file.path} of the repository is not usable: {error}", "ask its publisher"
            ) from error

    def _installed(self, entry: PackEntry, base: Path) -> list[InstalledFile]:
        return installed_files(base, entry, self._subscription.installed.get(entry.name, ()))
