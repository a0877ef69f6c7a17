"""Draw an explanation as SVG: similarity over time, and the diagonal of position over time."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from html import escape

from overheard.text import one_line, short_clock

WIDTH, HEIGHT, LEFT, RIGHT, GAP = 860, 560, 70, 20, 60
TOP, PANEL = 56, 200
INK, TRACK, GRID, LEVEL, SHADE = "#222222", "#1f6feb", "#dddddd", "#b35900", "#f3f6fa"
HALO = 'stroke="white" stroke-width="3" paint-order="stroke"'
_TICKS = 6
Point = tuple[float, float, float]  # second in the recording or play, position in the track, similarity


@dataclasses.dataclass(frozen=True)
class Picture:
    """What is drawn.

    Attributes
    ----------
    title, subtitle : above the panels
    points : at least one
    levels : names and similarities that are drawn as horizontal lines
    window_s : start and end of the sound that was matched, in the recording, which is shaded
    """

    title: str
    subtitle: str
    points: Sequence[Point]
    levels: Sequence[tuple[str, float]] = ()
    window_s: tuple[float, float] | None = None

    def to_svg(self) -> str:
        """Return the text of an SVG file."""
        points = sorted(self.points)
        times = [at for at, _, _ in points]
        x = _Scale(min(times), max(times), LEFT, WIDTH - RIGHT)
        below = TOP + PANEL + GAP
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'font-family="sans-serif" font-size="12" fill="{INK}">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            _text(LEFT, 22, self.title, 'font-size="16" font-weight="bold"'),
            _text(LEFT, 42, self.subtitle),
            *([] if self.window_s is None else [_shade(self.window_s, x, top) for top in (TOP, below)]),
            *_similarities(points, self.levels, x),
            *_diagonal(points, x, below),
            *(
                _text(x(at), below + PANEL + 18, short_clock(at), 'text-anchor="middle"')
                for at in _ticks(min(times), max(times))
            ),
            _text(LEFT, TOP + PANEL + 18, "similarity of each aligned segment"),
            _text(
                *(LEFT, below + PANEL + 36),
                "position in the track; a track that plays on is a straight diagonal"
                + ("" if self.window_s is None else "; the window that was matched is shaded"),
            ),
            "</svg>",
        ]
        return "\n".join(parts) + "\n"


def _shade(window_s: tuple[float, float], x: _Scale, top: float) -> str:
    """Return a rectangle behind a panel."""
    left, right = (min(max(x(at), LEFT), WIDTH - RIGHT) for at in window_s)
    size = f'width="{right - left:.1f}" height="{PANEL}"'
    return f'<rect x="{left:.1f}" y="{top}" {size} fill="{SHADE}"/>'


def _similarities(points: Sequence[Point], levels: Sequence[tuple[str, float]], x: _Scale) -> list[str]:
    """Return the upper panel."""
    y = _Scale(0.0, 1.0, TOP + PANEL, TOP)
    parts = []
    for fifth in range(6):
        parts += [_rule(y(fifth / 5)), _label(y(fifth / 5), f"{fifth / 5:.1f}")]
    parts += [_rule(y(_limited(level)), LEVEL) for _, level in levels]
    path = " ".join(f"{x(at):.1f},{y(_limited(similarity)):.1f}" for at, _, similarity in points)
    line = f'fill="none" stroke="{TRACK}" stroke-width="{2 if len(points) > 1 else 6}" stroke-linecap="round"'
    end = path if len(points) == 1 else ""  # a line from a point to itself is a dot
    parts.append(f'<polyline points="{path} {end}" {line}/>')
    highest = max((level for _, level in levels), default=0.0)
    for name, level in levels:  # the highest one above its line, the others below: they may be close
        height = y(_limited(level)) + (-5 if level == highest else 13)
        place = f'text-anchor="end" fill="{LEVEL}" {HALO}'
        parts.append(_text(WIDTH - RIGHT, height, f"{name} {level:.2f}", place))
    return parts


def _diagonal(points: Sequence[Point], x: _Scale, top: float) -> list[str]:
    """Return the lower panel, from this height."""
    positions = [position for _, position, _ in points]
    low, high = min(positions), max(positions)
    y = _Scale(low, high, top + PANEL, top)
    parts = []
    for position in _ticks(low, high):
        parts += [_rule(y(position)), _label(y(position), short_clock(position))]
    for at, position, similarity in points:
        place = f'cx="{x(at):.1f}" cy="{y(position):.1f}"'
        opacity = 0.15 + 0.85 * _limited(similarity)
        parts.append(f'<circle {place} r="4" fill="{TRACK}" opacity="{opacity:.2f}"/>')
    return parts


def _limited(similarity: float) -> float:
    return min(max(similarity, 0.0), 1.0)


class _Scale:
    """Map a range of values to a range of pixels."""

    def __init__(self, low: float, high: float, first: float, last: float) -> None:
        self._low, self._span = low, (high - low) or 1.0
        self._first, self._last = first, last

    def __call__(self, value: float) -> float:
        return self._first + (self._last - self._first) * (value - self._low) / self._span


def _ticks(low: float, high: float) -> list[float]:
    step = next((one for one in (1, 2, 5, 10, 30, 60, 120) if (high - low) / one <= _TICKS), 300)
    return [float(step * i) for i in range(int(-(-low // step)), int(high // step) + 1)]


def _rule(y: float, colour: str = GRID) -> str:
    return f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="{colour}"/>'


def _label(y: float, text: str) -> str:
    return _text(LEFT - 8, y + 4, text, 'text-anchor="end"')


def _text(x: float, y: float, text: str, attributes: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{escape(one_line(text))}</text>'
