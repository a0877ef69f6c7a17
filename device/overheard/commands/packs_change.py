"""The actions of `overheard packs` that change packs: enable, disable, remove, export, merge and compact."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path

from overheard.commands.packs_show import find_packs
from overheard.errors import PackError
from overheard.process import tell
from overheard.settings import Settings
from overheard.text import one_line, plural, size


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the actions."""
    for name, about in (("enable", "search these packs"), ("disable", "do not search these packs")):
        parser = actions.add_parser(
            name,
            help=about,
            description=f"{about[0].upper()}{about[1:]} from now on, also in a running `overheard listen`. "
            "The setting `packs` and --pack override this.",
        )
        parser.add_argument("names", nargs="+", metavar="NAME", help="the packs")
        parser.set_defaults(run_action=run_enable, enable=name == "enable")
    _add_files(actions)
    remove = actions.add_parser(
        "remove",
        help="delete packs",
        description="Delete packs that you made or downloaded.",
        epilog="example: overheard packs remove music",
    )
    remove.add_argument("names", nargs="+", metavar="NAME", help="the packs")
    remove.set_defaults(run_action=run_remove)


def _add_files(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the actions that write packs."""
    export = actions.add_parser(
        "export",
        help="write a pack to share",
        description="Write one file that you can give away: paths become relative, and sizes, modification "
        "times and the paths of copies are left out. It contains no audio.",
        epilog="example: overheard packs export music shared.pack",
    )
    export.add_argument("name", metavar="NAME", help="the pack")
    export.add_argument("file", type=Path, metavar="FILE.pack", help="the file to write")
    export.add_argument(
        "--base", metavar="FOLDER", help="paths become relative to it (default: the folder of all tracks)"
    )
    export.set_defaults(run_action=run_export)
    merge = actions.add_parser(
        "merge",
        help="write several packs into one",
        description="Write the tracks of several packs into one. The packs stay as they are.",
        epilog="example: overheard packs merge music vinyl --into all",
    )
    merge.add_argument("names", nargs="+", metavar="NAME", help="packs: names or .pack files")
    merge.add_argument("--into", required=True, metavar="NAME", help="the new pack, or one of the packs")
    merge.set_defaults(run_action=run_merge)
    compact = actions.add_parser(
        "compact",
        help="write a pack and its layers into one file",
        description="Write the layers of packs, which `overheard index` adds, into one file. This saves the "
        "space of tracks that were removed or replaced. `overheard index` merges layers by itself.",
    )
    compact.add_argument("names", nargs="+", metavar="NAME", help="the packs")
    compact.set_defaults(run_action=run_compact)


def run_enable(args: argparse.Namespace, settings: Settings) -> int:
    """Remember that packs are enabled or disabled."""
    from overheard.catalogue.pack_state import PackState, change_state
    from overheard.catalogue.selection import pack_paths

    known = pack_paths(settings)
    for name in args.names:
        if name not in known:
            raise PackError(f"no pack named {name}", f"choose one of {', '.join(known)}" if known else None)

    def changed(state: PackState) -> PackState:
        for name in args.names:
            state = state.changed(name, args.enable)
        return state

    change_state(settings.packs_dir, changed)
    for name in args.names:
        print(f"{'enabled' if args.enable else 'disabled'} {one_line(name)}")
    if settings.packs:
        tell(f"overheard: the setting packs overrides this; it selects {', '.join(settings.packs)}")
    return 0


def run_export(args: argparse.Namespace, settings: Settings) -> int:
    """Write a pack to share."""
    from overheard.catalogue.pack import PACK_SUFFIX, open_pack
    from overheard.catalogue.share import export_pack
    from overheard.files import create_folder

    (path,) = find_packs(settings, [args.name]).values()
    target = (
        args.file if args.file.suffix == PACK_SUFFIX else args.file.with_name(args.file.name + PACK_SUFFIX)
    )
    if target.exists():
        raise PackError(f"{target}: already exists", "choose another name, or delete it")
    create_folder(target.parent)
    with _locked([target]):
        export_pack(open_pack(path), target, args.base)
    exported = open_pack(target)
    first = next((track.path for track in exported.tracks), "")
    print(f"{one_line(str(target))}: {plural(exported.n_tracks, 'track')}, {size(exported.bytes)}")
    if first:
        print(f"its paths look like this: {one_line(first)}")
    return 0


def run_merge(args: argparse.Namespace, settings: Settings) -> int:
    """Write several packs into one."""
    from overheard.catalogue.names import valid_pack_name
    from overheard.catalogue.pack import PACK_SUFFIX, open_pack
    from overheard.catalogue.share import merge_packs
    from overheard.commands.index import check_shipped
    from overheard.files import create_folder
    from overheard.index.file_hashes import merge_hashes

    target = settings.packs_dir / f"{valid_pack_name(args.into)}{PACK_SUFFIX}"
    check_shipped(target)
    sources = list(find_packs(settings, args.names).values())
    if target.exists() and target not in sources:
        raise PackError(f"{target}: already exists", f"choose another name, or merge {target.stem} as well")
    create_folder(settings.packs_dir, private=True)
    with _locked([target, *(path for path in sources if path.parent == settings.packs_dir)]):
        merge_packs([open_pack(path) for path in sources], target)
        merge_hashes(sources, target)
    merged = open_pack(target)
    print(f"{one_line(target.stem)}: {plural(merged.n_tracks, 'track')}, {size(merged.bytes)}")
    return 0


def run_compact(args: argparse.Namespace, settings: Settings) -> int:
    """Write packs and their layers into one file each."""
    from overheard.catalogue.layers import compact
    from overheard.catalogue.pack import open_pack

    for name, path in find_packs(settings, args.names).items():
        with _locked([path]):
            before = open_pack(path).bytes
            compact(path)
        print(f"{one_line(name)}: {size(before)} before, {size(open_pack(path).bytes)} now")
    return 0


def run_remove(args: argparse.Namespace, settings: Settings) -> int:
    """Delete packs."""
    from overheard.updates.state import repository_of

    for name in args.names:
        print(f"removed {one_line(str(remove(name, settings)))}")
        if url := repository_of(settings, name):
            url = one_line(url)
            print(
                "`overheard packs update` downloads it again; "
                f"to prevent that: overheard packs unsubscribe {url}"
            )
    return 0


def remove(name: str, settings: Settings) -> Path:
    """Delete a pack that the user made, and what an interrupted command has left of it.

    Returns
    -------
    Path
        The deleted file.

    Raises
    ------
    PackError
        If the pack does not exist, ships with overheard, is being changed, or cannot be deleted.
    """
    from overheard.catalogue.names import valid_pack_name
    from overheard.catalogue.pack_state import change_state
    from overheard.catalogue.selection import shipped_packs_dir
    from overheard.files import partials

    name = valid_pack_name(name)
    path = settings.packs_dir / f"{name}.pack"
    exists = path.exists() or path.is_symlink()  # a link to nowhere is in the list too
    interrupted = [path.with_name(f"{name}.indexing.sqlite"), *partials(path)]
    if not exists and not any(file.exists() for file in interrupted):
        if (shipped_packs_dir() / path.name).exists():
            raise PackError(
                f"the pack {name} ships with overheard and cannot be removed",
                f"to leave it out of searches: overheard packs disable {name}",
            )
        own = ", ".join(sorted(file.stem for file in settings.packs_dir.glob("*.pack")))
        raise PackError(f"you have no pack named {name}", f"your packs: {own}" if own else None)
    with _locked([path]):
        try:
            _delete(path)
        except OSError as error:
            raise PackError(f"{path}: cannot be removed ({error.strerror or error})") from error
    change_state(settings.packs_dir, lambda state: state.without(name))
    return path


def _delete(path: Path) -> None:
    """Delete a pack and what is kept beside it. Raises OSError."""
    from overheard.catalogue.layers import delete_pack

    delete_pack(path)
    suffixes = ("index.json", "index.sqlite", "index.sqlite-journal")  # the lock has deleted temporary files
    journal = ("indexing.sqlite-journal", "indexing.sqlite")
    for suffix in (*suffixes, *journal):
        path.with_name(f"{path.stem}.{suffix}").unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(paths: list[Path]) -> Iterator[None]:
    """Hold the locks of packs."""
    from overheard.catalogue.pack_lock import pack_lock

    with contextlib.ExitStack() as stack:
        for path in sorted(set(paths)):
            stack.enter_context(pack_lock(path))
        yield
