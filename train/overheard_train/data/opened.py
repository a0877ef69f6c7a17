"""The data that the user named, as training asks for it: by kinds and split."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from overheard.errors import AudioError
from overheard.fingerprint.spec import SPEC
from overheard_train.data.cache import JOBS, Clips, Listing, cached_clips, default_cache_dir
from overheard_train.data.decode import FloatArray
from overheard_train.data.sources import Recording, Source, find_recordings, parse


class Data:
    """Recordings of some sources; made by :func:`open_data`.

    Attributes
    ----------
    names : as the user gave them
    recordings : all of them, none decoded yet
    """

    def __init__(
        self, names: Sequence[str], sources: Sequence[Source], cache_dir: Path | None, jobs: int = JOBS
    ) -> None:
        self.names = tuple(names)
        self.recordings: tuple[Recording, ...] = tuple(find_recordings(sources))
        self.cache_dir = cache_dir or default_cache_dir()
        self._sources, self._jobs = tuple(sources), jobs

    def of(self, kinds: Iterable[str], split: str) -> list[Recording]:
        """Return the recordings of these kinds and this split (``train`` or ``valid``), readable or not."""
        wanted = set(kinds)
        return [r for r in self.recordings if r.kind in wanted and r.split == split]

    def name(self, recording: Recording) -> str:
        """Return what :attr:`Clips.paths` calls a recording.

        Relative where only one folder was named, and as the manifest has it where only one has a manifest, so
        that lists of a corpus's files hold whatever is added to it; else absolute.
        """
        path = os.path.abspath(recording.path)
        if len(self._sources) == 1:
            return os.path.relpath(path, os.path.abspath(self._sources[0].root))
        corpora = [source.root for source in self._sources if source.layout == "manifest"]
        return os.path.relpath(path, os.path.abspath(recording.root)) if corpora == [recording.root] else path

    def clips(self, kinds: Iterable[str], split: str) -> Clips:
        """Decode recordings at the front-end's sample rate, or map the cached array.

        Parameters
        ----------
        kinds : of :data:`~overheard_train.data.sources.KINDS`
        split : ``train`` or ``valid``

        Raises
        ------
        AudioError
            There are none, or not a single one can be read.
        """
        kinds = sorted(kinds)
        found = self.of(kinds, split)
        if not found:
            raise AudioError(
                f"{' and '.join(self.names)} hold no {' or '.join(kinds)} of the split {split}: "
                f"name more with --data, as {kinds[0]}=FOLDER"
            )
        listing = Listing(
            tuple(map(self.name, found)),
            tuple(recording.path for recording in found),
            normalize=all(kind.startswith("ir_") for kind in kinds),
        )
        name = f"{'+'.join(kinds)}-{split}-{SPEC.frontend.sample_rate}"
        try:
            return cached_clips(self.cache_path(name), listing, self._jobs)
        except AudioError as error:
            raise AudioError(f"{' and '.join(kinds)} of the split {split}: {error}") from error

    def responses(self, kinds: Iterable[str], split: str) -> list[FloatArray]:
        """Return the responses that are not silent, float32 at the front-end's rate, peak at 1.

        Raises
        ------
        AudioError
            As :meth:`clips`, or all are silent.
        """
        kinds = sorted(kinds)
        responses = peak_at_one(self.clips(kinds, split))
        if not responses:
            raise AudioError(f"the {' and '.join(kinds)} of the split {split} are all silent: add some")
        return responses

    def cache_path(self, name: str) -> Path:
        """Return where something made of these sources is kept; a corpus by itself goes by the name alone."""
        if [source.layout for source in self._sources] != ["manifest"] or self._sources[0].kind:
            tags = "\n".join(sorted(source.tag for source in self._sources))
            name += f"-{hashlib.sha256(tags.encode('utf-8', 'surrogateescape')).hexdigest()[:10]}"
        return self.cache_dir / name


def open_data(
    names: Sequence[str | os.PathLike[str]], cache_dir: Path | None = None, jobs: int = JOBS
) -> Data:
    """List the recordings of what the user names.

    Parameters
    ----------
    names : each ``FOLDER``, ``KIND=FOLDER`` or ``musan=FOLDER``; see
        :func:`overheard_train.data.sources.parse`
    cache_dir : where decoded audio is kept; :func:`default_cache_dir` where None
    jobs : processes that decode

    Raises
    ------
    AudioError
        One of them is missing, unreadable, or holds no audio.
    """
    if not names:
        raise AudioError("no data is named: name a folder with --data")
    texts = [os.fspath(name) for name in names]
    return Data(texts, [parse(text) for text in texts], cache_dir, jobs)


def peak_at_one(clips: Clips) -> list[FloatArray]:
    """Return the clips that are not silent as ``(n,)`` float32 whose largest magnitude is 1."""
    responses = []
    for index in range(len(clips)):
        response = clips.clip(index).astype(np.float32)
        peak = np.abs(response).max(initial=0)
        if peak > 0:
            responses.append(response / peak)
    return responses
