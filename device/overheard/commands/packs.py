"""`overheard packs`: list or remove packs."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overheard.errors import ModelError, PackError
from overheard.settings import Settings
from overheard.text import one_line, size

if TYPE_CHECKING:
    from overheard.fingerprint.model import Model


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "packs",
        help="list or remove packs of fingerprints",
        description="List the packs with their tracks, hours, size and date, and say why a pack cannot be "
        "used; or remove packs that you made.",
        epilog="example: overheard packs remove music",
    )
    parser.add_argument(
        "action", nargs="?", choices=("list", "remove"), default="list", help="list (default) or remove packs"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="the packs to remove")
    parser.add_argument("--json", action="store_true", help="print one JSON object per pack and line")
    parser.set_defaults(parser=parser)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """List or remove packs."""
    if args.action == "remove":
        if not args.names:
            args.parser.error("the name of the pack is missing, as in `overheard packs remove NAME`")
        for name in args.names:
            print(f"removed {one_line(str(remove(name, settings)))}")
        return 0
    if args.names:
        args.parser.error("`overheard packs list` takes no names")
    from overheard.catalogue.selection import pack_paths

    model = _model(settings)
    packs = [describe(path, model) for path in pack_paths(settings).values()]
    if args.json:
        for facts in packs:
            print(json.dumps(facts))
    elif packs:
        print("\n".join(to_table(packs)))
    else:
        print("no packs yet; create one with `overheard index FOLDER`")
    return 0


def describe(path: Path, model: Model | None) -> dict[str, Any]:
    """Return the JSON object of a pack; if ``usable`` is false, ``problem`` holds the reason."""
    from overheard.catalogue.pack import open_pack
    from overheard.catalogue.selection import open_for_model

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
        return {**facts, "usable": False, "problem": str(error).removeprefix(f"{path}: ")}
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
    return lines


def remove(name: str, settings: Settings) -> Path:
    """Delete a pack that the user made, and the journal of an interrupted run of `overheard index`.

    Returns
    -------
    Path
        The deleted file.

    Raises
    ------
    PackError
        If the pack does not exist, ships with overheard, or cannot be deleted.
    """
    from overheard.catalogue.layers import delete_pack
    from overheard.catalogue.names import valid_pack_name
    from overheard.catalogue.selection import shipped_packs_dir

    name = valid_pack_name(name)
    path = settings.packs_dir / f"{name}.pack"
    journal = path.with_name(f"{name}.indexing.sqlite")
    if not path.exists() and not journal.exists():
        if (shipped_packs_dir() / path.name).exists():
            raise PackError(
                f"the pack {name} ships with overheard and cannot be removed",
                "to leave it out of searches, list the packs that you want in the setting `packs`",
            )
        own = ", ".join(sorted(file.stem for file in settings.packs_dir.glob("*.pack")))
        raise PackError(f"you have no pack named {name}", f"your packs: {own}" if own else None)
    try:
        delete_pack(path)
        for file in (path.with_name(f"{path.name}.tmp"), path.with_name(f"{name}.index.json"), journal):
            file.unlink(missing_ok=True)
        path.with_name(f"{journal.name}-journal").unlink(missing_ok=True)
    except OSError as error:
        raise PackError(f"{path}: cannot be removed ({error.strerror or error})") from error
    return path


def _model(settings: Settings) -> Model | None:
    from overheard.fingerprint.model import load_model

    try:
        return load_model(settings.model_path)
    except ModelError as error:
        print(f"overheard: {one_line(str(error))}", file=sys.stderr)
        return None


def _local(created: str) -> str:
    with contextlib.suppress(ValueError, OverflowError):  # OverflowError: the year 9999 in another zone
        return f"{datetime.datetime.fromisoformat(created).astimezone():%Y-%m-%d %H:%M}"
    return one_line(created)[:16]
