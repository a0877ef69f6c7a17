"""Olaf (Joren Six): triplets of spectral peaks in a B-tree, https://github.com/JorenSix/Olaf.

Its README documents the commands and the configuration; cli/olaf_cli_output.zig and
tests/golden/output_snapshot.txt show the rows that `query` prints.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from overheard_bench.peers.base import (
    Answers,
    Candidate,
    Features,
    Peer,
    PeerError,
    Setting,
    stored_bytes,
    write_list,
)

HEADER = "query_index"
COLUMNS = 11


class Olaf(Peer):
    """The default setting."""

    name = "Olaf"
    variable = "OLAF"
    commands = ("olaf",)
    how_to_install = (
        "ffmpeg, zig, a clone of https://github.com/JorenSix/Olaf, and there: make && sudo make install"
    )
    settings = (Setting("Olaf"),)
    features = Features(offline=True, own_music=True, always_on=True)  # `olaf microphone`

    def store(self, setting: Setting, tracks: Sequence[Path], folder: Path) -> int:
        """Index the tracks into an LMDB database."""
        configuration = folder / ".olaf" / "olaf_config.json"
        configuration.parent.mkdir()
        database = folder / "db"
        folders = {"db_folder": f"{database}/", "cache_folder": f"{folder / 'cache'}/"}
        configuration.write_text(json.dumps(folders), encoding="utf-8")
        self._run("store", write_list(folder / "tracks.txt", tracks), folder)
        files = list(database.glob("data.mdb"))
        if not files:
            raise PeerError(f"{self.name} store did not write {database / 'data.mdb'}")
        return stored_bytes(files)

    def query(self, setting: Setting, queries: Sequence[Path], folder: Path) -> Answers:
        """Look up all queries in one process."""
        out = self._run("query", write_list(folder / "queries.txt", queries), folder)
        return self.best_of_each(self.parse(out.splitlines()), queries)

    def _run(self, command: str, files: Path, folder: Path) -> str:
        # Olaf reads its configuration, which sets the database folder, from the home folder.
        home = {"HOME": str(folder)}
        return self.run([command, "--threads", str(self.jobs), str(files)], folder, home).stdout

    def parse(self, lines: Iterable[str]) -> Iterator[tuple[str, Candidate | None]]:
        """Read the rows that `query` prints; a match count of 0 means no match. Raises PeerError."""
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
                raise self.unexpected(line) from error
            match = Candidate(Path(row[7]).stem, float(count), reference_s - start_s)
            yield query, match if count > 0 else None
