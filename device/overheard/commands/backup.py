"""`overheard backup`: save history, settings and packs in one file."""

from __future__ import annotations

import argparse
from pathlib import Path

from overheard import settings as settings_module
from overheard.commands.arguments import whole_number
from overheard.commands.passphrase import add_passphrase_file, read_passphrase
from overheard.errors import OverheardError
from overheard.settings import Settings
from overheard.text import one_line, plural, size


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "backup",
        help="save history, settings and packs in one file",
        description="Save the history, the settings and the subscriptions in one file, also while `overheard "
        "listen` runs. `overheard restore` restores them.",
        epilog="example: overheard backup /mnt/usb --keep 7",
    )
    parser.add_argument(
        "path",
        nargs="?",
        type=Path,
        metavar="FILE",
        help="file to write, which is replaced if it exists; or a folder, in which the file gets a name "
        "with the date (default: the folder backups in the data folder)",
    )
    parser.add_argument(
        "--keep",
        type=whole_number(10_000),
        metavar="N",
        help="delete all but the newest N backups in the folder",
    )
    parser.add_argument("--packs", action="store_true", help="include your own packs, which may be large")
    parser.add_argument("--encrypt", action="store_true", help="encrypt the backup with a passphrase")
    add_passphrase_file(parser, "; encrypts too")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Write the backup, then delete old ones."""
    from overheard.backup.archive import default_path, rotate, write_backup

    path: Path = args.path or settings.data_dir / "backups"
    in_folder = args.path is None or path.is_dir()
    if args.keep is not None and not in_folder:
        raise OverheardError("--keep needs a folder of backups", "create the folder, or leave FILE out")
    if args.keep == 0:
        raise OverheardError("--keep must be at least 1")
    encrypted = args.encrypt or args.passphrase_file is not None
    passphrase = read_passphrase(args.passphrase_file, confirm=True) if encrypted else None
    file = default_path(path) if in_folder else path
    config = args.config or settings_module.default_config_path()
    sizes = write_backup(file, settings, config, args.packs, passphrase)
    contents = ", ".join(sorted(sizes)) or "nothing to save"
    print(f"{one_line(str(file))}: {contents} ({size(sum(sizes.values()))})")
    if args.keep is not None:
        old = rotate(path, args.keep)
        if old:
            print(f"{plural(len(old), 'old backup')} deleted")
    return 0
