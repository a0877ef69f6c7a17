"""`overheard history name`, `wrong` and `unknown`: what the user says about plays."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Sequence

from overheard.commands.arguments import whole_number
from overheard.errors import OverheardError
from overheard.event_json import local_time
from overheard.settings import Settings
from overheard.text import clean, one_line, plural

_MAX_NAME = 300  # characters of an artist or title, as on the web page
_NO_UNKNOWN = "no unknown music has the id {}"


def add_parsers(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the actions."""
    actions.add_parser(
        "unknown",
        help="list the unknown music that was heard",
        description="List the unknown music that `overheard listen` heard: id, last time, and how often.",
    )
    name = actions.add_parser(
        "name",
        help="give unknown music a name",
        description="Give unknown music a name, in the history and in the catalogue. From now on, it is "
        "recognized like any other track. `overheard history unknown` prints the ids.",
        epilog='example: overheard history name 7 "Artist - Title"',
    )
    name.add_argument("unknown_id", type=whole_number(), metavar="ID", help="id of the unknown music")
    name.add_argument("name", metavar='"ARTIST - TITLE"', help="its artist and title, or its title")
    wrong = actions.add_parser(
        "wrong",
        help="mark plays as wrong",
        description="Mark plays as wrong if something else played. They stay in the file, but lists show "
        "them only with --all. `overheard history --json` prints the ids.",
        epilog="example: overheard history wrong 17",
    )
    wrong.add_argument("ids", nargs="+", type=whole_number(), metavar="ID", help="id of the play")
    wrong.add_argument("--undo", action="store_true", help="remove the mark")


def run_unknown(settings: Settings) -> int:
    """Print the unknown music of the history."""
    from overheard.history.marks import read_unknown

    rows = read_unknown(settings.history_path)
    for row in rows:
        first, last = (local_time(when) for when in (row.first_at, row.last_at))
        times = "heard once" if row.times == 1 else f"heard {row.times} times, first on {_day(first)}"
        print(f"  {row.unknown_id:>5}  {last:%Y-%m-%d %H:%M}  {times}")
    if rows:
        print('\nto name one: overheard history name ID "Artist - Title"')
    else:
        print("no unknown music yet; `overheard listen` remembers it")
    return 0


def run_name(settings: Settings, unknown_id: int, name: str) -> int:
    """Name unknown music in the history, and move it from the store to the catalogue."""
    from overheard.catalogue.labelled import label
    from overheard.catalogue.names import LABELLED
    from overheard.catalogue.searching_model import open_model
    from overheard.history.marks import label_unknown, labelled_track
    from overheard.recognize.unknown_store import UnknownStore

    artist, title = _artist_and_title(name)
    model = open_model(settings)
    store = UnknownStore(settings.unknown_path, model, settings.unknown.max_pieces)
    known = labelled_track(settings.history_path, unknown_id, LABELLED)
    entry = store.entry(unknown_id)
    track = label(settings.packs_dir, model, entry, known, artist, title, store.networks)
    count = 0
    if settings.history_path.exists():
        place = ("", "") if track is None else (track.id, track.pack)
        count = label_unknown(settings.history_path, unknown_id, artist, title, *place)
    if track is None and not count:
        raise OverheardError(_NO_UNKNOWN.format(unknown_id), "`overheard history unknown` prints the ids")
    store.remove([unknown_id])
    shown = one_line(f"{artist} - {title}" if artist else title)
    print(f"{plural(count, 'play')} of unknown music {unknown_id} named {shown}")
    if track is None:
        print("its fingerprint is not stored any more, so it will not be recognized")
    else:
        print(f"from now on, it is recognized; its fingerprint is in the pack {track.pack}")
    return 0


def _artist_and_title(name: str) -> tuple[str, str]:
    """Divide a name into the artist, which may be empty, and the title. Raises OverheardError."""
    artist, dash, title = (clean(part) for part in name.partition(" - "))
    artist, title = (artist, title) if dash else ("", artist)
    if not title:
        raise OverheardError("the name has no title", 'give it as "Artist - Title"')
    if max(len(artist), len(title)) > _MAX_NAME:
        raise OverheardError(f"the name is longer than {_MAX_NAME} characters", "give a shorter one")
    return artist, title


def run_wrong(settings: Settings, ids: Sequence[int], undo: bool) -> int:
    """Mark plays as wrong, or remove the mark."""
    from overheard.history.marks import mark_wrong

    count = mark_wrong(settings.history_path, sorted(set(ids)), not undo)
    print(f"{plural(count, 'play')} {'no longer marked as wrong' if undo else 'marked as wrong'}")
    require_found(count, ids)
    return 0


def require_found(count: int, ids: Sequence[int]) -> None:
    """Raise an error if only `count` plays had one of these ids."""
    wanted = len(set(ids))
    if count < wanted:
        which = "this id" if wanted == 1 else "these ids" if not count else "the other ids"
        raise OverheardError(f"there is no play with {which}", "`overheard history --json` prints the ids")


def _day(when: datetime.datetime) -> str:
    return f"{when.day} {when:%B %Y}"
