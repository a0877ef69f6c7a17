"""audfprint (Dan Ellis): landmark pairs in a hash table, https://github.com/dpwe/audfprint.

Its options stand in the USAGE of audfprint.py, its output in `file_match_to_msgs` of audfprint_match.py, both
at github.com/dpwe/audfprint. audfprint2 on PyPI is the same program for today's Python; it writes the same
lines, but as a log on stderr.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
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

MATCHED = re.compile(
    r"Matched (?P<query>.+) [\d.]+ sec \d+ raw hashes as (?P<track>.+) at +(?P<at>-?[\d.]+) s "
    r"with +(?P<score>\d+) of +\d+ (?:common )?hashes(?: at rank +\d+)?"
)
NO_MATCH = re.compile(r"NOMATCH:? (?P<query>.+) [\d.]+ sec \d+ raw hashes")
CHATTER = re.compile(
    r"(\w{3} \w{3} [ \d]\d [\d:]{8} \d{4} )?(Reading hash table|Loading hash table|File extension is"
    r"|Read fprints for|Analyzed|Processed|find_peaks: Warning)\b"
)
LOG = re.compile(r"DEBUG:audfprint2?:")


class Audfprint(Peer):
    """Its default setting, and the dense one: more landmarks, at four sub-frame shifts in the index too."""

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

    @cached_property
    def _version(self) -> str:
        return self.run(["--version"], Path.cwd()).stdout.strip()

    def version(self) -> str:
        """Return what it prints for --version."""
        return self._version

    @property
    def _is_fork(self) -> bool:
        return "audfprint2" in self._version

    def store(self, setting: Setting, tracks: Sequence[Path], folder: Path) -> int:
        """Index into one file, a compressed hash table."""
        self.run(self._arguments("new", write_list(folder / "tracks.txt", tracks), setting, folder), folder)
        database = folder / "audfprint.pklz"
        if not database.is_file():
            raise PeerError(f"{self.name} new wrote no {database.name}")
        return stored_bytes([database])

    def query(self, setting: Setting, queries: Sequence[Path], folder: Path) -> Answers:
        """Ask for all of them in one process, which reads the table once."""
        arguments = self._arguments("match", write_list(folder / "queries.txt", queries), setting, folder)
        answers = folder / "answers.txt"
        if self._is_fork:
            said = self.run(arguments, folder).stderr.splitlines()
            lines = [LOG.sub("", line) for line in said if LOG.match(line)]
        else:
            self.run([*arguments, "--opfile", str(answers)], folder)
            lines = answers.read_text(encoding="utf-8").splitlines()
        return self.complete(self.parse(lines), queries)

    def _arguments(self, command: str, files: Path, setting: Setting, folder: Path) -> list[str]:
        # The fork's parser wants the files before the options; its processes garble what they log.
        how = ["--verbose", "--ncores", "1"] if self._is_fork else ["--ncores", str(self.jobs)]
        database = ["--dbase", str(folder / "audfprint.pklz")]
        return [command, str(files), "--list", *database, *how, *setting.options]

    def parse(self, lines: Iterable[str]) -> Iterator[tuple[str, Candidate | None]]:
        """Read what `match` reports. Raises PeerError."""
        for line in lines:
            if found := MATCHED.fullmatch(line):
                track, score, offset_s = Path(found["track"]).stem, float(found["score"]), float(found["at"])
                yield Path(found["query"]).stem, Candidate(track, score, offset_s)
            elif found := NO_MATCH.fullmatch(line):
                yield Path(found["query"]).stem, None
            elif line and not CHATTER.match(line):
                raise self.not_understood(line)
