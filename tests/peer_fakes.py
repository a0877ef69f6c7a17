"""Programs that stand in for audfprint, fpcalc, Olaf and Panako: they read files and print the same lines.

The file in FAKE_PLAN contains their answers: by the stem of a query's file, the stem of the track's file, a
score, and the position in the track at the start of the query. FAKE_MODE makes one of the programs fail.
"""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterable
from pathlib import Path

FAKE = """#!{python}
import json, os, sys, time, wave
from pathlib import Path
command, arguments = sys.argv[1], sys.argv[2:]
mode = os.environ.get("FAKE_MODE", "")
if mode == "crash {name}":
    print("reading\\nSegmentation fault", file=sys.stderr)
    sys.exit(139)
if mode == "hang {name}":
    print("waiting", file=sys.stderr, flush=True)
    time.sleep(60)
plan = json.loads(Path(os.environ["FAKE_PLAN"]).read_text())
lists = [Path(a) for a in arguments if a.endswith(".txt")]
files = [Path(f) for f in lists[0].read_text().split()] if lists else []
for file in files:
    with wave.open(str(file)) as samples:
        assert samples.getframerate() == 8000 and samples.getnframes() > 0
answers = [(f, plan.get(f.stem)) for f in files]
if mode == "forget {name}":
    answers.pop()
if mode == "garbage {name}":
    print("!! out of cheese", flush=True)
tracks = files[0].parent.parent / "tracks" if files else None
"""
AUDFPRINT = (
    FAKE
    + """
fork = mode == "fork {name}"
if command == "--version":
    print("audfprint2-enhanced 20251119" if fork else 20150406)
    sys.exit()
options = dict(zip(arguments[:-1], arguments[1:]))
assert arguments[1] == "--list" and ("--verbose" in options) == fork
if command == "new":
    Path(options["--dbase"]).write_bytes(bytes(2800))
    sys.exit()
assert command == "match" and Path(options["--dbase"]).is_file()
lines = [f"Tue Nov 24 16:05:01 2026 Reading hash table {{options['--dbase']}}"]
if mode == "garbage {name}":
    lines.append("!! out of cheese")
for file, answer in answers:
    if answer is None:
        lines.append(f"NOMATCH {{file}} 1.8 sec 154 raw hashes")
    else:
        track, score, at = answer
        lines.append(f"Matched {{file}} 1.8 sec 154 raw hashes as {{tracks}}/{{track}}.wav at {{at:6.1f}} s "
                     f"with {{score:5d}} of {{score + 1:5d}} common hashes at rank  0")
if fork:
    print("a warning of numpy", *(f"DEBUG:audfprint2:{{line}}" for line in lines), sep="\\n", file=sys.stderr)
else:
    Path(options["--opfile"]).write_text("".join(f"{{line}}\\n" for line in lines))
"""
)
# A track's items depend on its name alone. A query with an answer gets the items at that position.
FPCALC = (
    FAKE
    + """
import random
if command == "-version":
    print("fpcalc version 1.5.1 (FFmpeg Lavc59.18.100 Lavf59.16.100 SwR4.3.100)")
    sys.exit()
assert command == "-raw" and arguments[:2] == ["-length", "0"]
path, item_s = Path(arguments[2]), 1365 / 11025
with wave.open(str(path)) as samples:
    duration_s = samples.getnframes() / samples.getframerate()
answer = plan.get(path.stem) if path.parent.name == "queries" else [path.stem, 0, 0]
print("ERROR: Error decoding audio frame (End of file)", file=sys.stderr)
if answer is None:
    print("ERROR: Empty fingerprint", file=sys.stderr)
    sys.exit(2)
track, _, at = answer
generator = random.Random(track)
first, n_items = round(at / item_s), int(duration_s / item_s)
items = [generator.getrandbits(32) for _ in range(200)][first:first + n_items]
print(f"DURATION={{int(duration_s)}}\\nFINGERPRINT={{','.join(map(str, items))}}")
sys.exit(3)
"""
)
OLAF = (
    FAKE
    + """
database = Path(json.loads(Path(os.environ["HOME"], ".olaf/olaf_config.json").read_text())["db_folder"])
if command == "store":
    database.mkdir()
    (database / "data.mdb").write_bytes(bytes(1400))
    sys.exit()
assert command == "query" and (database / "data.mdb").is_file()
for number, (file, answer) in enumerate(answers, 1):
    print("query_index, total_queries, query_path, query_offset, match_count, query_start, query_stop, "
          "path, match_identifier, reference_start, reference_stop")
    start = f"{{number}} ,{{len(answers)}} ,{{file}}, 0.000, "
    if answer is None:
        print(start + "0 ,0.000 ,0.000, , 0, 0.000, 0.000")
    else:
        track, score, at = answer
        for count in (score, score - 1):
            print(start + f"{{count}} ,0.240 ,1.900, {{tracks}}/{{track}}.wav, 3824301295, "
                  f"{{at + 0.24:.3f}}, {{at + 1.9:.3f}}")
"""
)
PANAKO = (
    FAKE
    + """
settings = dict(a.split("=") for a in arguments if "=" in a)
database = Path(settings["PANAKO_LMDB_FOLDER"])
if command == "store":
    database.mkdir()
    (database / "data.mdb").write_bytes(bytes(700))
    print("Audiofile;Audio duration;Fingerprinting duration;ratio")
    for number, file in enumerate(files, 1):
        print(f"{{number}}/{{len(files)}};{{file.name}};00:00:14;210 ms;66.67")
    sys.exit()
assert command == "query" and settings["STRATEGY"] == "PANAKO"
print(f"Processing {{len(files)}} queries on 2 seperate threads.")
print("Index; total ; Query path;Query start (s);Query stop (s); Match path;Match id; Match start (s); "
      "Match stop (s); Match score; Time factor (%); Frequency factor(%), Seconds without match (%)")
for number, (file, answer) in enumerate(answers, 1):
    start = f"{{number}} ; {{len(answers)}} ; {{file}} ; "
    if answer is None:
        print(start + "0.000 ; 0.000 ; null ; null ; -1.000 ; -1.000 ; -1 ; -1.000 % ; -1.000 %; 0.00")
    else:
        track, score, at = answer
        print(start + f"0.240 ; 1.900 ; {{tracks}}/{{track}}.wav ; 1599863414 ; {{at + 0.24:.3f}} ; "
              f"{{at + 1.9:.3f}} ; {{score}} ; 1.000 % ; 1.001 %; 1.00")
"""
)
FAKES = {"audfprint": AUDFPRINT, "fpcalc": FPCALC, "olaf": OLAF, "panako": PANAKO}
ONE_RUN = ("audfprint", "olaf", "panako")  # peers.py starts fpcalc once for each file, which takes long


def install(folder: Path, names: Iterable[str] = ONE_RUN) -> None:
    """Write programs into a folder and make them executable."""
    for name in names:
        (folder / name).write_text(FAKES[name].format(python=sys.executable, name=name))
        (folder / name).chmod(stat.S_IRWXU)
