"""Check the microphone: record for a second and judge the level."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import TYPE_CHECKING

from overheard.commands.check import Check, failed
from overheard.errors import AudioError
from overheard.settings import Settings
from overheard.settings.rooms import Room, parse_rooms

if TYPE_CHECKING:
    from overheard.fingerprint.frontend import FloatArray
    from overheard.hear.source import AudioSource

MEASURE_S = 1.0  # a compromise between a steady level and waiting
SETTLE_S = 0.3  # skipped, because many sound cards start with a click
MEASURE_TIMEOUT_S = 12.0  # a source reports within 8 s that it does not start
CLIPPED_PEAK = 0.999  # full scale of 16 bits is 0.99997; mixing and resampling may lower it a little


def check_microphone(settings: Settings) -> list[Check]:
    """Record a second from each configured input, and check its level."""
    rooms = parse_rooms(settings.listen.rooms)
    if not rooms:
        return [_check(Room("", settings.listen.input), settings)]
    return [
        dataclasses.replace(check, detail=f"{room.name}: {check.detail}")
        for room in rooms
        for check in [_check(room, settings)]
    ]


def _check(room: Room, settings: Settings) -> Check:
    from overheard.hear.file import FileSource
    from overheard.hear.open import open_room

    spec = room.input
    if spec == "-":
        return Check("microphone", True, "not checked: the input is standard input")
    remedy = "choose an input that `overheard devices` lists, with --input or the setting listen.input"
    try:
        source = open_room(room, settings)
        if isinstance(source, FileSource):
            return Check("microphone", True, f"not checked: the input is the file {spec}")
        level_db, peak = measure(source)
    except AudioError as error:
        return failed("microphone", error, remedy)
    return judge_level(source.name, level_db, peak, settings, is_monitor="monitor" in spec)


def measure(source: AudioSource) -> tuple[float, float]:
    """Record for about a second.

    Returns
    -------
    tuple of float and float
        The level in dBFS, and the peak in 0-1.

    Raises
    ------
    AudioError
        If the source delivers no samples, or cannot be opened.
    """
    import numpy as np

    from overheard.hear.gate import levels_db
    from overheard.hear.resampler import to_float
    from overheard.hear.source import SAMPLE_RATE

    wanted = round((SETTLE_S + MEASURE_S) * SAMPLE_RATE)
    blocks: list[FloatArray] = [np.zeros(0, np.float32)]
    deadline = time.monotonic() + MEASURE_TIMEOUT_S
    for block in source.blocks():
        if isinstance(block, np.ndarray):
            blocks.append(to_float(block))
        if sum(map(len, blocks)) >= wanted or time.monotonic() > deadline:
            source.close()  # this ends the loop
    samples = np.concatenate(blocks)[round(SETTLE_S * SAMPLE_RATE) :]
    if not samples.size:
        raise AudioError(f"{source.name} delivers no samples", "reconnect it, or choose another input")
    return float(levels_db(samples[None])[0]), float(np.abs(samples).max())


def judge_level(name: str, level_db: float, peak: float, settings: Settings, is_monitor: bool) -> Check:
    """Return the check of a measured level; a monitor may be silent, a microphone may not."""
    finite = math.isfinite(level_db)
    data = {"name": name, "level_db": round(level_db, 1) if finite else None, "peak": round(peak, 4)}
    if not finite:
        detail = f"{name}: digital silence"
        remedy = None if is_monitor else "unmute it in alsamixer or in the sound settings of the desktop"
        return Check("microphone", is_monitor, detail, remedy, data)
    detail = f"{name}: level {level_db:.0f} dBFS"
    if peak >= CLIPPED_PEAK:
        return Check("microphone", False, f"{detail}, clipped", "lower its gain in alsamixer", data)
    if level_db < settings.gate.open_db:
        detail += f", below gate.open_db ({settings.gate.open_db:.0f} dBFS): counts as silence"
    return Check("microphone", True, detail, None, data)
