"""Panako (Joren Six): peaks of a constant-Q transform, robust to speed, https://github.com/JorenSix/Panako.

The commands and how KEY=VALUE overrides the configuration stand in its README, the keys in
src/main/java/be/panako/util/Key.java, the rows of `query` in `printQueryResult` of cli/Panako.java, those of
`store` in cli/Store.java, all at github.com/JorenSix/Panako.
"""

from __future__ import annotations

import re
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

HEADER = "Index;"
COLUMNS = 13
CHATTER = re.compile(r"Processing \d+ queries on \d+ seperate threads\.")
STORED = re.compile(r"\d+/\d+;(?P<file>[^;]+);[^;]*;[^;]*;[^;]*")
STORE_HEADER = "Audiofile;"


class Panako(Peer):
    """The PANAKO strategy, at which also queries of less than five seconds may be answered."""

    name = "Panako"
    variable = "PANAKO"
    commands = ("panako",)
    how_to_install = (
        "ffmpeg, a JDK, a clone of https://github.com/JorenSix/Panako, and there: "
        "./gradlew shadowJar install; then the panako script on the PATH or --panako ~/.panako/panako.jar"
    )
    # As it comes, a match must last 5 s (3 s in the configuration file): no shorter query could be named.
    settings = (Setting("Panako", ("PANAKO_MIN_MATCH_DURATION=0",)),)

    def store(self, setting: Setting, tracks: Sequence[Path], folder: Path) -> int:
        """Index into an LMDB database."""
        out = self._run("store", write_list(folder / "tracks.txt", tracks), setting, folder)
        stored = set(self.parse_store(out.splitlines()))
        missing = [path.name for path in tracks if path.name not in stored]
        if missing:
            raise PeerError(f"{self.name} store left out {len(missing)} files, the first {missing[0]}")
        return stored_bytes((folder / "db").glob("data.mdb"))

    def query(self, setting: Setting, queries: Sequence[Path], folder: Path) -> Answers:
        """Ask for all of them in one process."""
        out = self._run("query", write_list(folder / "queries.txt", queries), setting, folder)
        return self.complete(self.parse(out.splitlines()), queries)

    def _run(self, command: str, files: Path, setting: Setting, folder: Path) -> str:
        ours = [
            "STRATEGY=PANAKO",
            f"PANAKO_LMDB_FOLDER={folder / 'db'}",
            "PANAKO_CACHE_TO_FILE=FALSE",
            "PANAKO_USE_CACHED_PRINTS=FALSE",
            f"AVAILABLE_PROCESSORS={self.jobs}",
        ]
        return self.run([command, *ours, *setting.options, str(files)], folder).stdout

    def parse_store(self, lines: Iterable[str]) -> Iterator[str]:
        """Read what `store` says: the name of each file that it stored. Raises PeerError."""
        for line in lines:
            if found := STORED.fullmatch(line):
                yield found["file"]
            elif line and not line.startswith(STORE_HEADER):
                raise self.not_understood(line)

    def parse(self, lines: Iterable[str]) -> Iterator[tuple[str, Candidate | None]]:
        """Read the rows of `query`; one whose match is `null` says that there is none. Raises PeerError."""
        for line in lines:
            if not line or line.startswith(HEADER) or CHATTER.fullmatch(line):
                continue
            row = [field.strip() for field in line.split(";")]
            try:
                if len(row) != COLUMNS:
                    raise ValueError(f"{len(row)} columns")
                start_s, reference_s, score = float(row[3]), float(row[7]), float(row[9])
            except ValueError as error:
                raise self.not_understood(line) from error
            found = Candidate(Path(row[5]).stem, score, reference_s - start_s)
            yield Path(row[2]).stem, None if row[5] == "null" else found
