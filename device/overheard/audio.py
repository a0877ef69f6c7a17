"""Audio files: find them, decode them to mono float32, read their tags.

Decoding is PyAV on one thread (indexing runs one process per core), channels are averaged before a streaming
soxr resampler sees them, and seconds are batched: numpy calls for each frame would cost as much as decoding.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import stat
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import mutagen
import numpy as np
import numpy.typing as npt
import soxr

from overheard.errors import AudioError

_log = logging.getLogger(__name__)

AUDIO_SUFFIXES = frozenset(
    ".wav .wave .flac .mp3 .mp2 .ogg .oga .opus .m4a .m4b .mp4 .aac .wma .aiff .aif .aifc .ape .wv".split()
)
_MAX_LEVEL = 1e6  # 120 dB over full scale
_BATCH_S = 5.0
_MAX_BROKEN_READS = 100  # a file with more holes than this is not worth reading on
# Nothing leaves this machine: a playlist that is named .mp3 must not make the decoder open a network address.
_OPEN_OPTIONS = {"protocol_whitelist": "file"}
_TAG_NAMES = {  # mutagen's easy names, then ID3 in WAV and AIFF, MP4, ASF and APE
    "title": ("title", "TIT2", "\xa9nam", "Title"),
    "artist": ("artist", "TPE1", "\xa9ART", "Author", "Artist", "albumartist", "TPE2", "WM/AlbumArtist"),
    "album": ("album", "TALB", "\xa9alb", "WM/AlbumTitle", "Album"),
}
# What mutagen lets through, besides its own error, when a file's tags are damaged.
_TAG_ERRORS = (
    *(mutagen.MutagenError, OSError, EOFError, struct.error),
    *(ValueError, TypeError, AttributeError, LookupError, ArithmeticError),
)


@dataclasses.dataclass(frozen=True)
class Tags:
    """What a file says about itself; `title` is never empty, `duration_s` is 0 where unknown."""

    title: str
    artist: str
    album: str
    duration_s: float


def decode(path: str | os.PathLike[str], sample_rate: int = 8000) -> Iterator[npt.NDArray[np.float32]]:
    """Decode an audio file in bounded memory.

    Parameters
    ----------
    path : path-like
        Any file that ffmpeg's libraries read; the first audio stream counts.
    sample_rate : int
        Wanted rate in Hz.

    Yields
    ------
    ndarray, (n,) float32
        Mean of the channels, nominally in [-1, 1], a few seconds each.

    Raises
    ------
    AudioError
        If the file is missing, empty, not audio, or mostly damaged. Single damaged packets are skipped.
    """
    name = os.fspath(path)
    resampler: soxr.ResampleStream | None = None
    rate = 0
    for frames in _batches(name):
        if resampler is not None and frames[0].sample_rate != rate:  # chained streams may change their rate
            yield from _nonempty(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
            resampler = None
        rate = frames[0].sample_rate
        mono = _downmix(frames)
        if rate == sample_rate:
            yield from _nonempty(mono)
            continue
        if resampler is None:
            resampler = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32", quality="HQ")
        yield from _nonempty(resampler.resample_chunk(mono))
    if resampler is not None:
        yield from _nonempty(resampler.resample_chunk(np.zeros(0, np.float32), last=True))


def load(path: str | os.PathLike[str], sample_rate: int = 8000) -> npt.NDArray[np.float32]:
    """Decode a whole audio file.

    Returns
    -------
    ndarray, (n,) float32
        Mono at `sample_rate`.

    Raises
    ------
    AudioError
        As :func:`decode`.
    """
    blocks = list(decode(path, sample_rate))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)  # a few samples resample to none


def read_tags(path: str | os.PathLike[str]) -> Tags:
    """Read title, artist, album and duration; what cannot be read is empty, or the file's stem as title."""
    stem = _clean(Path(path).stem)
    try:
        file = mutagen.File(os.fspath(path), easy=True)
        if file is None:
            return Tags(stem, "", "", 0.0)
        title, artist, album = (_first(file.tags, names) for names in _TAG_NAMES.values())
        duration_s = float(getattr(file.info, "length", 0.0) or 0.0)
    except _TAG_ERRORS as error:
        _log.info("tags of %s cannot be read: %s", path, error)
        return Tags(stem, "", "", 0.0)
    return Tags(title or stem, artist, album, duration_s)


def find_audio(folders: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """List the audio files in folders (and single files), sorted, each real file once.

    Raises
    ------
    AudioError
        If one of `folders` does not exist. Folders inside that cannot be read are logged and left out.
    """
    return scan_audio(folders)[0]


def file_size(path: Path) -> int:
    """Return a file's size in bytes, 0 where it is gone."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def scan_audio(folders: Iterable[str | os.PathLike[str]]) -> tuple[list[Path], list[tuple[str, str]]]:
    """As :func:`find_audio`, and also the (path, reason) of folders inside that could not be read."""
    problems: list[tuple[str, str]] = []
    found: dict[str, Path] = {}
    for folder in folders:
        root = Path(os.path.abspath(folder))
        if not root.exists():
            raise AudioError(f"{_clean(str(root))}: no such file or folder")
        for path in [root] if not root.is_dir() else _walk(root, problems):
            real = os.path.realpath(path)
            if real not in found or real == str(path):  # rather the file itself than a link to it
                found[real] = path
    return sorted(found.values(), key=os.fsencode), problems


def _walk(root: Path, problems: list[tuple[str, str]]) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        _log.warning("%s: %s", error.filename, error.strerror)
        problems.append((str(error.filename), error.strerror or "cannot be read"))

    seen: set[str] = set()
    for folder, subfolders, names in os.walk(root, onerror=unreadable, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back up
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            # A leading dot is hidden, or macOS's resource fork (._song.mp3), which is no audio.
            if os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES and not name.startswith("."):
                path = Path(folder, name)
                if _is_regular(path):
                    yield path


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True  # let reading it name the reason


def _batches(name: str) -> Iterator[list[Any]]:
    """Yield lists of decoded frames of one rate, format and channel count, some seconds long together."""
    batch: list[Any] = []
    n_samples = 0
    kind: tuple[Any, ...] = ()
    for frame in _frames(name):
        frame_kind = (frame.sample_rate, frame.format.name, frame.layout.nb_channels)
        if batch and (frame_kind != kind or n_samples >= _BATCH_S * frame.sample_rate):
            yield batch
            batch, n_samples = [], 0
        kind = frame_kind
        batch.append(frame)
        n_samples += frame.samples
    if batch:
        yield batch


def _frames(name: str) -> Iterator[Any]:
    try:
        if os.path.isfile(name) and os.path.getsize(name) == 0:
            raise AudioError(f"{_clean(name)}: the file is empty")
        # An absolute path, since "a:b.ogg" would be taken for a protocol.
        with av.open(os.path.abspath(name), options=_OPEN_OPTIONS, metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise AudioError(f"{_clean(name)}: there is no audio in it")
            yield from _decode_packets(container, _clean(name))
    except (av.error.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AudioError(f"{_clean(name)}: cannot be read as audio ({reason})") from error


def _decode_packets(container: Any, shown_name: str) -> Iterator[Any]:
    stream = container.streams.audio[0]
    stream.codec_context.thread_count = 1
    good = broken = broken_reads = 0
    at_end = False
    while not at_end and broken_reads < _MAX_BROKEN_READS:
        try:
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError:
                    broken += 1
                    continue
                for frame in frames:
                    if frame.samples and frame.sample_rate:
                        good += 1
                        yield frame
            at_end = True
        except av.error.InvalidDataError:  # a hole in the container: go on behind it
            broken_reads += 1
    if good == 0:
        raise AudioError(f"{shown_name}: there is no audio in it")
    if broken > good:
        raise AudioError(f"{shown_name}: most of it is damaged ({broken} of {broken + good} packets)")
    if broken or broken_reads:
        _log.warning("%s: %d damaged packets were skipped", shown_name, broken + broken_reads)


def _downmix(frames: Sequence[Any]) -> npt.NDArray[np.float32]:
    """Average the channels of frames of one format: (n,) float32."""
    n_channels = frames[0].layout.nb_channels
    samples = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
    if not frames[0].format.is_planar:
        samples = samples.reshape(-1, n_channels).T
    offset, scale = 0.0, 1.0
    if samples.dtype.kind == "u":  # 8 bit audio is unsigned
        offset, scale = 128.0, 128.0
    elif samples.dtype.kind == "i":
        scale = -float(np.iinfo(samples.dtype).min)
    mono: npt.NDArray[np.float32] = samples[0].astype(np.float32)
    for channel in samples[1:]:
        mono += channel
    mono *= np.float32(1.0 / (scale * n_channels))
    if offset:
        mono -= np.float32(offset / scale)
    if not np.abs(mono).max(initial=0) <= _MAX_LEVEL:  # float files may hold NaN, or what has no square
        np.nan_to_num(mono, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        np.clip(mono, -_MAX_LEVEL, _MAX_LEVEL, out=mono)
    return mono


def _nonempty(samples: npt.NDArray[np.float32]) -> Iterator[npt.NDArray[np.float32]]:
    if len(samples):
        yield samples


def _first(tags: Any, names: Sequence[str]) -> str:
    if tags is None:
        return ""
    for name in names:
        try:
            value = tags[name]
        except (KeyError, ValueError):  # Vorbis comments refuse names such as "\xa9nam"
            continue
        text = _clean(str(value[0] if isinstance(value, list) and value else value or ""))
        if text:
            return text
    return ""


def _clean(text: str) -> str:
    """Return text that any terminal and JSON reader takes: no control characters, no undecodable bytes."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
