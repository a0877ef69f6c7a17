"""Take the pictures of the web page in docs/pictures; `script/record --page` runs this. It needs Chromium.

The music is that of the demonstration, with invented albums and covers. A listener hears one piece, so the
explanation of its play is real. The other plays, and what the page shows as playing, are invented.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import re
import shutil
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image
from record import PICTURES, run

from overheard.events import MusicUnknown, Play, PlayEnded, PlayStarted, Status, Track
from overheard.fingerprint.frontend import FloatArray
from overheard.hear.decode import load
from overheard.history.marks import mark_favourite
from overheard.history.play_rows import read_plays
from overheard.history.writer import HistorySink
from overheard.live import server as live_server
from overheard.live.picture import MelPicture
from overheard.live.server import LiveServer
from overheard.recognize.open import open_recognizer
from overheard.recognize.recognizer import Recognizer
from overheard.settings import Settings

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
RATE, BLOCK = 8000, 4000
COVER = 600  # pixels
NOW = datetime.datetime.now().astimezone().replace(hour=21, minute=44, second=20, microsecond=0)
HOURS = (
    7.3,
    7.35,
    7.4,
    7.6,
    12.5,
    12.55,
    12.6,
    17.6,
    17.8,
    18.1,
    18.4,
    18.6,
    19.2,
    19.5,
    19.9,
    20.4,
    20.7,
    21.3,
)
ALBUMS = {  # colours of the cover: two corners, and a disc
    "Slow Tides": ((24, 52, 214), (52, 132, 140), (236, 214, 128)),
    "Northern Rooms": ((168, 50, 26), (226, 130, 74), (250, 232, 200)),
    "Night Shift": ((42, 20, 74), (150, 58, 120), (244, 176, 150)),
    "The Orchard": ((22, 92, 76), (120, 160, 90), (244, 240, 220)),
}
COMPLETE = "[...document.images].every((i) => i.complete || i.getBoundingClientRect().top > innerHeight)"
# Processor seconds per hour of catalogue music, as in benchmarks/results/schedule.json.
COST = {"gate": 0.9, "frontend": 2.9, "detector": 1.0, "network": 5.0, "search": 2.8, "match": 1.3}


def main() -> int:
    """Take all pictures."""
    if CHROMIUM is None:
        print("Chromium is not installed: apt install chromium", file=sys.stderr)
        return 2
    # The clock of the page is NOW too.
    live_server.time = types.SimpleNamespace(time=NOW.timestamp)  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory(prefix="overheard-") as name:
        run(["demo"], Path(name), {"OVERHEARD_DATA_DIR": name})
        folder = Path(name, "demo")
        for path in folder.glob("history.sqlite*"):
            path.unlink()
        recognizer = open_recognizer(Settings(data_dir=folder, model="overheard"), ["demo"])
        n_tracks = len(recognizer.index.first_segment) - 1
        found = [recognizer.index.track(number) for number in range(n_tracks)]
        tracks = [dataclasses.replace(track, album=list(ALBUMS)[i % 4]) for i, track in enumerate(found)]
        write_history(folder / "history.sqlite", recognizer, tracks)
        evening = load(folder / "evening.wav")
        for track in tracks:
            write_cover(Path(track.path), *ALBUMS[track.album])
        with served(folder) as address, opened(address) as browser:
            with live(folder) as server:
                take_all(browser, server, tracks, evening)
            with live(folder, ("kitchen", "living room")) as server:
                say(server, tracks[1], 82.0, "kitchen")
                say(server, tracks[2], 32.0, "living room")
                page = tab(browser, (1100, 320))
                page.goto("/")
                save(page, "web-rooms")
    return 0


# What was played


def write_history(path: Path, recognizer: Recognizer, tracks: Sequence[Track]) -> None:
    """Write two days of plays; the last one is that of a listener that hears its whole track."""
    rng = np.random.default_rng(3)
    midnight = NOW.replace(hour=0, minute=0, second=0).timestamp()
    sink = HistorySink(path, "default")
    for day in (-1, 0):
        for hour in HOURS:
            start = midnight + day * 86_400 + hour * 3600
            for i in rng.permutation(len(tracks))[: int(rng.integers(1, 4))]:
                track = tracks[i]
                play = Play(track, 0.0, track.duration_s - 1, 0.0, 12.0, float(rng.uniform(0.97, 1.0)))
                handle(sink, [PlayStarted(play), PlayEnded(play)], start)
                start += track.duration_s + 4
    handle(sink, [MusicUnknown(0.0, 95.0, 7, 2, midnight)], midnight + 20.2 * 3600)
    track = tracks[0]
    listener = recognizer.listener()
    waveform = load(track.path)
    events = [
        event
        for at in range(0, len(waveform), BLOCK)
        for event in listener.process(waveform[at : at + BLOCK])
    ]
    for event in [*events, *listener.finish()]:
        if isinstance(event, PlayStarted | PlayEnded):
            event = dataclasses.replace(event, play=dataclasses.replace(event.play, track=track))
            handle(sink, [event], NOW.timestamp() - 240)
    sink.close()
    for row in read_plays(path)[0][-4::2]:
        mark_favourite(path, row.id)


def handle(sink: HistorySink, events: Sequence[Any], start: float) -> None:
    """Write events of a source whose clock was 0 at this Unix time."""
    for event in events:
        sink.handle(event, start)


def write_cover(path: Path, first: Sequence[int], second: Sequence[int], disc: Sequence[int]) -> None:
    """Replace an audio file by a second of MP3 with a cover in its tags."""
    y, x = np.mgrid[:COVER, :COVER] / COVER
    share = ((x + y) / 2)[..., None]
    pixels = np.array(first) * (1 - share) + np.array(second) * share
    inside = np.hypot(x - 0.66, y - 0.56) < 0.22
    pixels[inside] = disc
    codec = av.CodecContext.create("png", "w")
    codec.width, codec.height, codec.pix_fmt, codec.framerate = COVER, COVER, "rgb24", 1
    frame = av.VideoFrame.from_ndarray(pixels.astype(np.uint8), format="rgb24")
    picture = b"".join(bytes(packet) for packet in (*codec.encode(frame), *codec.encode(None)))
    with av.open(str(path), "w", format="mp3") as out:
        stream = out.add_stream("libmp3lame", rate=22050, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 22050), np.int16), format="s16p", layout="mono")
        silence.sample_rate = 22050
        for packet in (*stream.encode(silence), *stream.encode(None)):
            out.mux(packet)
    body = b"\0image/png\0\3\0" + picture
    tag = b"APIC" + len(body).to_bytes(4, "big") + b"\0\0" + body
    size = bytes(len(tag) >> shift & 127 for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\x03\0\0" + size + tag + path.read_bytes())


# The page


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Run `overheard web` for a data folder; yield its address."""
    program = str(Path(sys.executable).with_name("overheard"))
    environment = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}
    command = [program, "--data-dir", str(folder), "web", "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        lines = process.stderr or ()
        yield next(filter(None, (re.search(r"http://\S+", line) for line in lines)))[0]
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def opened(address: str) -> Iterator[Any]:
    """Open Chromium; yield a function that returns a context for the page."""
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*options, "--disable-gpu"])
        yield lambda **settings: browser.new_context(base_url=address, locale="en-GB", **settings)
        browser.close()


@contextlib.contextmanager
def live(folder: Path, rooms: Sequence[str] = ()) -> Iterator[LiveServer]:
    """Serve the live socket of a `listen` that does not run."""
    server = LiveServer(folder / "live.sock", rooms=rooms)
    yield server
    server.close()


def say(server: LiveServer, track: Track, position_s: float, room: str = "") -> None:
    """Report that a track plays, at this position."""
    play = Play(track, 0.0, position_s, 0.0, 12.0, 0.99)
    cost = {stage: round(seconds * 3, 2) for stage, seconds in COST.items()}
    status = Status("playing", -24.0, -58.0, True, 0.98, play, cost, 3 * 3600.0, 0.0, 3.2, room)
    server.handle(PlayStarted(play, room), NOW.timestamp() - position_s)
    server.publish_status(status)


def tab(browser: Any, size: tuple[int, int], scale: float = 1, dark: bool = False) -> Any:
    """Return a page of this size whose clock shows NOW."""
    context = browser(
        viewport={"width": size[0], "height": size[1]},
        device_scale_factor=scale,
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
        is_mobile=size[0] < 500,
    )
    page = context.new_page()
    page.clock.install(time=NOW)
    return page


def save(page: Any, picture: str) -> None:
    """Write a picture to docs/pictures when all covers are there, and close the page."""
    page.wait_for_timeout(1500)
    for _ in range(60):
        if page.evaluate(COMPLETE):
            break
        page.wait_for_timeout(500)
    path = PICTURES / f"{picture}.png"
    page.screenshot(path=path)
    with Image.open(path) as image:  # 256 colours take half the space
        image.convert("RGB").quantize(256).save(path, optimize=True)
    print(f"docs/pictures/{picture}.png", file=sys.stderr)
    page.context.close()


def take_all(browser: Any, server: LiveServer, tracks: Sequence[Track], evening: FloatArray) -> None:
    """Take the pictures of a `listen` without rooms."""

    def visit(path: str, size: tuple[int, int], scale: float = 1, dark: bool = False) -> Any:
        say(server, tracks[1], 38.0)  # the page forgets what it has not heard of for some seconds
        page = tab(browser, size, scale, dark)
        page.goto(path)
        return page

    save(visit("/", (1180, 800)), "web-now")
    page = visit("/history", (1100, 860))
    page.get_by_role("button", name=re.compile(f"Details of {re.escape(tracks[0].title)}")).first.click()
    page.get_by_role("button", name="Why this track?").first.click()
    save(page, "web-history")
    page = visit("/history", (1100, 560))
    page.get_by_role("button", name="Most played").click()
    save(page, "web-top")
    save(visit("/history", (390, 780), scale=1.5), "web-phone")
    save(visit("/now", (1024, 768), dark=True), "web-tablet")
    page = visit("/sound", (880, 800), dark=True)
    page.wait_for_timeout(1000)  # until the page has asked for the picture
    server.publish_mel(MelPicture().process(evening[: 60 * RATE]))
    save(page, "web-sound")


if __name__ == "__main__":
    sys.exit(main())
