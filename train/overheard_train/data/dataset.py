"""Give training the recordings that it asks for, by kind and split."""

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
    """The recordings of some sources; created by :func:`open_data`.

    Attributes
    ----------
    names : as the user gave them
    recordings : all recordings; listing them decodes none
    """

    def __init__(
        self, names: Sequence[str], sources: Sequence[Source], cache_dir: Path | None, jobs: int = JOBS
    ) -> None:
        self.names = tuple(names)
        self.recordings: tuple[Recording, ...] = tuple(find_recordings(sources))
        self.cache_dir = cache_dir or default_cache_dir()
        self._sources, self._jobs = tuple(sources), jobs

    def of(self, kinds: Iterable[str], split: str) -> list[Recording]:
        """Return the recordings of these kinds and this split (``train`` or ``valid``), decodable or not."""
        wanted = set(kinds)
        return [r for r in self.recordings if r.kind in wanted and r.split == split]

    def name(self, recording: Recording) -> str:
        """Return the name of a recording in :attr:`Clips.paths`.

        The name is relative to the folder if the user gave only one, or if only this one has a manifest.
        Lists of a corpus's files, such as near-duplicates, then stay valid when the user adds other folders.
        All other names are absolute paths.
        """
        if len(self._sources) == 1:
            return os.path.relpath(recording.path, self._sources[0].root)
        corpora = [source.root for source in self._sources if source.layout == "manifest"]
        if corpora == [recording.root]:
            return os.path.relpath(recording.path, recording.root)
        return os.path.normpath(recording.path.absolute())

    def clips(self, kinds: Iterable[str], split: str) -> Clips:
        """Return recordings at the front-end's sample rate; decode those that the cache lacks.

        Parameters
        ----------
        kinds : of :data:`~overheard_train.data.sources.KINDS`
        split : ``train`` or ``valid``

        Raises
        ------
        AudioError
            There are none, or none can be decoded.
        """
        kinds = sorted(kinds)
        recordings = self.of(kinds, split)
        if not recordings:
            raise AudioError(
                f"{' and '.join(self.names)} hold no {' or '.join(kinds)} of the split {split}",
                f"add some with --data {kinds[0]}=FOLDER",
            )
        listing = Listing(
            tuple(map(self.name, recordings)),
            tuple(recording.path for recording in recordings),
            normalize=all(kind.startswith("ir_") for kind in kinds),
        )
        name = f"{'+'.join(kinds)}-{split}-{SPEC.frontend.sample_rate}"
        try:
            return cached_clips(self.cache_path(name), listing, self._jobs)
        except AudioError as error:
            kind = " and ".join(kinds)
            raise AudioError(f"{kind} of the split {split}: {error.problem}", error.remedy) from error

    def responses(self, kinds: Iterable[str], split: str) -> list[FloatArray]:
        """Return impulse responses, ``(n,)`` float32 at the front-end's rate with a peak of 1.

        Silent ones are left out.

        Raises
        ------
        AudioError
            As in :meth:`clips`, or all are silent.
        """
        kinds = sorted(kinds)
        responses = peak_at_one(self.clips(kinds, split))
        if not responses:
            raise AudioError(
                f"the {' and '.join(kinds)} of the split {split} are all silent",
                f"add some with --data {kinds[0]}=FOLDER",
            )
        return responses

    def cache_path(self, name: str) -> Path:
        """Return the cache path of something derived from these sources; a single corpus has a plain name."""
        if [source.layout for source in self._sources] != ["manifest"] or self._sources[0].kind:
            tags = "\n".join(sorted(source.tag for source in self._sources))
            name += f"-{hashlib.sha256(tags.encode('utf-8', 'surrogateescape')).hexdigest()[:10]}"
        return self.cache_dir / name


def open_data(
    names: Sequence[str | os.PathLike[str]], cache_dir: Path | None = None, jobs: int = JOBS
) -> Data:
    """List the recordings of one or more sources.

    Parameters
    ----------
    names : each ``FOLDER``, ``KIND=FOLDER`` or ``musan=FOLDER``; see
        :func:`overheard_train.data.sources.parse`
    cache_dir : folder for decoded audio; by default :func:`default_cache_dir`
    jobs : number of processes that decode

    Raises
    ------
    AudioError
        A source is missing, unreadable, or holds no audio.
    """
    if not names:
        raise AudioError("there is no data", "give a folder with --data")
    texts = [os.fspath(name) for name in names]
    return Data(texts, [parse(text) for text in texts], cache_dir, jobs)


def peak_at_one(clips: Clips) -> list[FloatArray]:
    """Return the clips that are not silent, each ``(n,)`` float32 with a peak of 1."""
    responses = []
    for index in range(len(clips)):
        response = clips.clip(index).astype(np.float32)
        peak = np.abs(response).max(initial=0)
        if peak > 0:
            responses.append(response / peak)
    return responses
