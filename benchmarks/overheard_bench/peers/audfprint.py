"""audfprint (Dan Ellis): landmark pairs in a hash table, https://github.com/dpwe/audfprint.

USAGE in audfprint.py documents the options, `file_match_to_msgs` in audfprint_match.py the output. audfprint2
on PyPI is a fork for Python 3.11 and later. It prints the same lines, but as log messages on stderr.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
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

MATCHED = re.compile(
    r"Matched (?P<query>.+) [\d.]+ sec \d+ raw hashes as (?P<track>.+) at +(?P<at>-?[\d.]+) s "
    r"with +(?P<score>\d+) of +\d+ (?:common )?hashes(?: at rank +\d+)?"
)
NO_MATCH = re.compile(r"NOMATCH:? (?P<query>.+) [\d.]+ sec \d+ raw hashes")
OTHER_LINE = re.compile(
    r"(\w{3} \w{3} [ \d]\d [\d:]{8} \d{4} )?(Reading hash table|Loading hash table|File extension is"
    r"|Read fprints for|Analyzed|Processed|find_peaks: Warning)\b"
)
LOG = re.compile(r"DEBUG:audfprint2?:")


class Audfprint(Peer):
    """The default setting, and a dense one: more landmarks, for the index at four sub-frame shifts."""

    name = "audfprint"
    variable = "AUDFPRINT"
    commands = ("audfprint", "audfprint.py")
    how_to_install = (
        "ffmpeg, and pip install audfprint2 or a clone of https://github.com/dpwe/audfprint "
        "and --audfprint audfprint.py"
    )
    settings = (
        Setting("audfprint"),
        Setting("audfprint, dense", ("--density", "70", "--shifts", "4")),
    )
    features = Features(offline=True, own_music=True, always_on=False)

    @cached_property
    def _version(self) -> str:
        return self.run(["--version"], Path.cwd()).stdout.strip()

    def version(self) -> str:
        """Return the output of --version."""
        return self._version

    @property
    def _is_fork(self) -> bool:
        return "audfprint2" in self._version

    def store(self, setting: Setting, tracks: Sequence[Path], folder: Path) -> int:
        """Index the tracks into one file, a compressed hash table."""
        self.run(self._arguments("new", write_list(folder / "tracks.txt", tracks), setting, folder), folder)
        database = folder / "audfprint.pklz"
        if not database.is_file():
            raise PeerError(f"{self.name} new did not write {database.name}")
        return stored_bytes([database])

    def query(self, setting: Setting, queries: Sequence[Path], folder: Path) -> Answers:
        """Look up all queries in one process, which reads the table once."""
        arguments = self._arguments("match", write_list(folder / "queries.txt", queries), setting, folder)
        answers = folder / "answers.txt"
        if self._is_fork:
            log = self.run(arguments, folder).stderr.splitlines()
            lines = [LOG.sub("", line) for line in log if LOG.match(line)]
        else:
            self.run([*arguments, "--opfile", str(answers)], folder)
            lines = answers.read_text(encoding="utf-8").splitlines()
        return self.best_of_each(self.parse(lines), queries)

    def _arguments(self, command: str, files: Path, setting: Setting, folder: Path) -> list[str]:
        # The fork expects the files before the options. Its log lines mix if several processes write them.
        output = ["--verbose", "--ncores", "1"] if self._is_fork else ["--ncores", str(self.jobs)]
        database = ["--dbase", str(folder / "audfprint.pklz")]
        return [command, str(files), "--list", *database, *output, *setting.options]

    def parse(self, lines: Iterable[str]) -> Iterator[tuple[str, Candidate | None]]:
        """Read the lines that `match` prints. Raises PeerError."""
        for line in lines:
            if match := MATCHED.fullmatch(line):
                track, score, offset_s = Path(match["track"]).stem, float(match["score"]), float(match["at"])
                yield Path(match["query"]).stem, Candidate(track, score, offset_s)
            elif match := NO_MATCH.fullmatch(line):
                yield Path(match["query"]).stem, None
            elif line and not OTHER_LINE.match(line):
                raise self.unexpected(line)
