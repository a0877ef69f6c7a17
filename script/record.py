"""Record terminal sessions of overheard as SVG pictures; `script/record` runs this."""

from __future__ import annotations

import html
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
DATA_FOLDER = "~/.local/share/overheard"  # drawn instead of the temporary folder of a recording
COLUMNS = 100
FIRST_LINE_S = 1.0  # in an animation, from the command to the first line of its output
LINE_S = 0.25  # and from line to line
FONTS = "'Fira Code', 'DejaVu Sans Mono', Menlo, Consolas, monospace"
WEB_FONT = re.compile(r"@font-face\s*\{.*?\}\s*", re.DOTALL)
SPACE = "&#160;"
TEXT = re.compile(
    r'<text class="(?P<style>[^"]*-r\d+)" x="(?P<x>[^"]*)" y="(?P<y>[^"]*)" textLength="(?P<length>[^"]*)" '
    r'clip-path="(?P<clip>url\(#[^"]*-line-(?P<line>\d+)\))">(?P<text>[^<]*)</text>'
)
# While its delay lasts, a line is hidden. Programs that cannot animate SVG show all lines.
ANIMATION = """
    @keyframes appear { from { visibility: hidden } to { visibility: visible } }
    @media (prefers-reduced-motion: no-preference) { .later { animation: appear 1ms step-end backwards } }
    """
THEME = TerminalTheme(
    (24, 26, 31),
    (220, 223, 228),
    [(40, 44, 52), (224, 108, 117), (152, 195, 121), (229, 192, 123), (97, 175, 239), (198, 120, 221),
     (86, 182, 194), (220, 223, 228)],
)  # fmt: skip


def main() -> int:
    """Record all pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="overheard-") as name:
        output = run(["demo"], ROOT, {"OVERHEARD_DATA_DIR": name})
        save("demo", draw("./script/demo", output.replace(name, DATA_FOLDER), "demo", animated=True))
        evening = Path(name, "demo")
        for picture, arguments in (("identify", ["identify", "evening.wav"]), ("history", ["history"])):
            output = run(arguments, evening, {"OVERHEARD_DATA_DIR": str(evening)})
            save(picture, draw(f"overheard {' '.join(arguments)}", output, picture))
    return 0


def run(arguments: list[str], folder: Path, variables: dict[str, str]) -> str:
    """Run `overheard` in a folder and return its standard output, with the escape sequences of colours."""
    environment = {**os.environ, **variables, "FORCE_COLOR": "1", "COLORTERM": "truecolor", "PYTHONUTF8": "1"}
    environment["OVERHEARD_MODEL"] = "overheard"  # the pictures must not depend on this machine
    # Relative paths would not survive the change of folder.
    paths = [str(Path(path).resolve()) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    command = [str(Path(sys.executable).with_name("overheard")), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def draw(command: str, output: str, name: str, animated: bool = False) -> str:
    """Return the SVG of a terminal that shows a command and its output.

    Parameters
    ----------
    command : shown after the prompt and as the title
    output : text with escape sequences
    name : makes the names of styles unique, so that pictures can share a page
    animated : whether the lines appear one after the other
    """
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), color_system="truecolor")
    console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
    for line in output.rstrip("\n").split("\n"):
        console.print(Text.from_ansi(line.rstrip()), soft_wrap=True)
    svg = console.export_svg(title=command, theme=THEME, unique_id=f"overheard-{name}")
    # Pictures load nothing from elsewhere, so the web font is replaced by fonts that the reader may have.
    svg = WEB_FONT.sub("", svg).replace("font-family: Fira Code, monospace", f"font-family: {FONTS}")
    if animated:
        svg = svg.replace("</style>", f"{ANIMATION}</style>")
    svg = TEXT.sub(lambda match: _text(match, animated), svg)
    return "".join(f"{line.rstrip()}\n" for line in svg.splitlines() if line.strip())


def _text(match: re.Match[str], animated: bool) -> str:
    """Return a text element that starts at its first letter: some SVG renderers drop leading spaces."""
    text = match["text"].rstrip("\n")
    stripped = re.sub(f"^({SPACE})+", "", text)
    if not stripped:
        return ""
    n_spaces = (len(text) - len(stripped)) // len(SPACE)
    cell = float(match["length"]) / len(html.unescape(match["text"]))
    x = float(match["x"]) + n_spaces * cell
    length = len(html.unescape(stripped)) * cell
    line = int(match["line"])
    style, delay = match["style"], ""
    if animated and line:
        style = f"{style} later"
        delay = f' style="animation-delay: {FIRST_LINE_S + (line - 1) * LINE_S:.2f}s"'
    return (
        f'<text class="{style}"{delay} x="{x:.1f}" y="{match["y"]}" textLength="{length:.1f}" '
        f'clip-path="{match["clip"]}">{stripped}</text>\n'
    )


def save(picture: str, svg: str) -> None:
    """Write a picture to docs/pictures."""
    path = PICTURES / f"{picture}.svg"
    path.write_text(svg, encoding="utf-8")
    print(path.relative_to(ROOT), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
