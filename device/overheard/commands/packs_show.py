"""The actions of `overheard packs` that change nothing: list, info, browse and verify."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overheard.commands.arguments import whole_number
from overheard.errors import PackError
from overheard.settings import Settings
from overheard.text import one_line, plural, short_clock, shorten, size

if TYPE_CHECKING:
    from overheard.catalogue.pack import Pack
    from overheard.catalogue.track_rows import Row
    from overheard.fingerprint.model import Model

_COLUMN = 40  # characters of a column of `browse`
_LIMIT = 100  # tracks that `browse` shows


def add_json(parser: argparse.ArgumentParser, what: str = "pack") -> None:
    """Add ``--json`` to an action; without it, that of `overheard packs` counts."""
    about = f"print JSON lines, one object per {what}"
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=about)


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `browse` and `verify`."""
    browse = actions.add_parser(
        "browse",
        help="search titles, artists and albums",
        description="List the tracks whose title, artist or album contain all words, in any case. Without "
        "words, list all tracks. Exit code: 0 tracks found, 1 no track found, 2 error.",
        epilog="example: overheard packs browse miles blue",
    )
    browse.add_argument("words", nargs="*", metavar="WORD", help="text that must occur")
    browse.add_argument(
        "--pack",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="search only these packs: names or .pack files (default: those that are enabled)",
    )
    browse.add_argument(
        "--limit",
        type=whole_number(),
        default=_LIMIT,
        metavar="N",
        help=f"tracks to show at most; 0: all (default: {_LIMIT})",
    )
    add_json(browse, "track")
    browse.set_defaults(run_action=run_browse)
    verify = actions.add_parser(
        "verify",
        help="check every byte of packs",
        description="Check every byte of packs. Exit code: 0 intact, 2 damaged.",
    )
    verify.add_argument("names", nargs="*", metavar="NAME", help="names or .pack files (default: all packs)")
    verify.set_defaults(run_action=run_verify)


def find_packs(settings: Settings, names: Iterable[str]) -> dict[str, Path]:
    """Return packs by name. Raises PackError if one does not exist; no names select all packs."""
    from overheard.catalogue.selection import choose_packs, pack_paths

    names = list(names)
    return choose_packs(settings, names) if names else pack_paths(settings)


def show_list(args: argparse.Namespace, settings: Settings, model: Model | None) -> int:
    """List all packs."""
    from overheard.catalogue.selection import enabled_packs, pack_paths

    paths = pack_paths(settings)
    enabled = settings.packs or enabled_packs(settings, paths)
    packs = [{**describe(path, model, settings), "enabled": name in enabled} for name, path in paths.items()]
    if args.json:
        for facts in packs:
            print(json.dumps(facts))
    elif packs:
        print("\n".join(to_table(packs)))
    else:
        print("no packs yet; create one with `overheard index FOLDER`")
    return 0


def describe(path: Path, model: Model | None, settings: Settings) -> dict[str, Any]:
    """Return the JSON object of a pack; if ``usable`` is false, ``problem`` holds the reason."""
    from overheard.catalogue.pack import open_pack
    from overheard.catalogue.selection import open_for_model, waits

    facts: dict[str, Any] = {"name": path.stem, "path": str(path)}
    try:
        pack = open_pack(path)
        facts["tracks"] = pack.n_tracks
        facts["hours"] = round(pack.hours, 3)
        facts["bytes"] = pack.bytes
        facts["created"] = pack.created
        if model is not None:
            open_for_model(path, model)
    except PackError as error:
        problem = (model and waits(path, model.digest, settings)) or error
        return {**facts, "usable": False, "problem": str(problem).removeprefix(f"{path}: ")}
    return {**facts, "usable": True, "problem": None}


def to_table(packs: list[dict[str, Any]]) -> list[str]:
    """Format one line per pack, and below it the reason if the pack cannot be used."""
    width = max(len("NAME"), *(len(one_line(facts["name"])) for facts in packs))
    lines = [f"{'NAME':<{width}}  {'TRACKS':>7}  {'HOURS':>6}  {'SIZE':>8}  {'CREATED':<16}  PATH"]
    for facts in packs:
        name, path = f"{one_line(facts['name']):<{width}}", one_line(facts["path"])
        if "created" in facts:
            measures = f"{facts['tracks']:>7,}  {facts['hours']:>6.1f}  {size(facts['bytes']):>8}"
            lines.append(f"{name}  {measures}  {_local(facts['created']):<16}  {path}")
        else:
            lines.append(f"{name}  {'?':>7}  {'?':>6}  {'?':>8}  {'?':<16}  {path}")
        if not facts["usable"]:
            lines.append(f"  cannot be used: {one_line(facts['problem'])}")
        elif not facts.get("enabled", True):
            lines.append(f"  disabled; to search it: overheard packs enable {one_line(facts['name'])}")
    return lines


def show_info(args: argparse.Namespace, settings: Settings, model: Model | None) -> int:
    """Show facts about packs."""
    from overheard.catalogue.pack import open_pack

    for path in find_packs(settings, args.names).values():
        facts = info(open_pack(path), model)
        if args.json:
            print(json.dumps(facts))
            continue
        layers = facts.pop("layers")
        facts["networks"] = facts["networks"] or "not recorded"
        for name, value in facts.items():
            print(f"{name.replace('_', ' '):<17} {one_line(str(value))}")
        for layer in layers:
            contents = f"{plural(layer['tracks'], 'track')}, {plural(layer['removed'], 'track')} removed"
            file = one_line(layer["file"])
            print(f"{'layer':<17} {file}: {contents}, {size(layer['bytes'])}, {_local(layer['created'])}")
    return 0


def info(pack: Pack, model: Model | None) -> dict[str, Any]:
    """Return the JSON object of `overheard packs info`."""
    from overheard.catalogue.derived import derived_files
    from overheard.catalogue.pack_model import model_of, network_names
    from overheard.index.scan import file_size

    seconds = pack.hours * 3600
    shipped = model_of(pack.digest)
    name = model.space.name if model is not None and model.digest == pack.digest else shipped
    made_for = "another" if name == pack.digest else name
    return {
        "name": pack.name,
        "path": str(pack.path),
        "model": f"{made_for} ({pack.digest})",
        "networks": ", ".join(network_names(pack.networks)),
        "created": pack.created,
        "tracks": pack.n_tracks,
        "hours": round(pack.hours, 3),
        "bytes": pack.bytes,
        "derived_bytes": sum(file_size(file) for layer in pack.layers for file in derived_files(layer.path)),
        "bytes_per_minute": round(pack.bytes / (seconds / 60), 1) if seconds else 0.0,
        "code_bytes": pack.code_bytes,
        "layers": [
            {
                "file": layer.path.name,
                "first": layer.first,
                "last": layer.last,
                "tracks": layer.n_tracks,
                "removed": len(layer.removed),
                "bytes": layer.bytes,
                "created": layer.created,
            }
            for layer in pack.layers
        ],
    }


def run_browse(args: argparse.Namespace, settings: Settings) -> int:
    """Search the metadata of tracks."""
    shown = n = 0
    for pack, row in _found(settings, args.pack, [word.casefold() for word in args.words]):
        n += 1
        if args.limit and n > args.limit:
            continue
        shown += 1
        if args.json:
            names = ("id", "title", "artist", "album", "path", "duration_s")
            print(json.dumps({"pack": pack, **{name: row[name] for name in names}}))
            continue
        if shown == 1:
            print(_line("TITLE", "ARTIST", "ALBUM", "LENGTH", "PACK"))
        print(_line(row["title"], row["artist"], row["album"], short_clock(row["duration_s"]), pack))
    if n > shown:
        print(f"{plural(n - shown, 'more track')}; --limit 0 shows all", file=sys.stderr)
    if not n:
        print("no track found", file=sys.stderr)
    return 0 if n else 1


def _found(settings: Settings, names: list[str] | None, words: list[str]) -> Iterator[tuple[str, Row]]:
    """Yield the pack's name and the metadata of each track with all words."""
    from overheard.catalogue.pack import open_pack
    from overheard.catalogue.selection import choose_packs
    from overheard.catalogue.track_rows import rows_of

    for path in choose_packs(settings, names).values():
        pack = open_pack(path)
        for row in rows_of(pack):
            text = f"{row['title']}\n{row['artist']}\n{row['album']}".casefold()
            if all(word in text for word in words):
                yield pack.name, row


def _line(title: str, artist: str, album: str, duration: str, pack: str) -> str:
    texts = [f"{shorten(one_line(text), _COLUMN):<{_COLUMN}}" for text in (title, artist, album)]
    return "  ".join((*texts, f"{duration:>7}", one_line(pack)))


def run_verify(args: argparse.Namespace, settings: Settings) -> int:
    """Check every byte of packs; return 2 if one is damaged."""
    code = 0
    for name, path in find_packs(settings, args.names).items():
        try:
            pack = verify(path)
            print(f"{one_line(name)}: intact, {plural(len(pack.layers), 'file')}, {size(pack.bytes)}")
        except PackError as error:
            print(f"overheard: {one_line(str(error))}", file=sys.stderr)
            code = 2
    return code


def verify(path: Path) -> Pack:
    """Open a pack, and check every byte also of large files, which are otherwise checked once.

    Raises
    ------
    PackError
        If the base or a layer is damaged or missing.
    """
    from overheard.catalogue.layer_files import layer_files
    from overheard.catalogue.pack import verify_pack

    layers = layer_files(path)
    pack = verify_pack(path)
    unused = [file for file, (first, _) in layers.items() if first > pack.layers[-1].last]
    if unused:
        remedy = f"index its music again (overheard index FOLDER --pack {path.stem})"
        raise PackError(
            f"{path}: {plural(len(unused), 'layer')} from {unused[0].name} on cannot be used", remedy
        )
    return pack


def _local(created: str) -> str:
    with contextlib.suppress(ValueError, OverflowError):  # OverflowError: the year 9999 in another zone
        return f"{datetime.datetime.fromisoformat(created).astimezone():%Y-%m-%d %H:%M}"
    return one_line(created)[:16]
