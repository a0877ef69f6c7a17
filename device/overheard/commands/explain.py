"""`overheard explain`: why a play or a recording was recognized, or what is missing."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from overheard.commands.arguments import add_pack_option
from overheard.errors import OverheardError
from overheard.settings import Settings
from overheard.text import one_line, plural, short_clock, speed_change

if TYPE_CHECKING:
    from overheard.commands.explain_picture import Point
    from overheard.recognize.explain import Explanation


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "explain",
        help="explain why something was recognized, or why not",
        description="Explain why a play of the history or a recording was recognized: how similar the "
        "matched segments are, where they are in the track, and how similar the second-best track is. For "
        "a recording that is not recognized, show the best match and the reason.",
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
        return _explain_play(int(args.what), args.picture, settings)
    return _explain_file(args, settings)


def _explain_file(args: argparse.Namespace, settings: Settings) -> int:
    from overheard.hear.decode import load
    from overheard.recognize.explain import explain
    from overheard.recognize.open import open_recognizer

    recognizer = open_recognizer(settings, args.pack)
    found = explain(recognizer, load(args.what))
    print("\n".join(to_text(found)))
    if found.segments and found.match is not None and found.evidence is not None:
        points = [(one.at_s, one.position_s, one.similarity) for one in found.segments]
        levels = [("mean", found.evidence.similarity), ("next track", found.rival_similarity)]
        _draw(args.picture, found.match.track.name, to_text(found)[0], points, levels)
    return 0 if found.accepted else 1


def _draw(
    picture: Path | None, title: str, subtitle: str, points: list[Point], levels: list[tuple[str, float]]
) -> None:
    if picture is None:
        return
    from overheard.commands.explain_picture import draw
    from overheard.files import atomic_write

    try:
        with atomic_write(picture) as file:
            file.write(draw(title, subtitle, points, levels).encode())
    except OSError as error:
        raise OverheardError(
            f"{picture}: cannot be written ({error.strerror})", "choose another file"
        ) from error
    print(f"picture: {picture}")


def to_text(found: Explanation) -> list[str]:
    """Return an explanation in words."""
    match, evidence = found.match, found.evidence
    if match is None or evidence is None:
        return ["not recognized", *(f"  {reason}" for reason in found.reasons)]
    name = one_line(match.track.name)
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


def _explain_play(number: int, picture: Path | None, settings: Settings) -> int:
    from overheard.history.evidence import stored_evidence
    from overheard.history.marks import read_evidence
    from overheard.history.writer import read_plays

    rows, _ = read_plays(settings.history_path, hidden=True)
    row = next((one for one in rows if one.id == number), None)
    if row is None:
        raise OverheardError(f"no play has the id {number}", "`overheard history --json` prints the ids")
    name = one_line(f"{row.artist} - {row.title}" if row.artist else row.title)
    points = stored_evidence(read_evidence(settings.history_path, number))
    head = f"{name}, from {short_clock(row.offset_s)} of the track, confidence {row.confidence:.0%}"
    change = speed_change(row.speed)
    head += f", speed {change}" if change else ""
    print(head)
    if not points:
        print("  no evidence is stored for this play")
        return 0
    searches = [point for point in points if not point.verification]
    verifications = plural(len(points) - len(searches), "comparison")
    if searches:
        best = max(searches, key=lambda point: point.score)
        accepted = sum(point.score >= point.threshold for point in searches)
        when, limit = short_clock(best.after_s), best.threshold
        print(f"  score       {best.score:.1f} at best, after {when}; the threshold is {limit:.1f}")
        print(f"  searches    {len(searches)}, of which {accepted} accepted")
        beside = f"{best.margin:.2f} more than the second-best track"
        print(f"  similarity  {best.similarity:.2f} in the best window, {beside}")
    print(f"  verified    {verifications} with this track alone, to see whether it still plays")
    _draw(picture, name, head, [(point.after_s, point.position_s, point.similarity) for point in points], [])
    return 0
