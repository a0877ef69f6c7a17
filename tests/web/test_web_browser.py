"""The page in a real browser: what it shows, keyboard, screen readers, hostile titles, and its weight."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from overheard.events import MusicUnknown, Play, PlayStarted, Track
from overheard.history.writer import read_plays
from overheard.live.server import LiveServer
from web_fakes import PLAY, STATUS, TRACK, WebServer, png, web_server, write_history, write_mp3

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt install chromium)"),
]
TIMEOUT_MS = 60_000
VIEWS = ("/", "/history", "/sound", "/setup", "/now", "/login")
SCRIPT = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"
HOSTILE = Track("h" * 12, SCRIPT, "javascript:alert(1)", "\u202e</b>&lt;", "/x", "music", 90.0)


class Pauses:
    reason, until = "", None

    def __init__(self) -> None:
        self.calls: list[object] = []

    def pause(self, for_s: float | None) -> None:
        self.calls.append(for_s)

    def resume(self) -> None:
        self.calls.append("resume")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*options, "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    with web_server(tmp_path_factory.mktemp("data")) as server:
        yield server


@pytest.fixture(scope="module")
def live(web: WebServer) -> Iterator[LiveServer]:
    server = LiveServer(web.data_dir / "live.sock", pause=Pauses())
    yield server
    server.close()


@pytest.fixture
def history(web: WebServer) -> Path:
    """Yesterday's and today's plays, one with a script in its title, and unknown music."""
    for suffix in ("", "-wal", "-shm"):
        (web.data_dir / f"history.sqlite{suffix}").unlink(missing_ok=True)
    music = web.data_dir / "a.mp3"
    if not music.exists():
        write_mp3(music, png())
    now = time.time()
    covered = dataclasses.replace(TRACK, path=str(music))
    write_history(
        web.data_dir, [(covered, now - 90_000), (covered, now - 400), (HOSTILE, now - 200)], [(1, now - 300)]
    )
    return web.data_dir / "history.sqlite"


@pytest.fixture
def page(browser: Any, web: WebServer, live: LiveServer, history: Path) -> Iterator[Any]:
    """A tab; it fails the test if there was an error in the console or a request to another host."""
    live.publish_status(dataclasses.replace(STATUS, state="searching", playing=None))
    context = browser.new_context(base_url=web.url, locale="en-GB")
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    problems: list[str] = []
    page.on(
        "console",
        lambda message: problems.append(message.text) if message.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "request", lambda request: None if request.url.startswith(web.url) else problems.append(request.url)
    )
    yield page
    context.close()
    # Chromium reports answers that are errors: 404 for a track without a cover, 409 for an invalid setting.
    assert [text for text in problems if not re.search(r"status of 4(04|09)", text)] == []


def until(page: Any, expression: str) -> None:
    """Wait until an expression of JavaScript is true; the policy forbids Playwright's own way."""
    deadline = time.monotonic() + TIMEOUT_MS / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(50)


def wait_for_plays(history: Path, count: int) -> None:
    deadline = time.monotonic() + TIMEOUT_MS / 1000
    while len(read_plays(history)[0]) != count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def say(live: LiveServer, play: Play) -> None:
    live.handle(PlayStarted(play), time.time() - play.end_s)
    live.publish_status(dataclasses.replace(STATUS, playing=play))


def test_the_page_follows_what_is_heard(page: Any, live: LiveServer) -> None:
    page.goto("/")
    page.get_by_role("heading", name="Listening…").wait_for()
    say(live, PLAY)
    page.get_by_role("heading", name="Alpha").wait_for()
    assert page.locator(".artist").inner_text() == "Ann"
    assert page.get_by_text("93%").is_visible()
    assert page.get_by_text("102.0%").is_visible()
    assert "1:2" in page.locator(".times").inner_text()
    assert page.locator("#announcer").inner_text() == "Playing Alpha by Ann"
    before = page.locator(".times span").first.inner_text()
    until(page, f"document.querySelector('.times span').textContent !== {before!r}")
    live.publish_status(dataclasses.replace(STATUS, state="silence", playing=None))
    page.get_by_role("heading", name="Silence").wait_for()


def test_the_day_is_a_line_and_a_list(page: Any) -> None:
    page.goto("/")
    page.locator(".plays li").nth(2).wait_for()
    line = page.get_by_role("img", name="plays between")
    assert line.locator("rect.play, rect.unknown").count() == page.locator(".plays > li").count()
    page.get_by_role("button", name="Day before").click()
    page.get_by_role("heading", name="Yesterday").wait_for()
    assert page.get_by_role("button", name="Next day").is_enabled()


def test_a_script_in_a_title_is_text(page: Any, live: LiveServer) -> None:
    say(live, dataclasses.replace(PLAY, track=HOSTILE))
    for path in ("/", "/history", "/now"):
        page.goto(path)
        page.get_by_text("<script>").first.wait_for()
        assert page.locator("main img[src='x'], main script").count() == 0
        assert "broken" not in page.title()[:6]


def test_search_finds_plays(page: Any) -> None:
    page.goto("/history")
    page.locator(".plays li").first.wait_for()
    page.get_by_role("searchbox").fill("alph")
    until(page, "document.querySelectorAll('.plays > li').length === 2")
    page.get_by_role("searchbox").fill("nothing like it")
    page.get_by_text("No play matches the search.").wait_for()


def test_the_most_played_tracks_come_first(page: Any) -> None:
    page.goto("/history")
    page.get_by_role("button", name="Most played").click()
    page.locator(".played").first.wait_for()
    assert page.locator(".played").all_inner_texts() == ["2 \u00d7", "1 \u00d7"]
    assert page.locator(".names b").all_inner_texts()[0] == "Alpha"
    assert "last played " in page.locator(".names span").all_inner_texts()[0]
    assert page.locator(".length").all_inner_texts()[0] == "2 minutes"
    assert page.locator("main img[src='x'], main script").count() == 0
    page.get_by_role("searchbox").fill("ann alp")
    until(page, "document.querySelectorAll('.played').length === 1")
    page.get_by_role("searchbox").fill("nothing like it")
    page.get_by_text("No play matches the search.").wait_for()


def test_a_favourite_stays_one(page: Any, history: Path) -> None:
    page.goto("/history")
    star = page.get_by_role("button", name="Favourite: Alpha").first
    star.click()
    page.locator(".actions [aria-pressed=true]").wait_for()
    page.reload()
    page.get_by_role("button", name="Favourites", exact=True).click()
    until(page, "document.querySelectorAll('.plays > li').length === 1")
    assert [row.favourite for row in read_plays(history, hidden=True)[0]].count(True) == 1


def test_a_wrong_play_is_left_out_and_can_be_taken_back(page: Any, history: Path) -> None:
    page.goto("/history")
    page.get_by_role("button", name="Details of Alpha").first.click()
    page.get_by_role("button", name="This was wrong").click()
    page.get_by_role("button", name="Undo").wait_for()
    assert [row.wrong for row in read_plays(history, hidden=True)[0]].count(True) == 1
    page.get_by_role("button", name="Wrong", exact=True).click()
    until(page, "document.querySelectorAll('.plays > li').length === 1")
    page.locator(".was-wrong").get_by_role("button", name="Details of Alpha").click()
    page.get_by_role("button", name="This was wrong").click()
    page.locator(".was-wrong").wait_for(state="detached")
    assert not any(row.wrong for row in read_plays(history, hidden=True)[0])


def test_unknown_music_gets_a_name(page: Any, history: Path) -> None:
    page.goto("/history")
    page.get_by_role("button", name="Unknown music").click()
    page.get_by_role("button", name="Details of Unknown music").click()
    page.get_by_label("Title", exact=True).fill("Found")
    page.get_by_label("Artist", exact=True).fill("Ann")
    page.get_by_role("button", name="Name this music").click()
    page.get_by_text("No unknown music without a name.").wait_for()
    assert [row.title for row in read_plays(history)[0]].count("Found") == 1


def test_deleting_can_be_taken_back_for_a_moment_and_then_is_final(page: Any, history: Path) -> None:
    page.goto("/history")
    rows = page.locator(".plays > li:visible")
    until(page, "document.querySelectorAll('.plays > li').length === 3")
    for undo in (True, False):
        page.get_by_role("button", name="Details of Alpha").first.click()
        page.get_by_role("button", name="Delete", exact=True).locator("visible=true").first.click()
        page.get_by_role("button", name="Undo").wait_for()
        assert rows.count() == 2
        assert len(read_plays(history)[0]) == 3
        if undo:
            page.get_by_role("button", name="Undo").click()
            assert rows.count() == 3
            page.get_by_role("button", name="Details of Alpha").first.click()
    page.get_by_role("link", name="Setup").click()
    wait_for_plays(history, 2)


def test_leaving_the_page_deletes_what_was_to_be_deleted(page: Any, history: Path) -> None:
    page.goto("/history")
    page.get_by_role("button", name="Details of Alpha").first.click()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Undo").wait_for()
    page.goto("/login")
    wait_for_plays(history, 2)


def test_the_sound_view_shows_level_and_picture_and_pauses(page: Any, live: LiveServer) -> None:
    page.goto("/sound")
    page.get_by_role("heading", name="Input").wait_for()
    deadline = time.monotonic() + TIMEOUT_MS / 1000
    while not live.wants_mel:
        assert time.monotonic() < deadline
    live.publish_mel([[-20] * 24 + [-90] * 24] * 8)
    live.publish_status(STATUS)
    page.get_by_text("-32 dBFS, noise floor -60 dBFS").or_(page.get_by_text("-31 dBFS")).wait_for()
    until(page, "document.querySelector('canvas').width === 240")
    column = page.evaluate(
        "(() => { const c = document.querySelector('canvas');"
        " return [...c.getContext('2d').getImageData(c.width - 1, 0, 1, c.height).data]; })()"
    )
    assert column[4 * 40] > column[4 * 5]  # the low frequencies are at the bottom
    page.get_by_role("button", name="Pause for an hour").click()
    page.get_by_text("Paused for an hour").wait_for()
    assert isinstance(live._pause, Pauses)
    assert 3600 in live._pause.calls
    page.get_by_role("link", name="History").click()
    while live.wants_mel:
        assert time.monotonic() < deadline


def test_a_pack_is_switched_with_the_keyboard(page: Any, web: WebServer) -> None:
    page.goto("/setup")
    switch = page.get_by_role("switch", name="Search the pack starter")
    switch.focus()
    page.keyboard.press("Space")
    page.locator(".packs [aria-checked=false]").wait_for()
    assert web.get("/api/v1/packs").json["packs"][0]["enabled"] is False
    page.keyboard.press("Enter")
    page.locator(".packs [aria-checked=true]").wait_for()


def test_a_setting_is_saved_and_an_invalid_one_is_explained(page: Any, web: WebServer) -> None:
    page.goto("/setup")
    field = page.get_by_role("textbox", name="listen.quiet_hours")
    field.fill("late")
    field.press("Enter")
    page.get_by_text("must be like 23:00-07:00").wait_for()
    field.fill("23:00-07:00")
    field.press("Enter")
    page.get_by_text("Saved.").wait_for()
    assert 'quiet_hours = "23:00-07:00"' in (web.data_dir / "config.toml").read_text()
    (web.data_dir / "config.toml").write_text("")


def test_the_keyboard_reaches_everything_in_order(page: Any) -> None:
    page.goto("/history")
    page.locator(".plays li").nth(2).wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    names = []
    for _ in range(13):
        page.keyboard.press("Tab")
        names.append(page.evaluate("(e => e.ariaLabel || e.textContent || e.id)(document.activeElement)"))
    assert names[1:6] == ["Now", "History", "Sound", "Setup", "search"]
    assert names[6:11] == ["All", "Favourites", "Unknown music", "Wrong", "Most played"]
    page.keyboard.press("Enter")
    assert (
        page.evaluate(
            "(e => e.getAttribute('aria-expanded') || e.getAttribute('aria-pressed'))(document.activeElement)"
        )
        == "true"
    )


def test_views_have_addresses_and_the_back_button_works(page: Any) -> None:
    page.goto("/")
    page.get_by_role("link", name="Sound").click()
    page.wait_for_url("**/sound")
    assert page.evaluate("document.activeElement.id") == "main"
    assert page.locator("[aria-current=page]").inner_text() == "Sound"
    page.go_back()
    page.wait_for_url("**/")
    assert page.title() == "Now · overheard"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WebServer, LiveServer]]:
    """A page of a `listen` in two rooms: something plays in the kitchen only."""
    with web_server(tmp_path_factory.mktemp("house")) as server:
        live = LiveServer(server.data_dir / "live.sock", pause=Pauses(), rooms=("kitchen", "living room"))
        say_in(live, "kitchen", PLAY)
        say_in(live, "living room", None)
        yield server, live
        live.close()


def say_in(live: LiveServer, room: str, play: Play | None) -> None:
    if play is not None:
        live.handle(PlayStarted(play, room=room), time.time() - play.end_s)
    status = STATUS if play is not None else dataclasses.replace(STATUS, state="silence", level_db=-70.0)
    live.publish_status(dataclasses.replace(status, playing=play, room=room))


def test_each_room_is_shown(browser: Any, house: tuple[WebServer, LiveServer]) -> None:
    from axe_core_python.sync_playwright import Axe

    web, live = house
    page = browser.new_page(base_url=web.url)
    page.goto("/")
    kitchen, living = (page.get_by_role("article", name=name) for name in ("kitchen", "living room"))
    kitchen.get_by_role("heading", name="Alpha").wait_for()
    living.get_by_text("Silence").wait_for()
    until(page, "document.querySelector('.room .times').textContent.includes(':')")
    found = Axe().run(page)["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
    say_in(live, "living room", dataclasses.replace(PLAY, track=HOSTILE))
    living.get_by_role("heading", name=HOSTILE.title).wait_for()
    kitchen.get_by_role("heading", name="Alpha").wait_for()
    until(page, "document.getElementById('announcer').textContent.includes('in kitchen')")

    page.get_by_role("link", name="Sound").click()
    page.get_by_role("button", name="living room").click()
    say_in(live, "living room", None)
    page.get_by_text("-70 dBFS").wait_for()
    page.get_by_role("button", name="kitchen").click()
    page.get_by_text("-32 dBFS").wait_for()
    assert page.get_by_role("button", name="kitchen").get_attribute("aria-pressed") == "true"

    page.goto("/now")
    page.get_by_text("Playing now · kitchen").wait_for()
    page.close()


@pytest.mark.parametrize("path", VIEWS)
def test_axe_finds_no_violation(page: Any, live: LiveServer, path: str) -> None:
    from axe_core_python.sync_playwright import Axe

    say(live, PLAY)
    page.emulate_media(reduced_motion="reduce")
    page.goto(path)
    if path == "/history":
        page.get_by_role("button", name="Unknown music").click()
        page.get_by_role("button", name="Details of Unknown music").click()
    for width, scheme in ((390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_timeout(200)
        violations = Axe().run(page)["violations"]
        found = [(one["id"], [node["html"] for node in one["nodes"]]) for one in violations]
        assert found == [], (width, scheme)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_full_screen_view_shows_the_cover_and_follows(
    page: Any, live: LiveServer, web: WebServer
) -> None:
    say(live, dataclasses.replace(PLAY, track=dataclasses.replace(TRACK, path=str(web.data_dir / "a.mp3"))))
    page.goto("/now")
    until(page, "document.getElementById('title').textContent === 'Alpha'")
    until(page, "document.getElementById('image').naturalWidth === 300")
    live.publish_status(dataclasses.replace(STATUS, state="silence", playing=None))
    until(page, "document.getElementById('title').textContent === 'Silence'")


def test_the_page_says_when_its_server_is_gone_and_comes_back(browser: Any, tmp_path: Path) -> None:
    context = browser.new_context()
    page = context.new_page()
    with web_server(tmp_path) as server:
        page.goto(server.url)
        page.get_by_role("heading", name="Not listening").wait_for()
    page.get_by_role("heading", name="Connecting…").wait_for()
    with web_server(tmp_path, "--port", str(server.port)):
        page.get_by_role("heading", name="Not listening").wait_for(timeout=TIMEOUT_MS)
    context.close()


@pytest.mark.parametrize("path", ["/", "/history"])
def test_a_page_that_was_away_shows_what_was_played_meanwhile(
    browser: Any, tmp_path: Path, path: str
) -> None:
    """The computer slept, the network was gone, or the service was restarted: no event told the page."""
    write_history(tmp_path, [(TRACK, time.time() - 3)])
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    with web_server(tmp_path) as server:
        page.goto(f"{server.url}{path}")
        page.locator(".plays li").wait_for()
    missed = dataclasses.replace(TRACK, id="b" * 12, title="Missed")
    write_history(tmp_path, [(missed, time.time() - 2)])
    with web_server(tmp_path, "--port", str(server.port)):
        page.locator(".plays").get_by_text("Missed", exact=True).wait_for()
        assert page.locator(".plays > li").count() == 2
    context.close()


def test_a_page_that_stays_open_goes_on_with_the_next_day(browser: Any, tmp_path: Path) -> None:
    tomorrow = dataclasses.replace(TRACK, id="b" * 12, title="Tomorrow")
    start = time.time()
    write_history(tmp_path, [(TRACK, start - 3), (tomorrow, start + 86400)])
    context = browser.new_context(timezone_id="UTC", locale="en-GB")
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    page.clock.install(time=start)
    with web_server(tmp_path) as server:
        page.goto(server.url)
        page.get_by_text("Last heard").wait_for()
        assert "seconds ago: Alpha by Ann" in page.locator(".artist").inner_text()
        page.clock.fast_forward(7200 * 1000 if start % 86400 < 79_000 else 60_000)
        until(page, "!document.querySelector('.artist').textContent.includes('second')")
        page.clock.fast_forward("24:00:00")
        page.locator(".plays").get_by_text("Tomorrow", exact=True).wait_for()
        page.get_by_role("heading", name="Today").wait_for()
    context.close()


def test_the_list_keeps_its_length_when_one_of_its_plays_is_deleted(browser: Any, tmp_path: Path) -> None:
    """Otherwise, one goes back to the first page after each play that one deletes."""
    now = time.time()
    write_history(tmp_path, [(TRACK, now - 100 * number) for number in range(150, 0, -1)])
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    with web_server(tmp_path) as server:
        page.goto(f"{server.url}/history")
        page.get_by_role("button", name="Show more").click()
        until(page, "document.querySelectorAll('.plays > li').length === 120")
        page.get_by_role("button", name="Details").last.click()
        page.get_by_role("button", name="Delete").click()
        wait_for_plays(tmp_path / "history.sqlite", 149)
        page.wait_for_timeout(1000)
        until(page, "document.querySelectorAll('.plays > li').length === 120")
    context.close()


def test_the_address_with_the_token_opens_the_page(browser: Any, tmp_path: Path) -> None:
    context = browser.new_context()
    page = context.new_page()
    with web_server(tmp_path, config="[web]\ntoken = true\n") as server:
        page.goto(f"{server.url}/history")
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Open").click()
        page.get_by_role("alert").wait_for()
        page.goto(f"{server.url}/login#{server.token}")
        page.get_by_role("heading", name="Not listening").wait_for()
        assert server.token not in page.url
        page.goto(f"{server.url}/history")
        page.get_by_role("searchbox").wait_for()
    context.close()


def test_the_page_weighs_less_than_150_kb(page: Any) -> None:
    sizes: dict[str, int] = {}
    page.on(
        "response",
        lambda answer: (
            sizes.setdefault(answer.url, len(answer.body())) if "/api/" not in answer.url else None
        ),
    )
    page.goto("/")
    page.locator(".plays li").nth(2).wait_for()
    assert any(url.endswith("main.js") for url in sizes)
    assert sum(sizes.values()) < 150_000


def test_unknown_music_has_an_id(history: Path) -> None:
    """The fixture's unknown music is stored, so that the tests above can fail."""
    assert MusicUnknown(0, 1, 1).unknown_id == 1
    assert len(read_plays(history, hidden=True)[0]) == 4
