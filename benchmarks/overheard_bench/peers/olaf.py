"""Olaf (Joren Six): triplets of spectral peaks in a B-tree, https://github.com/JorenSix/Olaf.

The commands and the configuration stand in its README, the rows of `query` in cli/olaf_cli_output.zig and
tests/golden/output_snapshot.txt, all at github.com/JorenSix/Olaf.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from overheard_bench.peers.base import (
    Answers,
    Candidate,
    Peer,
    PeerError,
    Setting,
    stored_bytes,
    write_list,
)

HEADER = "query_index"
COLUMNS = 11


class Olaf(Peer):
    """Its default setting."""

    name = "Olaf"
    variable = "OLAF"
    commands = ("olaf",)
    how_to_install = (
        "ffmpeg, zig, a clone of https://github.com/JorenSix/Olaf, and there: make && sudo make install"
    )
    settings = (Setting("Olaf"),)

    def store(self, setting: Setting, tracks: Sequence[Path], folder: Path) -> int:
        """Index into an LMDB database."""
        configuration = folder / ".olaf" / "olaf_config.json"
        configuration.parent.mkdir()
        database = folder / "db"
        folders = {"db_folder": f"{database}/", "cache_folder": f"{folder / 'cache'}/"}
        configuration.write_text(json.dumps(folders), encoding="utf-8")
        self._run("store", write_list(folder / "tracks.txt", tracks), folder)
        files = list(database.glob("data.mdb"))
        if not files:
            raise PeerError(f"{self.name} store wrote no {database / 'data.mdb'}")
        return stored_bytes(files)

    def query(self, setting: Setting, queries: Sequence[Path], folder: Path) -> Answers:
        """Ask for all of them in one process."""
        out = self._run("query", write_list(folder / "queries.txt", queries), folder)
        return self.complete(self.parse(out.splitlines()), queries)

    def _run(self, command: str, files: Path, folder: Path) -> str:
        # It looks for its configuration, and so for its database, under the home folder.
        home = {"HOME": str(folder)}
        return self.run([command, "--threads", str(self.jobs), str(files)], folder, home).stdout

    def parse(self, lines: Iterable[str]) -> Iterator[tuple[str, Candidate | None]]:
        """Read the rows of `query`; one of no matches says that there are none. Raises PeerError."""
        for line in lines:
            if not line or line.startswith(HEADER):
                continue
            try:
                row = [field.strip() for field in next(csv.reader([line], skipinitialspace=True))]
                if len(row) != COLUMNS:
                    raise ValueError(f"{len(row)} columns")
                query, count = Path(row[2]).stem, int(row[4])
                start_s, reference_s = float(row[5]), float(row[9])
            except ValueError as error:
                raise self.not_understood(line) from error
            found = Candidate(Path(row[7]).stem, float(count), reference_s - start_s)
            yield query, found if count > 0 else None
