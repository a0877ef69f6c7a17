"""Publish packs as a signed repository: a static folder for any web server."""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from overheard.catalogue.pack import Pack, open_pack
from overheard.errors import UpdateError
from overheard.fingerprint.json_values import JsonValueError
from overheard.text import one_line, plural, size
from overheard.updates.documents import PackEntry, pack_name
from overheard_export.deltas import add_pack
from overheard_export.repository import ROOT_LIFE, Repository, opened
from overheard_export.signing import SigningKey, load_key, new_key

MAX_DAYS = 3650


def publish(
    repository: Repository,
    packs: Sequence[Path],
    key: SigningKey,
    root_key: SigningKey | None = None,
    old_key: SigningKey | None = None,
    remove: Sequence[str] = (),
    days: int = 90,
    now: datetime.datetime | None = None,
) -> list[PackEntry]:
    """Add packs to a repository, or renew its index without a change. Returns all packs of the repository.

    Parameters
    ----------
    repository : see :func:`overheard_export.repository.opened`
    packs : paths of packs; other packs of the repository stay as they are
    key, root_key, old_key : see :meth:`Repository.set_keys`
    remove : names of packs to take out
    days : after which subscribers refuse the index, if it is not renewed
    now : current time, for tests

    Raises
    ------
    PackError
        If a pack cannot be read.
    UpdateError
        If a pack must not be published, or a key is missing.
    """
    now = (now or datetime.datetime.now(datetime.timezone.utc)).replace(microsecond=0)
    entries = _kept(repository, remove, now)
    for path in _different(packs):
        pack = open_pack(path)
        name = _public_name(pack)
        _check_privacy(pack)
        entries[name, pack.digest] = add_pack(repository, pack, name, entries.get((name, pack.digest)))
    repository.set_keys(key, root_key, old_key, now)
    return list(repository.publish(tuple(entries.values()), key, now, datetime.timedelta(days=days)).packs)


def _kept(
    repository: Repository, remove: Sequence[str], now: datetime.datetime
) -> dict[tuple[str, str], PackEntry]:
    """Return the packs that the repository has, without those to remove, by name and model."""
    if repository.index is None:
        return {}
    if now < repository.index.created:
        raise UpdateError("the clock shows a time before the last publication", "set the clock")
    old = repository.index.packs
    if unknown := set(remove) - {entry.name for entry in old}:
        raise UpdateError(f"the repository has no pack {one_line(min(unknown))}")
    return {(entry.name, entry.model): entry for entry in old if entry.name not in remove}


def _different(packs: Sequence[Path]) -> Sequence[Path]:
    """Return the packs. Raises UpdateError if one of them would replace another."""
    names = [path.stem for path in packs]
    if again := [name for name in names if names.count(name) > 1]:
        raise UpdateError(f"two of the packs have the name {one_line(again[0])}", "rename one of the files")
    return packs


def _public_name(pack: Pack) -> str:
    try:
        return pack_name(pack.name)
    except JsonValueError as error:
        raise UpdateError(f"{pack.path}: {error}", "rename the file") from error


def _check_privacy(pack: Pack) -> None:
    """Raise UpdateError if a pack contains paths of the files of this machine."""
    for track in pack.tracks:
        for path in (track.path, *(also[0] for also in track.also)):
            if PurePosixPath(path).is_absolute() or PureWindowsPath(path).is_absolute():
                raise UpdateError(
                    f"{pack.path} contains the paths of your files, such as {one_line(path)}",
                    f"make a copy to share: overheard packs export {shlex.quote(pack.path.stem)} SHARED.pack",
                )


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``overheard-export publish``."""
    built = parser()
    args = built.parse_args(argv)
    if args.new_key is not None:
        if args.packs or args.out or args.key:
            built.error("--new-key takes no other arguments")
        key = new_key(args.new_key)
        print(f"{one_line(str(args.new_key))}: keep this file secret, and a copy of it in a safe place")
        print(f"fingerprint: {key.fingerprint}")
        return 0
    if args.out is None or args.key is None:
        built.error("--out and --key are missing")
    if not 1 <= args.days <= MAX_DAYS:
        built.error(f"--days must be from 1 to {MAX_DAYS}")
    key = load_key(args.key)
    root_key, old_key = (load_key(path) if path else None for path in (args.root_key, args.old_key))
    with opened(args.out) as repository:
        entries = publish(repository, args.packs, key, root_key, old_key, args.remove, args.days)
        _report(repository, entries)
    return 0


def _report(repository: Repository, entries: Sequence[PackEntry]) -> None:
    for entry in entries:
        n_bytes = sum(file.size for file in entry.files)
        files = f"{plural(len(entry.files), 'file')}, {size(n_bytes)}"
        print(f"{entry.name}: {plural(entry.tracks, 'track')}, version {entry.last}, {files}")
    if repository.index is None or repository.root is None:
        return
    print(f"version {repository.index.version}, to be renewed before {repository.index.expires:%Y-%m-%d}")
    left = repository.root.expires - repository.index.created
    if left < ROOT_LIFE / 4:
        remedy = "publish with --root-key before that"
        print(f"the root expires on {repository.root.expires:%Y-%m-%d}; {remedy}", file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    """Return the parser of ``overheard-export publish``."""
    built = argparse.ArgumentParser(
        prog="overheard-export publish",
        description="Publish packs as a signed repository: a static folder for any web server. Publishing "
        "again adds only what is new. Without a PACK, the index is renewed.",
        epilog="example: overheard-export publish shared.pack --out public --key my.key",
    )
    built.add_argument("packs", nargs="*", type=Path, metavar="PACK", help="packs to add or to update")
    built.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="folder of the repository, which is created if it does not exist",
    )
    built.add_argument("--key", type=Path, metavar="FILE", help="private key that signs the index")
    built.add_argument(
        "--root-key", type=Path, metavar="FILE", help="key that signs the list of keys (default: --key)"
    )
    built.add_argument(
        "--old-key", type=Path, metavar="FILE", help="the previous root key, when you replace it"
    )
    built.add_argument(
        "--remove",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="remove these packs from the repository",
    )
    built.add_argument(
        "--days", type=int, default=90, metavar="N", help="days until the index expires (default: 90)"
    )
    built.add_argument("--new-key", type=Path, metavar="FILE", help="only create a new private key")
    return built
