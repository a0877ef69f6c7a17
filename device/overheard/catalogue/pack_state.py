"""Remember which packs the user enabled or disabled, in a small file beside the packs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

from overheard.catalogue.pack_lock import SHORT_CHANGE_S, lock_of
from overheard.errors import PackError
from overheard.files import atomic_write, create_folder, read_regular
from overheard.fingerprint.json_values import JsonValueError, as_path, get_array, parse_object
from overheard.text import one_line

_MAX_BYTES = 1 << 20
_LOCK = ".enabled.lock"  # no pack's lock has this name: packs are not hidden


@dataclasses.dataclass(frozen=True)
class PackState:
    """Names of packs. One that is in neither set follows the rule of :func:`is_enabled`."""

    enabled: frozenset[str] = frozenset()
    disabled: frozenset[str] = frozenset()

    def is_enabled(self, name: str, is_shipped: bool, has_own: bool) -> bool:
        """Return whether a pack is searched.

        Parameters
        ----------
        name : of the pack
        is_shipped : whether it ships with overheard; such a pack is enabled until there are own packs
        has_own : whether the user has packs of their own
        """
        if name in self.disabled:
            return False
        return name in self.enabled or not (is_shipped and has_own)

    def changed(self, name: str, enable: bool) -> PackState:
        """Return the state after the user enabled or disabled a pack."""
        one = frozenset((name,))
        return PackState(
            self.enabled | one if enable else self.enabled - one,
            self.disabled - one if enable else self.disabled | one,
        )

    def without(self, name: str) -> PackState:
        """Return the state after a pack was removed."""
        one = frozenset((name,))
        return PackState(self.enabled - one, self.disabled - one)


def state_path(packs_dir: Path) -> Path:
    """Return the file of the state."""
    return packs_dir / "enabled.json"


def load_state(packs_dir: Path) -> PackState:
    """Return the state; the default if the file is missing.

    Raises
    ------
    PackError
        If the file cannot be read.
    """
    path = state_path(packs_dir)
    try:
        values = parse_object(read_regular(path, _MAX_BYTES))
        enabled, disabled = (
            frozenset(as_path(name, key) for name in get_array(values, key))
            for key in ("enabled", "disabled")
        )
        return PackState(enabled, disabled)
    except FileNotFoundError:
        return PackState()
    except (OSError, JsonValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PackError(
            f"{path}: cannot be read ({one_line(reason)})", "delete it, and enable packs again"
        ) from error


def change_state(packs_dir: Path, change: Callable[[PackState], PackState]) -> None:
    """Read the state, change it and write it, while no other process changes it.

    Parameters
    ----------
    packs_dir : the folder of the user's packs; created if it does not exist
    change : returns the new state

    Raises
    ------
    PackError
        If the file cannot be read or written.
    """
    path = state_path(packs_dir)
    busy = PackError(f"{path}: another overheard process keeps changing it", "try again later")
    if change(before := load_state(packs_dir)) == before:
        return
    try:
        create_folder(packs_dir, private=True)
    except OSError as error:
        raise PackError(f"{path}: cannot be written ({error.strerror or error})") from error
    with lock_of(packs_dir / _LOCK, busy, SHORT_CHANGE_S):
        save_state(packs_dir, change(load_state(packs_dir)))


def save_state(packs_dir: Path, state: PackState) -> None:
    """Write the state atomically.

    Raises
    ------
    PackError
        If the file cannot be written.
    """
    path = state_path(packs_dir)
    values = {"enabled": sorted(state.enabled), "disabled": sorted(state.disabled)}
    try:
        with atomic_write(path, private=True) as file:
            file.write(json.dumps(values, indent=1).encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise PackError(f"{path}: cannot be written ({error.strerror or error})") from error
