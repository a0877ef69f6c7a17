"""`overheard calibrate`: set the gate and the caution for a room."""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

from overheard.commands.arguments import add_pack_option, positive_number
from overheard.errors import AudioError, SettingsError
from overheard.settings import Settings
from overheard.settings.rooms import Room, parse_rooms
from overheard.text import in_room, length, one_line, plural, shorten

if TYPE_CHECKING:
    from overheard.fingerprint.frontend import FloatArray
    from overheard.hear.source import AudioSource

_SECONDS = {"quiet": 60.0, "talk": 60.0, "music": 120.0}
_ASK = {
    "quiet": "be quiet for {}",
    "talk": "talk, or let a radio talk, for {}",
    "music": "play music of your collection for {}",
}
_LEAST_S = {"quiet": 5.0, "talk": 10.0, "music": 10.0}  # at least one window
_MAX_FALSE_PER_DAY = 1000.0
_NOT_ENOUGH = 1  # exit code
_MAX_SLOWER_S = 15.0  # until a source has delivered the sound


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "calibrate",
        help="choose settings for your room",
        description="Listen to a minute of quiet, a minute of talk, and two minutes of music from your "
        "collection. Then print the settings for the level gate, and track.caution, which keeps false "
        "positives rare. You can pass recordings instead. Nothing is stored. Exit code: 0 settings found, "
        "1 no value of track.caution is sufficient, 2 error.",
        epilog="example: overheard calibrate --false-per-day 0.5",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--input", metavar="INPUT", help="as for `overheard listen`")
    where.add_argument("--room", metavar="NAME", help="a room of the setting listen.rooms")
    for kind, seconds in _SECONDS.items():
        parser.add_argument(
            f"--{kind}",
            metavar="FILE",
            help=f"a recording, up to an hour, instead of {seconds:g} s from the input",
        )
    parser.add_argument(
        "--false-per-day",
        type=positive_number(_MAX_FALSE_PER_DAY),
        default=1.0,
        metavar="N",
        help="false positives to accept per day (default: 1)",
    )
    parser.add_argument(
        "--hours",
        type=positive_number(24.0),
        default=6.0,
        metavar="H",
        help="hours of talk per day (default: 6)",
    )
    add_pack_option(parser)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Record, estimate and print."""
    from overheard.recognize.open import open_recognizer
    from overheard.recognize.room_calibration import FalseRate, caution_for, gate_levels, window_scores
    from overheard.recognize.windows import WINDOW_S

    room = chosen_room(args, settings)
    recognizer = open_recognizer(settings, args.pack)
    rate = recognizer.spec.frontend.sample_rate
    sounds = {kind: _sound(kind, args, settings, room) for kind in _SECONDS}
    levels = gate_levels(sounds["quiet"], rate)
    _require_loud(sounds["music"], rate, levels)
    talk = window_scores(recognizer, sounds["talk"])
    music = window_scores(recognizer, sounds["music"])
    talk_s = len(sounds["talk"]) / rate
    bound = FalseRate(max(talk, default=-10.0), talk_s / WINDOW_S, args.hours)
    wrong = _wrong_scores(settings, room)
    caution = caution_for(bound, args.false_per_day, wrong)
    n_recognized = sum(score >= caution for score in music)
    hint = "" if n_recognized else "; play music that is in your packs"
    print(f"quiet  {'digital silence' if levels is None else f'the gate opens at {levels[0]:.0f} dBFS'}")
    print(f"talk   highest score {bound.highest:+.1f} relative to the threshold, in {length(talk_s)}")
    print(f"music  {n_recognized} of {plural(len(music), 'window')} recognized{hint}")
    if wrong:
        print(f"wrong  {plural(len(wrong), 'play')} of your history marked as wrong")
    print(
        f"\nAt most {_rate(bound.at(caution))} false positives a day, with 95% confidence, if there are "
        f"{args.hours:g} h of such talk a day."
    )
    print("\n".join(_settings(levels, caution)))
    if room is not None:
        print("\nThey apply to all rooms: use the lowest levels and the highest caution of your rooms.")
    if bound.at(caution) <= args.false_per_day:
        return 0
    print(
        f"\nNo value of track.caution ensures {_rate(args.false_per_day)} a day: record more talk, and make "
        "sure that no music of your packs plays in it."
    )
    return _NOT_ENOUGH


def _settings(levels: tuple[float, float] | None, caution: float) -> list[str]:
    lines = ["", "Settings for the configuration file:", ""]
    if levels is not None:
        lines += ["[gate]", f"open_db = {levels[0]:.1f}", f"close_db = {levels[1]:.1f}", ""]
    return [*lines, "[track]", f"caution = {caution:.1f}"]


def _rate(per_day: float) -> str:
    """Format a number of false positives a day."""
    return "0.001" if per_day < 0.001 else f"{per_day:.2g}" if per_day < 100 else f"{per_day:,.0f}"


def _require_loud(music: FloatArray, rate: int, levels: tuple[float, float] | None) -> None:
    """Raise AudioError if a gate with these levels would never open for the music."""
    from overheard.recognize.room_calibration import sound_levels_db

    loudest_db = max(sound_levels_db(music, rate), default=-math.inf)
    if math.isinf(loudest_db):
        raise AudioError("the music is digital silence", "check the input, and record it again")
    if levels is not None and loudest_db < levels[0]:
        problem = f"the music, at most {loudest_db:.0f} dBFS, is hardly louder than the quiet"
        raise AudioError(problem, "play it louder, or be quieter, and record both again")


def chosen_room(args: argparse.Namespace, settings: Settings) -> Room | None:
    """Return the room to calibrate for; None if there is one input.

    Raises
    ------
    SettingsError
        If there are several and none is chosen, or there is no room of this name.
    """
    rooms = {room.name: room for room in parse_rooms(settings.listen.rooms)}
    files = all(getattr(args, kind) is not None for kind in _SECONDS)
    if args.room is None and (args.input is not None or files or not rooms):
        return None
    names = ", ".join(rooms)
    if args.room is None:
        raise SettingsError(f"there are several rooms: {names}", "choose one with --room")
    if args.room not in rooms:
        remedy = f"use one of {names}" if rooms else "set listen.rooms, or use --input"
        raise SettingsError(f"the setting listen.rooms has no room {shorten(args.room)!r}", remedy)
    return rooms[args.room]


def _sound(kind: str, args: argparse.Namespace, settings: Settings, room: Room | None) -> FloatArray:
    """Return the recording of a kind: from a file, or from the input."""
    from overheard.hear.decode import load
    from overheard.hear.open import open_room, open_source
    from overheard.hear.source import SAMPLE_RATE
    from overheard.recognize.room_calibration import MAX_S

    file = getattr(args, kind)
    if file is not None:
        waveform = load(Path(file), SAMPLE_RATE, MAX_S)
        if (seconds := len(waveform) / SAMPLE_RATE) < _LEAST_S[kind]:
            problem = f"{one_line(file)}: {seconds:.1f} s of {kind} are too short"
            raise AudioError(problem, f"record at least {_LEAST_S[kind]:g} s")
        return waveform
    if room is None:
        source = open_source(args.input or settings.listen.input, settings)
    else:
        source = open_room(room, settings)
    seconds = _SECONDS[kind]
    name = one_line(in_room(room.name if room else "", source.name))
    print(f"{name}: {_ASK[kind].format(length(seconds))} ...", flush=True)
    return _record(source, seconds)


def _record(source: AudioSource, seconds: float) -> FloatArray:
    """Record from a source. Raises AudioError if it delivers too little."""
    import numpy as np

    from overheard.hear.resampler import to_float
    from overheard.hear.source import SAMPLE_RATE

    blocks: list[FloatArray] = []
    wanted, deadline = round(seconds * SAMPLE_RATE), time.monotonic() + seconds + _MAX_SLOWER_S
    for block in source.blocks():
        if isinstance(block, np.ndarray):
            blocks.append(to_float(block))
        if sum(map(len, blocks)) >= wanted or time.monotonic() > deadline:
            source.close()  # this ends the loop
    if sum(map(len, blocks)) < wanted / 2:
        raise AudioError(f"{source.name} delivers too little audio", "reconnect it, or choose another input")
    return np.concatenate(blocks)[:wanted]


def _wrong_scores(settings: Settings, room: Room | None) -> list[float]:
    """Return the best scores over the threshold of the plays, of the room, that are marked as wrong."""
    from overheard.history.evidence import stored_evidence
    from overheard.history.marks import read_evidence
    from overheard.history.writer import read_plays

    rows, _ = read_plays(settings.history_path, hidden=True)
    scores = []
    for row in rows:
        if row.wrong and (room is None or row.is_in(room.name)):
            points = stored_evidence(read_evidence(settings.history_path, row.id))
            searches = [point.score - point.threshold for point in points if not point.verification]
            scores += [max(searches)] if searches else []
    return scores
