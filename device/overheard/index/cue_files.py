"""Find the cue sheet of an audio file: a file beside it, or one of its tags."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from overheard.files import read_regular
from overheard.hear.cue import MAX_CUE_BYTES, CueError, CueSheet, parse_cue

CUE_SUFFIX = ".cue"
_MAX_READ = 50  # cue sheets of a folder that are read to find the audio files that they mention
_MAX_MTIME = 1 << 62

Facts = tuple[int, int]  # size in bytes and modification time in ns


def cue_paths(folder: str, names: Iterable[str]) -> dict[str, str]:
    """Return the path of the cue sheet of each audio file in a folder, if it has one.

    `NAME.cue` and `NAME.flac.cue` belong to `NAME.flac`. Other cue sheets belong to the files that they
    mention, also if these have another suffix: many were converted after the sheet was written.

    Parameters
    ----------
    folder : the folder
    names : names of the audio files and cue sheets in it
    """
    names = tuple(names)
    cues = {name.lower(): name for name in sorted(names) if name.lower().endswith(CUE_SUFFIX)}
    if not cues:
        return {}
    mentioned: Mapping[str, str] | None = None
    found = {}
    for name in names:
        lower = name.lower()
        if lower in cues:
            continue
        own = cues.get(_stem(lower) + CUE_SUFFIX) or cues.get(lower + CUE_SUFFIX)
        if own is None:
            mentioned = _mentioned(folder, list(cues.values())) if mentioned is None else mentioned
            own = mentioned.get(lower) or mentioned.get(_stem(lower))
        if own is not None:
            found[name] = os.path.join(folder, own)  # noqa: PTH118
    return found


def cue_of(path: Path) -> Path | None:
    """Return the cue sheet of one audio file, as :func:`cue_paths` does."""
    try:
        with os.scandir(path.parent) as entries:
            cues = [entry.name for entry in entries if entry.name.lower().endswith(CUE_SUFFIX)]
    except OSError:
        return None
    found = cue_paths(str(path.parent), [*cues, path.name]).get(path.name)
    return Path(found) if found is not None else None


def read_sheet(path: Path, cue: Path | None, embedded: str) -> CueSheet | None:
    """Return the sheet that divides an audio file into several tracks, or None if there is none.

    Parameters
    ----------
    path : the audio file
    cue : its cue sheet, which is used instead of an embedded one
    embedded : the cue sheet in its tags; empty if there is none

    Raises
    ------
    CueError
        If the cue sheet cannot be read or used.
    """
    if cue is not None:
        sheets = _read(cue)
    elif embedded:
        sheets = parse_cue(embedded.encode("utf-8", "surrogateescape"))
    else:
        return None
    if len(sheets) > 1:
        name = path.name.lower()
        same = [sheet for sheet in sheets if _name_in(sheet) == name]
        sheets = same or [sheet for sheet in sheets if _stem(_name_in(sheet)) == _stem(name)]
    return sheets[0] if sheets and len(sheets[0].tracks) > 1 else None


def combined_facts(audio: os.stat_result, cue: Path | str | None) -> Facts:
    """Return size and modification time of an audio file and its cue sheet: both change if either does."""
    if cue is None:
        return audio.st_size, audio.st_mtime_ns
    try:
        status = os.stat(cue)  # noqa: PTH116
    except OSError:
        return audio.st_size, audio.st_mtime_ns
    return audio.st_size + status.st_size, (audio.st_mtime_ns + status.st_mtime_ns) % _MAX_MTIME


def _read(cue: Path) -> list[CueSheet]:
    try:
        return parse_cue(read_regular(cue, MAX_CUE_BYTES))
    except OSError as error:
        raise CueError(error.strerror or str(error)) from error


def _mentioned(folder: str, cues: list[str]) -> dict[str, str]:
    """Return the cue sheet that mentions each audio file, by its name in lower case, also without suffix."""
    found: dict[str, str] = {}
    for name in cues[:_MAX_READ]:
        try:
            for sheet in _read(Path(folder, name)):
                for key in (_name_in(sheet), _stem(_name_in(sheet))):
                    found.setdefault(key, name)
        except CueError:
            continue  # reported for the file of the same name
    return found


def _name_in(sheet: CueSheet) -> str:
    return sheet.file.replace("\\", "/").rpartition("/")[2].lower()


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]  # noqa: PTH122 - a Path for each of 100,000 files takes seconds
