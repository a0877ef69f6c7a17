"""Draw the progress of indexing in a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from overheard.index.report import Progress as IndexProgress


@contextlib.contextmanager
def progress_bar() -> Iterator[Callable[[IndexProgress], None] | None]:
    """Yield a function that draws the progress on standard error, or None if that is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left"),
        # Averaged over minutes, because the decoding speed differs much between files.
        TimeRemainingColumn(elapsed_when_finished=False),
    )
    with Progress(
        *columns, console=Console(stderr=True), speed_estimate_period=300, transient=True
    ) as display:
        task = display.add_task("searching for audio files", total=None)

        def show(state: IndexProgress) -> None:
            failed = f", {state.failed} unreadable" if state.failed else ""
            description = f"{state.done}/{state.total} files{failed}"
            # A total of 0 bytes would never be complete.
            display.update(
                task, description=description, completed=state.bytes_done, total=state.bytes_total or 1
            )

        yield show
