"""Programs that stand in for audfprint, Olaf and Panako: they read real files and write what those write.

What they answer stands in the file that FAKE_PLAN names: by the stem of a query's file, that of a track's, a
score, and the place in the track at which the query begins. FAKE_MODE makes one of them fail.
"""

from __future__ import annotations

import stat
import sys
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
said = [f"Tue Nov 24 16:05:01 2026 Reading hash table {{options['--dbase']}}"]
if mode == "garbage {name}":
    said.append("!! out of cheese")
for file, answer in answers:
    if answer is None:
        said.append(f"NOMATCH {{file}} 1.8 sec 154 raw hashes")
    else:
        track, score, at = answer
        said.append(f"Matched {{file}} 1.8 sec 154 raw hashes as {{tracks}}/{{track}}.wav at {{at:6.1f}} s "
                    f"with {{score:5d}} of {{score + 1:5d}} common hashes at rank  0")
if fork:
    print("a warning of numpy", *(f"DEBUG:audfprint2:{{line}}" for line in said), sep="\\n", file=sys.stderr)
else:
    Path(options["--opfile"]).write_text("".join(f"{{line}}\\n" for line in said))
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
FAKES = {"audfprint": AUDFPRINT, "olaf": OLAF, "panako": PANAKO}


def install(folder: Path) -> None:
    """Write all three into a folder, executable."""
    for name, text in FAKES.items():
        (folder / name).write_text(text.format(python=sys.executable, name=name))
        (folder / name).chmod(stat.S_IRWXU)
