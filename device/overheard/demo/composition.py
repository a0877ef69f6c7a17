"""Compose a piece of music as a list of notes: sections, chords, melody, bass and drums from one seed."""

from __future__ import annotations

import dataclasses

import numpy as np

Rng = np.random.Generator

SCALES = (
    (0, 2, 4, 5, 7, 9, 11),  # major
    (0, 2, 3, 5, 7, 8, 10),  # natural minor
    (0, 2, 3, 5, 7, 9, 10),  # dorian
    (0, 2, 4, 5, 7, 9, 10),  # mixolydian
    (0, 2, 3, 5, 7, 8, 11),  # harmonic minor
    (0, 2, 4, 6, 7, 9, 11),  # lydian
)
RHYTHMS = (  # cells of note lengths, in beats
    (1.0,),
    (0.5, 0.5),
    (0.75, 0.25),
    (0.25, 0.25, 0.5),
    (0.5, 0.25, 0.25),
    (1 / 3, 1 / 3, 1 / 3),
    (1.5,),
    (2.0,),
)
TRIPLETS = 5  # their place in RHYTHMS; they get a lower weight, because they clash with straight eighths
NEXT_CHORD = ((3, 4, 5, 1, 2), (4, 6, 3), (5, 3), (0, 4, 1), (0, 5, 3), (3, 1, 4, 2), (0, 2))
BASS_FIGURES = {  # beats between notes, and the scale degrees over the root that may follow it
    "long": (2.0, (0, 0, 4)),
    "eighths": (0.5, (0, 0, 0, 0, 4, 6)),
    "walking": (1.0, (0, 1, 2, 3, 4, 5)),
    "octaves": (0.5, (0, 7)),
}


@dataclasses.dataclass(frozen=True)
class Note:
    """One note or drum hit."""

    part: str  # "lead", "second", "chords", "arpeggio", "bass", or a drum's name
    start_s: float
    length_s: float
    pitch: float  # MIDI number; drums ignore it
    velocity: float  # 0-1


@dataclasses.dataclass(frozen=True)
class Style:
    """The properties that stay the same throughout a piece."""

    beat_s: float
    beats: int  # in a bar
    swing: float  # delay of each second eighth, share of a beat
    root: int  # MIDI number of the tonic
    scale: tuple[int, ...]
    density: float  # 0-1, how busy the melody is

    def pitch(self, degree: int, root: int) -> int:
        """Return the MIDI number of a scale degree counted from the tonic; degrees continue over octaves."""
        octave, step = divmod(degree, len(self.scale))
        return root + 12 * octave + self.scale[step]


@dataclasses.dataclass(frozen=True)
class Section:
    """The arrangement of a few bars."""

    start_s: float
    bars: int
    root: int
    chords: tuple[int, ...]  # scale degree of each bar
    parts: frozenset[str]
    chord_figure: str
    bass_figure: str
    drums: tuple[tuple[str, tuple[float, ...]], ...]  # probability of a hit on each sixteenth of the bar
    octave: int


def compose(rng: Rng, duration_s: float) -> list[Note]:
    """Return the notes of a piece of `duration_s`, in no particular order; none starts after its end."""
    style = _style(rng)
    notes: list[Note] = []
    start_s, parts = 0.0, frozenset[str]()
    while start_s < duration_s:
        section = _section(rng, style, start_s, parts)
        parts = section.parts
        notes += _melody(rng, style, section)
        notes += _chords(rng, style, section)
        notes += _bass(rng, style, section)
        notes += _drums(rng, style, section)
        start_s += section.bars * style.beats * style.beat_s
    return [_human(rng, note) for note in notes if note.start_s < duration_s]


def _style(rng: Rng) -> Style:
    bpm = rng.uniform(68, 168)
    return Style(
        beat_s=60.0 / bpm,
        beats=int(rng.choice((3, 4, 4, 4, 4, 5))),
        swing=float(rng.choice((0.0, 0.0, rng.uniform(0.06, 0.16)))),
        root=int(rng.integers(55, 67)),
        scale=SCALES[rng.integers(len(SCALES))],
        density=float(rng.uniform(0.2, 0.9)),
    )


def _section(rng: Rng, style: Style, start_s: float, previous: frozenset[str]) -> Section:
    chance = {"lead": 0.85, "second": 0.4, "chords": 0.85, "arpeggio": 0.4, "bass": 0.85, "drums": 0.85}
    for _ in range(8):
        parts = frozenset(part for part, p in chance.items() if rng.random() < p)
        if len(parts) >= 3 and parts != previous and parts & {"lead", "second", "arpeggio"}:
            break
    bars = int(rng.choice((4, 4, 6, 8)))
    degrees = [int(rng.choice((0, 0, 5, 3)))]
    while len(degrees) < bars:
        degrees.append(int(rng.choice(NEXT_CHORD[degrees[-1]])))
    return Section(
        start_s=start_s,
        bars=bars,
        root=style.root + int(rng.choice((0, 0, 0, 0, 2, -3, 5))),
        chords=tuple(degrees),
        parts=parts,
        chord_figure=str(rng.choice(("held", "stabs", "strum", "offbeat"))),
        bass_figure=str(rng.choice(tuple(BASS_FIGURES))),
        drums=_drum_pattern(rng, 4 * style.beats),
        octave=int(rng.choice((0, 0, 12))),
    )


def _melody(rng: Rng, style: Style, section: Section) -> list[Note]:
    """Walk the scale in the rhythm of a motif; each two-bar phrase varies it, so no phrase repeats."""
    notes = []
    for part, low, high in (("lead", 0, 11), ("second", -5, 5)):
        if part not in section.parts:
            continue
        motif = _rhythm(rng, style, 2 * style.beats)
        degree = int(rng.integers(low, high))
        for bar in range(0, section.bars, 2):
            rhythm = motif if rng.random() < 0.4 else _rhythm(rng, style, 2 * style.beats)
            at = 0.0
            for length in rhythm:
                index = min(bar + int(at // style.beats), section.bars - 1)
                strong = at % 1.0 == 0.0
                degree = _step(rng, degree, section.chords[index] if strong else None, low, high)
                if rng.random() < 0.9 and bar * style.beats + at < section.bars * style.beats:
                    start_s = section.start_s + _swung(bar * style.beats + at, style) * style.beat_s
                    sounding = length * style.beat_s * rng.uniform(0.6, 1.05)
                    pitch = style.pitch(degree, section.root) + section.octave
                    notes.append(Note(part, start_s, sounding, pitch, rng.uniform(0.6, 1.0)))
                at += length
    return notes


def _rhythm(rng: Rng, style: Style, beats: float) -> list[float]:
    """Return note lengths in beats that fill `beats`."""
    weights = np.array([len(cell) / sum(cell) for cell in RHYTHMS])
    weights = weights ** (4.0 * style.density - 2.0)
    weights[TRIPLETS] *= 0.3
    lengths: list[float] = []
    left = beats
    while left > 1e-6:
        cell = RHYTHMS[rng.choice(len(RHYTHMS), p=weights / weights.sum())]
        if sum(cell) <= left + 1e-6:
            lengths += cell
            left -= sum(cell)
        elif left < 1.0:
            lengths.append(left)
            left = 0.0
    return lengths


def _step(rng: Rng, degree: int, chord: int | None, low: int, high: int) -> int:
    degree += int(rng.choice((-4, -3, -2, -1, -1, 0, 1, 1, 2, 3, 5)))
    if degree < low or degree > high:
        degree = int(rng.integers(low + 2, high - 1))
    if chord is not None and (degree - chord) % 7 not in (0, 2, 4) and rng.random() < 0.75:
        degree += 1 if (degree + 1 - chord) % 7 in (0, 2, 4) else -1
    return degree


def _chords(rng: Rng, style: Style, section: Section) -> list[Note]:
    notes: list[Note] = []
    bar_s = style.beats * style.beat_s
    for bar, degree in enumerate(section.chords):
        start_s = section.start_s + bar * bar_s
        stack = [degree, degree + 2, degree + 4] + ([degree + 6] if rng.random() < 0.4 else [])
        inversion = int(rng.integers(0, 3))
        stack = stack[inversion:] + [d + 7 for d in stack[:inversion]]
        pitches = [style.pitch(d - 7, section.root) for d in stack]
        if "chords" in section.parts:
            notes += _chord_bar(rng, style, section.chord_figure, start_s, pitches)
        if "arpeggio" in section.parts:
            step = float(rng.choice((0.25, 0.5, 0.5)))
            for k in range(int(style.beats / step)):
                if rng.random() < 0.9:
                    pitch = int(rng.choice(pitches)) + 12 * int(rng.integers(0, 3))
                    at = start_s + _swung(k * step, style) * style.beat_s
                    notes.append(Note("arpeggio", at, step * style.beat_s, pitch, rng.uniform(0.4, 1.0)))
    return notes


def _chord_bar(rng: Rng, style: Style, figure: str, start_s: float, pitches: list[int]) -> list[Note]:
    beats = np.arange(style.beats, dtype=float)
    if figure == "held":
        hits, length = [0.0], style.beats * 0.98
    elif figure == "offbeat":
        hits, length = [b + 0.5 for b in beats if rng.random() < 0.85], 0.35
    elif figure == "strum":
        hits, length = [b + o for b in beats for o in (0.0, 0.5) if rng.random() < (0.9 - o)], 0.6
    else:
        hits, length = sorted(rng.choice(np.arange(0, style.beats, 0.5), size=3, replace=False)), 0.8
    spread = rng.uniform(0.0, 0.02)
    return [
        Note(
            "chords",
            start_s + _swung(hit, style) * style.beat_s + k * spread,
            length * style.beat_s,
            pitch,
            rng.uniform(0.5, 0.9),
        )
        for hit in hits
        for k, pitch in enumerate(pitches)
    ]


def _bass(rng: Rng, style: Style, section: Section) -> list[Note]:
    notes: list[Note] = []
    if "bass" not in section.parts:
        return notes
    step, choice = BASS_FIGURES[section.bass_figure]
    for bar, degree in enumerate(section.chords):
        for k in range(int(np.ceil(style.beats / step))):
            pick = 0 if k == 0 else int(rng.choice(choice))
            if k and rng.random() < 0.12:
                continue
            at = section.start_s + (bar * style.beats + _swung(k * step, style)) * style.beat_s
            pitch = style.pitch(degree + pick - 14, section.root)
            notes.append(Note("bass", at, 0.9 * step * style.beat_s, pitch, rng.uniform(0.7, 1.0)))
    return notes


def _drum_pattern(rng: Rng, steps: int) -> tuple[tuple[str, tuple[float, ...]], ...]:
    at = np.arange(steps)
    on_beat, eighth = at % 4 == 0, at % 2 == 0
    kick = np.where(at == 0, 1.0, np.where(on_beat, rng.uniform(0.2, 0.9), np.where(eighth, 0.25, 0.05)))
    snare = np.where(at % 8 == 4, 0.97, np.where(eighth, 0.04, 0.06))
    busy = rng.uniform(0.1, 0.95)
    top = np.where(eighth, np.maximum(busy, 0.6), busy * rng.uniform(0.2, 1.0))
    pattern = {"kick": kick, str(rng.choice(("snare", "snare", "clap", "rim"))): snare}
    pattern[str(rng.choice(("hat", "hat", "ride", "shaker")))] = top
    if rng.random() < 0.4:
        pattern["tom"] = np.where(at >= steps - 4, 0.5, 0.06)
    return tuple((name, tuple(float(p) for p in chance)) for name, chance in pattern.items())


def _drums(rng: Rng, style: Style, section: Section) -> list[Note]:
    if "drums" not in section.parts:
        return []
    notes = [Note("crash", section.start_s, 1.5, 0.0, 0.8)] if rng.random() < 0.6 else []
    for bar in range(section.bars):
        for drum, chance in section.drums:
            for step in np.flatnonzero(rng.random(len(chance)) < chance):
                at = section.start_s + (bar * style.beats + _swung(step / 4, style)) * style.beat_s
                accent = 1.0 if step % 4 == 0 else 0.7
                notes.append(Note(drum, at, 0.5, 0.0, accent * rng.uniform(0.6, 1.0)))
        if bar == section.bars - 1 and rng.random() < 0.7:
            for k in np.flatnonzero(rng.random(4) < 0.8):
                at = section.start_s + ((bar + 1) * style.beats - 1 + k / 4) * style.beat_s
                notes.append(Note(str(rng.choice(("tom", "snare"))), at, 0.5, 0.0, rng.uniform(0.6, 1.0)))
    return notes


def _swung(beat: float, style: Style) -> float:
    return beat + (style.swing if abs(beat % 1.0 - 0.5) < 1e-6 else 0.0)


def _human(rng: Rng, note: Note) -> Note:
    return dataclasses.replace(note, start_s=max(0.0, note.start_s + rng.normal(0.0, 0.006)))
