"""Choose the files to download: the fewest bytes that lead from what is installed to the newest version."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from overheard.updates.documents import PackEntry, PackFile

_NOTHING = -1  # the serial before any base


@dataclasses.dataclass(frozen=True)
class Plan:
    """The files that a pack consists of after the update, lowest first."""

    kept: tuple[PackFile, ...]  # installed already
    new: tuple[PackFile, ...]

    @property
    def bytes(self) -> int:
        """Size of the new files."""
        return sum(file.size for file in self.new)


def chain(files: Sequence[PackFile]) -> tuple[PackFile, ...]:
    """Return the files that are in use of those of one lineage: a base, then layers without a gap."""
    base = next((file for file in files if file.base), None)
    if base is None:
        return ()
    used = [base]
    for file in sorted((file for file in files if not file.base), key=lambda file: (file.first, -file.last)):
        if file.first == used[-1].last + 1:
            used.append(file)
    return tuple(used)


def plan(entry: PackEntry, installed: Sequence[PackFile]) -> Plan | None:
    """Choose the files to download for a pack.

    Parameters
    ----------
    entry : the pack in the index
    installed : files of the entry's lineage that are installed and in use, lowest first; empty if none are

    Returns
    -------
    Plan or None
        None if the repository's files do not lead to the newest version.
    """
    # The cheapest way to reach each serial: (bytes, number of installed files kept, files to download).
    best: dict[int, tuple[int, int, tuple[PackFile, ...]]] = {_NOTHING: (0, 0, ())}
    for number, file in enumerate(installed, 1):
        best[file.last] = (0, number, ())
    # Sorted by their end, so that each way is final before a file continues it: a file ends after it begins.
    for file in sorted(entry.files, key=lambda file: (file.last, file.first)):
        before = best.get(_NOTHING if file.base else file.first - 1)
        if before is None or file.last > entry.last:
            continue
        cost = before[0] + file.size
        if file.last not in best or cost < best[file.last][0]:
            best[file.last] = (cost, before[1], (*before[2], file))
    if entry.last not in best:
        return None
    _, n_kept, new = best[entry.last]
    return Plan(tuple(installed[:n_kept]), new)
