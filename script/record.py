"""Draw what overheard really prints as SVG pictures; `script/record` runs this."""

from __future__ import annotations

import html
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
WIDTH = 100
# Without the web font: pictures load nothing from elsewhere.
SVG = re.sub(r"@font-face\s*\{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "font-family: Fira Code, monospace",
    "font-family: 'Fira Code', 'DejaVu Sans Mono', Menlo, Consolas, monospace",
)
SPACE = "&#160;"
TEXT = re.compile(r'(<text class="[^"]*-r\d+" )x="([^"]*)"([^>]*)textLength="([^"]*)"([^>]*>)([^<]*)</text>')
THEME = TerminalTheme(
    (24, 26, 31),
    (220, 223, 228),
    [(40, 44, 52), (224, 108, 117), (152, 195, 121), (229, 192, 123), (97, 175, 239), (198, 120, 221),
     (86, 182, 194), (220, 223, 228)],
)  # fmt: skip


def main() -> int:
    """Record every picture."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="overheard-") as name:
        folder = Path(name)
        data = {"OVERHEARD_DATA_DIR": str(folder)}
        draw("demo", "./script/demo", run(["demo"], ROOT, data), str(folder), "~/.local/share/overheard")
        evening = folder / "demo"
        for picture, arguments in (("identify", ["identify", "evening.wav"]), ("history", ["history"])):
            text = run(["--data-dir", ".", *arguments], evening, {})
            draw(picture, " ".join(["overheard --data-dir .", *arguments]), text)
    return 0


def run(arguments: list[str], folder: Path, variables: dict[str, str]) -> str:
    """Return what a command prints on standard output, colours included."""
    environment = {**os.environ, **variables, "FORCE_COLOR": "1", "COLORTERM": "truecolor", "PYTHONUTF8": "1"}
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    installed = Path(sys.executable).with_name("overheard")
    program = [str(installed)] if installed.exists() else [sys.executable, "-m", "overheard"]
    command = [*program, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def draw(picture: str, command: str, output: str, folder: str = "", shown_as: str = "") -> None:
    """Write one picture: the command, and below it what it printed; `folder` is drawn as `shown_as`."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), color_system="truecolor")
    console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
    if folder:
        output = output.replace(folder, shown_as)
    for line in output.rstrip("\n").split("\n"):
        console.print(Text.from_ansi(line.rstrip()), soft_wrap=True)
    svg = console.export_svg(title=command, theme=THEME, code_format=SVG, unique_id=f"overheard-{picture}")
    path = PICTURES / f"{picture}.svg"
    path.write_text(TEXT.sub(_indent, svg), encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {len(output.splitlines())} lines", file=sys.stderr)


def _indent(found: re.Match[str]) -> str:
    """Start a text at its first letter: some programs that draw SVG drop leading spaces."""
    before, x, between, length, after, text = found.groups()
    bare = re.sub(f"^({SPACE})+", "", text)
    if not bare:
        return ""
    count = (len(text) - len(bare)) // len(SPACE)
    width = float(length) / len(html.unescape(text))
    left, rest = float(x) + count * width, float(length) - count * width
    return f'{before}x="{left:.1f}"{between}textLength="{rest:.1f}"{after}{bare}</text>'


if __name__ == "__main__":
    sys.exit(main())
