"""Put downloaded files of a pack into place, in an order that shows readers the old or the new pack."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from overheard.catalogue.layer_files import layer_files, layers_folder
from overheard.errors import UpdateError
from overheard.files import create_folder, sync_folder
from overheard.updates.documents import PackFile
from overheard.updates.installed import file_path
from overheard.updates.update_plan import Plan


def place(base: Path, plan: Plan, parts: Mapping[PackFile, Path]) -> None:
    """Rename downloaded files into place, the lowest last, and delete files that are no longer used.

    Until the lowest file is in place, the others do not continue the installed ones, and readers ignore them.

    Parameters
    ----------
    base : path of the pack's base
    plan : what the pack consists of afterwards
    parts : where new files of the plan are now, unless they are in place

    Raises
    ------
    UpdateError
        If a file cannot be renamed.
    """
    try:
        for file in reversed([file for file in plan.new if file in parts]):
            target = file_path(base, file)
            create_folder(target.parent, private=True)
            parts[file].replace(target)
            sync_folder(target.parent)
    except OSError as error:
        raise UpdateError(f"{base}: cannot be written ({error.strerror or error})") from error
    remove_unused(base, (*plan.kept, *plan.new))


def remove_unused(base: Path, used: Iterable[PackFile]) -> None:
    """Delete the layers that a pack does not use; what cannot be deleted stays, because nobody reads it."""
    keep = {file_path(base, file) for file in used}
    for path in layer_files(base):
        if path not in keep:
            with contextlib.suppress(OSError):
                path.unlink()
    with contextlib.suppress(OSError):
        layers_folder(base).rmdir()  # unless a layer is in it
