"""`overheard explain`: why a play or a recording was recognized, or what is missing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from overheard.commands.arguments import add_pack_option
from overheard.errors import OverheardError
from overheard.settings import Settings
from overheard.text import length, one_line, one_of, plural, short_clock, shorten, speed_change

if TYPE_CHECKING:
    from overheard.commands.explain_picture import Picture
    from overheard.history.evidence import StoredPoint
    from overheard.recognize.explain import Explanation

_MAX_DIGITS = 19  # of an id


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "explain",
        help="explain why something was recognized, or why not",
        description="Explain why a play of the history or a recording was recognized: how similar the "
        "matched segments are, where they are in the track, and how similar the second-best track is. For "
        "a recording that is not recognized, show the best match and the reason. Exit code: 0 recognized, or "
        "a play of the history, 1 not recognized, 2 error.",
        epilog="examples: overheard explain 17, overheard explain recording.wav --picture why.svg",
    )
    parser.add_argument(
        "what", metavar="PLAY|FILE", help="id of a play, as in `overheard history --json`, or an audio file"
    )
    parser.add_argument("--picture", type=Path, metavar="OUT.svg", help="also draw a picture into this file")
    add_pack_option(parser)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Explain a play or a file."""
    if args.picture is not None and args.picture.suffix.lower() != ".svg":
        raise OverheardError(f"--picture: {args.picture} is not an SVG file", "use a name that ends in .svg")
    if args.what.isdecimal():
        # Python converts no more than 4,300 digits; no play has an id of so many.
        number = int(args.what) if len(args.what) < _MAX_DIGITS else -1
        return _explain_play(number, args, settings)
    return _explain_file(args, settings)


def _explain_file(args: argparse.Namespace, settings: Settings) -> int:
    from overheard.hear.decode import load
    from overheard.recognize.explain import MAX_S, explain
    from overheard.recognize.open import open_recognizer

    recognizer = open_recognizer(settings, args.pack)
    rate = recognizer.spec.frontend.sample_rate
    waveform = load(args.what, rate, MAX_S + 1)
    found = explain(recognizer, waveform)
    print("\n".join(to_text(found)))
    if len(waveform) > MAX_S * rate:
        print(f"  note        only the first {length(MAX_S)} are explained")
    if args.picture is not None:
        _draw(args.picture, _picture(found))
    return 0 if found.accepted else 1


def _picture(found: Explanation) -> Picture | None:
    """Return the picture of an explanation; None if no track has an alignment with the recording."""
    from overheard.commands.explain_picture import Picture

    match, evidence = found.match, found.evidence
    if match is None or evidence is None:
        return None
    points = [(one.at_s, one.position_s, one.similarity) for one in found.segments]
    levels = [("mean", evidence.similarity)]
    if found.rival is not None:
        levels.append(("next track", found.rival_similarity))
    subtitle = f"{to_text(found)[0]}; score {match.score:.1f}, threshold {match.threshold:.1f}"
    return Picture(match.track.name, subtitle, points, levels, found.window_s)


def _draw(path: Path, picture: Picture | None) -> None:
    from overheard.files import atomic_write

    if picture is None:
        print("no picture: there is nothing to draw")
        return
    try:
        with atomic_write(path) as file:
            file.write(picture.to_svg().encode())
    except OSError as error:
        raise OverheardError(
            f"{path}: cannot be written ({error.strerror})", "choose another file"
        ) from error
    print(f"picture: {path}")


def to_text(found: Explanation) -> list[str]:
    """Return an explanation in words."""
    match, evidence = found.match, found.evidence
    if match is None or evidence is None:
        return ["not recognized", *(f"  {reason}" for reason in found.reasons)]
    name = one_line(one_of(match.track.name, [other.track.name for other in match.alternatives]))
    start, end = (short_clock(second) for second in found.window_s)
    verdict = f"recognized: {name}" if found.accepted else f"not recognized; the best match is {name}"
    change, expected = speed_change(found.speed), evidence.expected_similarity
    aligned = [one for one in found.segments if found.window_s[0] <= one.at_s < found.window_s[1]]
    lines = [
        f"{verdict}, at {short_clock(match.offset_s)}{change and f', speed about {change}'}",
        f"  score       {match.score:.1f}; the threshold is {match.threshold:.1f}",
        f"  window      {start} to {end}, {plural(len(aligned), 'aligned segment')}",
        f"  similarity  {evidence.similarity:.2f}, where {expected:.2f} is expected from the sound",
        f"  background  {evidence.background:.2f}, the similarity of unrelated music",
    ]
    if found.rival is not None:
        rival = one_line(found.rival.name)
        lines.append(f"  next best   {found.rival_similarity:.2f}, {rival}")
    return [*lines, *(f"  reason      {reason}" for reason in found.reasons)]


def _explain_play(number: int, args: argparse.Namespace, settings: Settings) -> int:
    from overheard.commands.explain_picture import Picture
    from overheard.history.evidence import stored_evidence
    from overheard.history.marks import read_evidence
    from overheard.history.writer import read_plays

    rows, _ = read_plays(settings.history_path, hidden=True)
    row = next((one for one in rows if one.id == number), None)
    if row is None:
        raise OverheardError(
            f"no play has the id {shorten(args.what, 30)}", "`overheard history --json` prints the ids"
        )
    name = one_line(f"{row.artist} - {row.title}" if row.artist else row.title)
    points = stored_evidence(read_evidence(settings.history_path, number))
    if row.unknown_id is not None:
        print(f"{name}: it matched no track of your packs")
        print("  reason      no audio is stored; record the music, and explain the file")
        if args.picture is not None:
            _draw(args.picture, None)
        return 0
    head = f"{name}, from {short_clock(row.offset_s)} of the track, confidence {row.confidence:.0%}"
    change = speed_change(row.speed)
    head += f", speed {change}" if change else ""
    print(head)
    if not points:
        print("  no evidence is stored for this play")
    else:
        print("\n".join(_evidence_text(points)))
    if args.picture is not None:
        places = [(point.after_s, point.position_s, point.similarity) for point in points]
        _draw(args.picture, Picture(name, head, places) if places else None)
    return 0


def _evidence_text(points: Sequence[StoredPoint]) -> list[str]:
    """Return what a play rests on in words."""
    lines = []
    searches = [point for point in points if not point.verification]
    verifications = plural(len(points) - len(searches), "comparison")
    if searches:
        best = max(searches, key=lambda point: point.score)
        accepted = sum(point.score >= point.threshold for point in searches)
        when, limit = short_clock(best.after_s), best.threshold
        beside = f"{best.margin:.2f} more than the second-best track"
        lines = [
            f"  score       {best.score:.1f} at best, after {when}; the threshold is {limit:.1f}",
            f"  searches    {len(searches)}, of which {accepted} accepted",
            f"  similarity  {best.similarity:.2f} in the best window, {beside}",
        ]
    compared = f"{verifications} with this track alone, to see whether it still plays"
    return [*lines, f"  verified    {compared}"]
