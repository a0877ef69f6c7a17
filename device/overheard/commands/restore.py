"""`overheard restore`: restore a backup."""

from __future__ import annotations

import argparse
from pathlib import Path

from overheard import settings as settings_module
from overheard.commands.arguments import confirmed
from overheard.commands.passphrase import add_passphrase_file, read_passphrase
from overheard.errors import OverheardError
from overheard.settings import Settings
from overheard.text import one_line, size


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "restore",
        help="restore a backup",
        description="Check a backup, show what it contains, ask, and replace history, settings and packs "
        "with those in the backup. `overheard listen` can keep running. Packs that are not in the backup "
        "stay.",
        epilog="example: overheard restore ~/overheard-2026-11-28-120000.backup",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="a file that `overheard backup` wrote")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--extract",
        type=Path,
        metavar="FOLDER",
        help="only write the files to this new folder",
    )
    add_passphrase_file(parser)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Check the backup, and restore it."""
    from overheard.backup.restore import is_encrypted, restore, unpacked

    passphrase = None
    if is_encrypted(args.file):
        passphrase = read_passphrase(args.passphrase_file, confirm=False)
    config = args.config or settings_module.default_config_path()
    if args.extract is not None:
        return extract(args.file, args.extract, passphrase)
    with unpacked(args.file, settings.data_dir, passphrase) as files:
        print("This will replace:")
        for name, path in sorted(files.items()):
            target = config if name == "config.toml" else settings.data_dir / name
            print(f"  - {one_line(str(target))} ({size(path.stat().st_size)})")
        if not args.yes and not confirmed():
            print("nothing was changed")
            return 1
        restore(files, settings, config)
    print("restored")
    return 0


def extract(file: Path, folder: Path, passphrase: str | None) -> int:
    """Write the files of a backup to a new folder."""
    from overheard.backup.restore import unpacked

    if folder.exists():
        raise OverheardError(f"{folder} exists", "choose a folder that does not exist")
    with unpacked(file, folder.parent, passphrase) as files:
        staging = folder.parent / ".restore"
        staging.rename(folder)
    print(f"{one_line(str(folder))}: {', '.join(sorted(files))}")
    return 0
