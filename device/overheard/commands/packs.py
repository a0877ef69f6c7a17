"""`overheard packs`: what can be recognized, and how to forget it."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import sys
from pathlib import Path
from typing import Any

from overheard.commands.index import pack_name
from overheard.errors import ModelError, PackError
from overheard.settings import Settings
from overheard.text import one_line, size


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "packs",
        help="list the packs, or remove one",
        description="Lists the packs: name, tracks, hours, size, when made, and whether they can be used. "
        "`overheard packs remove NAME` deletes one of yours.",
    )
    parser.add_argument("action", nargs="?", choices=("list", "remove"), default="list", help="what to do")
    parser.add_argument("names", nargs="*", metavar="NAME", help="packs to remove")
    parser.add_argument("--json", action="store_true", help="one JSON object for each pack, one to a line")
    parser.set_defaults(parser=parser)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """List or remove packs."""
    if args.action == "remove":
        if not args.names:
            args.parser.error("which pack? overheard packs remove NAME")
        for name in args.names:
            print(f"removed {one_line(str(remove(name, settings)))}")
        return 0
    if args.names:
        args.parser.error("to list packs takes no names")
    digest = _model_digest(settings)
    from overheard.catalogue.selection import pack_paths

    found = [describe(path, digest) for path in pack_paths(settings).values()]
    if args.json:
        for facts in found:
            print(json.dumps(facts))
    elif found:
        print("\n".join(to_table(found)))
    else:
        print("no packs yet: `overheard index FOLDER` makes one")
    return 0


def describe(path: Path, digest: str | None) -> dict[str, Any]:
    """Return what `--json` prints of a pack; ``usable`` is false with the reason in ``problem``."""
    from overheard.catalogue.pack import open_pack

    facts: dict[str, Any] = {"name": path.stem, "path": str(path)}
    try:
        pack = open_pack(path)
        facts["tracks"] = len(pack.tracks)
        facts["hours"] = round(pack.hours, 3)
        facts["bytes"] = pack.bytes
        facts["created"] = str(pack.manifest["created"])
        open_pack(path, digest)
    except PackError as error:
        return {**facts, "usable": False, "problem": str(error).removeprefix(f"{path}: ")}
    except KeyError as error:
        return {**facts, "usable": False, "problem": f"its manifest lacks {error}"}
    return {**facts, "usable": True, "problem": None}


def to_table(found: list[dict[str, Any]]) -> list[str]:
    """Write a line for each pack, and below it why it cannot be used."""
    width = max(len("name"), *(len(one_line(facts["name"])) for facts in found))
    lines = [f"{'name':<{width}}  {'tracks':>7}  {'hours':>6}  {'size':>8}  {'made':<16}  where"]
    for facts in found:
        name, where = f"{one_line(facts['name']):<{width}}", one_line(facts["path"])
        if "created" in facts:
            measures = f"{facts['tracks']:>7,}  {facts['hours']:>6.1f}  {size(facts['bytes']):>8}"
            lines.append(f"{name}  {measures}  {_local(facts['created']):<16}  {where}")
        else:
            lines.append(f"{name}  {'?':>7}  {'?':>6}  {'?':>8}  {'?':<16}  {where}")
        if not facts["usable"]:
            lines.append(f"  not usable: {one_line(facts['problem'].removeprefix('not usable, '))}")
    return lines


def remove(name: str, settings: Settings) -> Path:
    """Delete a pack of the user's, with what an interrupted indexing left of it; return where it was.

    Raises
    ------
    PackError
        If there is none, it ships with overheard, or it cannot be deleted.
    """
    name = pack_name(name)
    path = settings.packs_dir / f"{name}.pack"
    journal = path.with_name(f"{name}.indexing.sqlite")
    if not path.exists() and not journal.exists():
        from overheard.catalogue.selection import shipped_packs_dir

        if (shipped_packs_dir() / path.name).exists():
            raise PackError(
                f"{name} ships with overheard; the setting `packs` chooses which packs are searched"
            )
        known = ", ".join(sorted(file.stem for file in settings.packs_dir.glob("*.pack")))
        raise PackError(f"there is no pack {name} of yours{f', only {known}' if known else ''}")
    try:
        for file in (path, path.with_name(f"{path.name}.tmp"), journal):
            file.unlink(missing_ok=True)
        path.with_name(f"{journal.name}-journal").unlink(missing_ok=True)
    except OSError as error:
        raise PackError(f"{path}: cannot be removed ({error.strerror or error})") from error
    return path


def _model_digest(settings: Settings) -> str | None:
    from overheard.fingerprint.model import load_model

    try:
        return load_model(settings.model_path).digest
    except ModelError as error:
        print(f"overheard: {one_line(str(error))}", file=sys.stderr)
        return None


def _local(created: str) -> str:
    with contextlib.suppress(ValueError):
        return f"{datetime.datetime.fromisoformat(created).astimezone():%Y-%m-%d %H:%M}"
    return one_line(created)[:16]
