"""Which recordings belong together: one album or artist, one room, one source recording, one speaker.

A split that puts a group on both sides tests on what it trained on. Collections that name their files in a
way of their own are known by it (``_NAMED``); what is left falls back on folders and numbered names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath

VALID_SHARE = 10  # one group in so many is `valid`
_SOUND = ("music", "noise", "speech")
_ROOMS = ("ir_room", "ir_room_synth", "ir_mic")

# (kinds, what the stem looks like, the group). The Aachen responses say room, position and channel; MIT's
# survey and MUSAN have one file a room or a recording; AudioSet cuts clips from videos, ESC and UrbanSound
# from Freesound recordings; LibriSpeech and RAVDESS number their speakers.
_NAMED = [
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
_PATTERNS = [(kinds, re.compile(pattern), group) for kinds, pattern, group in _NAMED]

# Folders that hold one room in several formats, or one album on several discs: they are no group.
_FORMAT_FOLDER = re.compile(
    r"mono|stereo|binaural|omni|ortf|[bx]-?format|ambisonics?|surround.{0,5}|(?:cd|dis[ck])[ _-]?\d+", re.I
)
# What numbers a take or names a channel at the end of a file's name.
_MARK = re.compile(
    r"[-_ .]*(?:(?<![a-z])(?:ch|chan|channel|take|pos|mic)?[-_ .]?\d+[a-z]?|\d+"
    r"|[-_ .](?:l|r|left|right|mono|stereo|omni|ortf|bformat|b[-_]format|x|y|z|w))$",
    re.I,
)


def named_group(kind: str, stem: str) -> str | None:
    """Return the group that a known collection's way of naming files tells, else None."""
    for kinds, pattern, group in _PATTERNS:
        found = pattern.fullmatch(stem) if kind in kinds else None
        if found:
            return group.format(found[1])
    return None


def folder_group(kind: str, path: PurePath) -> str:
    """Return the group of a file by its place in a folder of its kind.

    Music
        The artist's folder where there are folders of artists with albums in them, else the album's folder; a
        file that lies in no folder is by itself. ``CD 1`` is part of its album.
    Rooms and microphones
        The folder, which is the venue, whatever formats it comes in (``mono``, ``b-format``); where there is
        none, the name less trailing numbers and channel marks: ``hall_2_left`` is ``hall``.
    Noise and speech
        The folder and the name less trailing numbers and channel marks: ``cafe/ch01`` to ``cafe/ch16`` are
        one, and so are ``street-1`` and ``street-2``, but not ``cafe/dishes`` and ``cafe/till``.

    Parameters
    ----------
    kind : what the folder holds
    path : relative to it
    """
    folders = [folder for folder in path.parts[:-1] if not _FORMAT_FOLDER.fullmatch(folder)]
    if kind == "music":
        return "/".join(folders[:-1] or folders) or path.name
    if kind in _ROOMS and folders:
        return "/".join(folders)
    stem = bare_stem(path.stem)
    return "/".join([*folders, stem] if stem else folders) or path.stem


def bare_stem(stem: str) -> str:
    """Return a file's name less trailing numbers and channel marks; nothing where no letter is left."""
    while True:
        shorter = _MARK.sub("", stem)
        if shorter == stem:
            return stem if re.search(r"[^\W\d_]", stem) else ""
        stem = shorter


def split_groups(groups: Iterable[str]) -> Mapping[str, str]:
    """Return ``train`` or ``valid`` for each group.

    Its hash decides, for one group in ten on average, whatever other groups there are. Only where that leaves
    a side empty the group nearest to the limit goes there: two groups are enough, a single one is `train`.
    """
    order = sorted(set(groups), key=_rank)
    n_valid = sum(_rank(group) < 1 / VALID_SHARE for group in order)
    n_valid = min(max(1, n_valid), len(order) - 1)
    return {group: "valid" if place < n_valid else "train" for place, group in enumerate(order)}


def _rank(group: str) -> float:
    digest = hashlib.sha256(group.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
