"""Find recordings that belong together: one artist or album, one room, one source recording, one speaker.

A group must be in one split only, or validation measures memory. Known collections have file names that
identify the group (``_COLLECTIONS``). Other files are grouped by folder and by numbered names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath

VALID_INTERVAL = 10  # one group in ten is `valid`
_SOUND = ("music", "noise", "speech")
_ROOMS = ("ir_room", "ir_room_synth", "ir_mic")

# (kinds, pattern of the file name's stem, group). Names of the Aachen responses (AIR) contain room, position
# and channel. MIT's survey has one file per room, MUSAN one per recording. AudioSet cuts clips from videos,
# ESC and UrbanSound from Freesound recordings. LibriSpeech and RAVDESS number their speakers.
_COLLECTIONS = [
    (
        _ROOMS,
        r"(?:air_type\d_)?air_(?:binaural|phone)(?:_bt)?_([a-z_]+?)\d*(?:_(?:hfrp|hhp))?(?:_\d+)*",
        "AIR {}",
    ),
    (_ROOMS, r"(h\d{3}_.+?_\d+txts?)(?:_\d+)?", "IR survey {}"),
    (_SOUND, r"((?:music|noise|speech)-[a-z-]+-\d{4})", "MUSAN {}"),
    (_SOUND, r"([\w-]{11,12})_\d+\.\d+(?:_\d+\.\d+)?", "YouTube {}"),
    (("noise",), r"[1-5]-(\d+)-[A-Za-z](?:-\d+)?", "Freesound {}"),
    (("noise",), r"(\d+)-\d-\d+-\d+", "Freesound {}"),
    (("speech",), r"(\d+)-\d+-\d{4}", "LibriSpeech {}"),
    (("speech",), r"\d\d(?:-\d\d){5}-(\d\d)", "RAVDESS {}"),
]
_PATTERNS = [(kinds, re.compile(pattern), group) for kinds, pattern, group in _COLLECTIONS]

# Folders for one format of a room, or one disc of an album, are not groups.
_FORMAT_FOLDER = re.compile(
    r"mono|stereo|binaural|omni|ortf|[bx]-?format|ambisonics?|surround.{0,5}|(?:cd|dis[ck])[ _-]?\d+", re.I
)
# The number of a take or the name of a channel, at the end of a file's name.
_MARK = re.compile(
    r"[-_ .]*(?:(?<![a-z])(?:ch|chan|channel|take|pos|mic)?[-_ .]?\d+[a-z]?|\d+"
    r"|[-_ .](?:l|r|left|right|mono|stereo|omni|ortf|bformat|b[-_]format|x|y|z|w))$",
    re.I,
)


def collection_group(kind: str, stem: str) -> str | None:
    """Return the group that the file name of a known collection identifies; None for other files."""
    for kinds, pattern, group in _PATTERNS:
        match = pattern.fullmatch(stem) if kind in kinds else None
        if match:
            return group.format(match[1])
    return None


def folder_group(kind: str, path: PurePath) -> str:
    """Return the group of a file from its path within a folder of one kind.

    Music
        The artist's folder if it contains albums, or else the album's folder; ``CD 1`` is part of its album.
        A file outside of folders is a group of its own.
    Rooms and microphones
        The folder, which is the venue, without folders for formats (``mono``, ``b-format``). Outside of
        folders, the name without trailing numbers and channel marks: ``hall_2_left`` is ``hall``.
    Noise and speech
        The folder, and the name without trailing numbers and channel marks: ``cafe/ch01`` to ``cafe/ch16``
        are one group, so are ``street-1`` and ``street-2``, but ``cafe/dishes`` and ``cafe/till`` are two.

    Parameters
    ----------
    kind : of all files in the folder
    path : relative to the folder
    """
    folders = [folder for folder in path.parts[:-1] if not _FORMAT_FOLDER.fullmatch(folder)]
    if kind == "music":
        return "/".join(folders[:-1] or folders) or path.name
    if kind in _ROOMS and folders:
        return "/".join(folders)
    stem = bare_stem(path.stem)
    return "/".join([*folders, stem] if stem else folders) or path.stem


def bare_stem(stem: str) -> str:
    """Return a stem without trailing numbers and channel marks; an empty string if no letter is left."""
    while True:
        shorter = _MARK.sub("", stem)
        if shorter == stem:
            return stem if re.search(r"[^\W\d_]", stem) else ""
        stem = shorter


def split_groups(groups: Iterable[str]) -> Mapping[str, str]:
    """Return ``train`` or ``valid`` for each group.

    The group's hash decides, independently of other groups; one group in ten is `valid` on average. If this
    leaves a split empty, the group with the nearest hash moves there. A single group is `train`.
    """
    order = sorted(set(groups), key=_hash)
    n_valid = sum(_hash(group) < 1 / VALID_INTERVAL for group in order)
    n_valid = min(max(1, n_valid), len(order) - 1)
    return {group: "valid" if rank < n_valid else "train" for rank, group in enumerate(order)}


def _hash(group: str) -> float:
    """Return a hash from 0 to 1."""
    digest = hashlib.sha256(group.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
