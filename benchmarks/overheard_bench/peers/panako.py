"""Panako (Joren Six): peaks of a constant-Q transform, robust to speed changes, https://github.com/JorenSix/Panako.

Its README documents the commands and the KEY=VALUE arguments that override the configuration. The keys are in
src/main/java/be/panako/util/Key.java. `printQueryResult` in cli/Panako.java prints the rows of `query`,
cli/Store.java those of `store`.
"""

from __future__ import annotations

import re
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

HEADER = "Index;"
COLUMNS = 13
OTHER_LINE = re.compile(r"Processing \d+ queries on \d+ seperate threads\.")
STORED = re.compile(r"\d+/\d+;(?P<file>[^;]+);[^;]*;[^;]*;[^;]*")
STORE_HEADER = "Audiofile;"


class Panako(Peer):
    """The PANAKO strategy, set to identify queries shorter than five seconds too."""

    name = "Panako"
    variable = "PANAKO"
    commands = ("panako",)
    how_to_install = (
        "ffmpeg, a JDK, a clone of https://github.com/JorenSix/Panako, and there: "
        "./gradlew shadowJar install; then the panako script on the PATH or --panako ~/.panako/panako.jar"
    )
    # By default a match lasts at least 5 s (3 s in the configuration file), which excludes shorter queries.
    settings = (Setting("Panako", ("PANAKO_MIN_MATCH_DURATION=0",)),)
    features = Features(offline=True, own_music=True, always_on=True)  # `panako monitor`

    def store(self, setting: Setting, tracks: Sequence[Path], folder: Path) -> int:
        """Index the tracks into an LMDB database."""
        out = self._run("store", write_list(folder / "tracks.txt", tracks), setting, folder)
        stored = set(self.parse_store(out.splitlines()))
        missing = [path.name for path in tracks if path.name not in stored]
        if missing:
            raise PeerError(f"{self.name} store skipped {len(missing)} files, the first is {missing[0]}")
        return stored_bytes((folder / "db").glob("data.mdb"))

    def query(self, setting: Setting, queries: Sequence[Path], folder: Path) -> Answers:
        """Look up all queries in one process."""
        out = self._run("query", write_list(folder / "queries.txt", queries), setting, folder)
        return self.best_of_each(self.parse(out.splitlines()), queries)

    def _run(self, command: str, files: Path, setting: Setting, folder: Path) -> str:
        configuration = [
            "STRATEGY=PANAKO",
            f"PANAKO_LMDB_FOLDER={folder / 'db'}",
            "PANAKO_CACHE_TO_FILE=FALSE",
            "PANAKO_USE_CACHED_PRINTS=FALSE",
            f"AVAILABLE_PROCESSORS={self.jobs}",
        ]
        return self.run([command, *configuration, *setting.options, str(files)], folder).stdout

    def parse_store(self, lines: Iterable[str]) -> Iterator[str]:
        """Read the lines that `store` prints: the name of each stored file. Raises PeerError."""
        for line in lines:
            if match := STORED.fullmatch(line):
                yield match["file"]
            elif line and not line.startswith(STORE_HEADER):
                raise self.unexpected(line)

    def parse(self, lines: Iterable[str]) -> Iterator[tuple[str, Candidate | None]]:
        """Read the rows that `query` prints; `null` as the path means no match. Raises PeerError."""
        for line in lines:
            if not line or line.startswith(HEADER) or OTHER_LINE.fullmatch(line):
                continue
            row = [field.strip() for field in line.split(";")]
            try:
                if len(row) != COLUMNS:
                    raise ValueError(f"{len(row)} columns")
                start_s, reference_s, score = float(row[3]), float(row[7]), float(row[9])
            except ValueError as error:
                raise self.unexpected(line) from error
            match = Candidate(Path(row[5]).stem, score, reference_s - start_s)
            yield Path(row[2]).stem, None if row[5] == "null" else match
