"""Who may use the page: host names, other sites, the token, a Unix-domain socket; security headers."""

from __future__ import annotations

import http.client
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from overheard.cli import main
from overheard.errors import OverheardError
from overheard.web.access import Access, is_local, load_token, shown_host
from web_fakes import DEVICE, TIMEOUT_S, WebServer, web_server


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    with web_server(
        tmp_path_factory.mktemp("data"), config='[web]\nnames = ["music.example.org"]\n'
    ) as server:
        yield server


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    """A server that others can reach."""
    with web_server(tmp_path_factory.mktemp("closed"), "--host", "0.0.0.0") as server:  # noqa: S104
        yield server


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.0.0.1:8377",
        "[::1]:8377",
        "192.168.1.7",
        "MUSIC.example.org:80",
        socket.gethostname(),
    ],
)
def test_the_names_of_this_computer_are_known(web: WebServer, host: str) -> None:
    assert web.get("/api/v1", Host=host).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1:x",
        "",
        "[::1",
        "a b",
        "1.2.3.4@evil",
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/v1/plays", "/static/main.js"])
def test_other_names_are_refused_because_a_web_site_may_have_them(
    web: WebServer, host: str, path: str
) -> None:
    answer = web.get(path, Host=host)
    assert answer.status in (400, 421)
    assert b"plays" not in answer.body.replace(b"/api/v1/plays", b"")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "none"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/api/v1/pause"), ("DELETE", "/api/v1/plays/1"), ("POST", "/login")]
)
def test_other_sites_change_nothing(web: WebServer, method: str, path: str, headers: dict[str, str]) -> None:
    assert web.ask(method, path, {}, headers).status == 403


def test_a_form_of_another_site_in_an_old_browser_changes_nothing(web: WebServer) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = web.ask("POST", "/api/v1/pause", b"{}", {"Content-Type": kind})
        assert answer.status == 415


@pytest.mark.parametrize("path", ["/api/v1/plays", "/api/v1/events", "/api/v1/covers/a", "/static/icon.svg"])
def test_other_sites_load_nothing(web: WebServer, path: str) -> None:
    for site in ("cross-site", "same-site"):
        assert web.get(path, Sec_Fetch_Site=site, Sec_Fetch_Mode="no-cors").status == 403


def test_a_link_on_another_site_opens_the_page(web: WebServer) -> None:
    assert web.get("/history", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate").status == 200


def test_the_page_itself_is_allowed(web: WebServer) -> None:
    headers = {"Origin": web.url, "Sec-Fetch-Site": "same-origin", "Host": web.url.removeprefix("http://")}
    assert web.ask("POST", "/api/v1/pause", {}, headers).status == 409


@pytest.mark.parametrize(
    "path", ["/", "/now", "/login", "/static/main.js", "/api/v1", "/api/v1/nothing", "/../x"]
)
def test_every_answer_has_the_security_headers(web: WebServer, path: str) -> None:
    headers = web.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == ("same-origin" if path == "/login" else "no-referrer")
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


def test_refusals_have_the_security_headers_too(web: WebServer) -> None:
    assert "content-security-policy" in web.get("/", Host="evil.example").headers


# The token


def test_others_need_the_token(closed: WebServer) -> None:
    assert len(closed.token) >= 32
    assert closed.get("/api/v1/plays").status == 401
    assert closed.ask("POST", "/api/v1/pause", {}).status == 401
    page = closed.get("/history")
    assert (page.status, page.headers["location"]) == (303, "/login")
    for path in ("/static/main.js", "/api/v1/events", "/now", "/api/v1/openapi.json", "/nothing"):
        assert closed.get(path).status in (303, 401)
    assert closed.get("/login").status == 200


def test_the_token_gives_a_cookie_that_is_not_the_token(closed: WebServer) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = closed.ask("POST", "/login", f"token={closed.token}".encode(), form)
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert closed.token not in cookie
    assert closed.get("/api/v1/plays", Cookie=cookie.partition(";")[0]).status == 200
    assert closed.get("/", Cookie=f"other=1; {cookie.partition(';')[0]}").status == 200


@pytest.mark.parametrize("token", ["", "wrong", "ä", "x" * 3000, "%00", "token=token"])
def test_a_wrong_token_gives_nothing(closed: WebServer, token: str) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = closed.ask("POST", "/login", f"token={token}".encode(), form)
    assert (answer.status, answer.headers["location"]) == (303, "/login?wrong")
    assert "set-cookie" not in answer.headers
    bearer = token.encode("utf-8", "replace").decode("latin-1")
    assert closed.get("/api/v1", Authorization=f"Bearer {bearer}").status == 401
    assert closed.get("/api/v1", Cookie="overheard_session=wrong").status == 401


def test_programs_send_the_token_as_bearer(closed: WebServer) -> None:
    assert closed.get("/api/v1", Authorization=f"Bearer {closed.token}").status == 200
    assert closed.get("/api/v1", Authorization=f"Basic {closed.token}").status == 401


def test_the_token_is_private_and_shown_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with web_server(tmp_path, "--host", "0.0.0.0") as first:  # noqa: S104
        token = first.token
        assert token
    assert stat.S_IMODE((tmp_path / "web-token").stat().st_mode) == 0o600
    with web_server(tmp_path, "--host", "0.0.0.0") as second:  # noqa: S104
        assert not second.token
        assert second.get("/api/v1", Authorization=f"Bearer {token}").status == 200
    with web_server(tmp_path, "--host", "0.0.0.0") as third:  # noqa: S104
        command = ["--data-dir", str(tmp_path), "web", "--host", "0.0.0.0", "--port", str(third.port)]  # noqa: S104
        assert main([*command, "--show-token"]) == 0, "although the port is in use"
        assert f"login#{token}" in capsys.readouterr().err
    with web_server(tmp_path, "--host", "0.0.0.0", "--new-token") as fourth:  # noqa: S104
        assert fourth.token != token
        assert fourth.get("/api/v1", Authorization=f"Bearer {token}").status == 401


def test_the_journal_gets_no_token(tmp_path: Path) -> None:
    """A service logs to the journal, which other users may read."""
    setup = (
        "import os\nstatus = os.fstat(2)\nos.environ['JOURNAL_STREAM'] = f'{status.st_dev}:{status.st_ino}'"
    )
    with web_server(tmp_path, "--host", "0.0.0.0", setup=setup) as web:  # noqa: S104
        assert not web.token
        assert "; --show-token prints it with the token" in "".join(web.lines)
        assert (tmp_path / "web-token").exists()


def test_a_token_on_this_computer_if_the_settings_say_so(tmp_path: Path) -> None:
    with web_server(tmp_path, config="[web]\ntoken = true\n") as web:
        assert web.token
        assert web.get("/api/v1/plays").status == 401


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    token, is_new = load_token(tmp_path)
    assert is_new
    assert load_token(tmp_path) == (token, False)
    (tmp_path / "web-token").chmod(0o644)
    with pytest.raises(OverheardError, match="other users"):
        load_token(tmp_path)
    assert load_token(tmp_path, renew=True)[1]
    (tmp_path / "web-token").write_text("short")
    with pytest.raises(OverheardError, match="contains no token"):
        load_token(tmp_path)


def test_which_addresses_are_local() -> None:
    assert [is_local(host) for host in ("localhost", "127.0.0.1", "127.8.8.8", "::1")] == [True] * 4
    assert [is_local(host) for host in ("0.0.0.0", "::", "192.168.1.2", "example.org", "")] == [False] * 5  # noqa: S104
    assert shown_host("::1") == "[::1]"
    assert shown_host("0.0.0.0") == socket.gethostname()  # noqa: S104


def test_without_a_token_nothing_is_accepted_as_one() -> None:
    assert not Access(None).knows_token("")


# The Unix-domain socket


def test_a_socket_that_only_the_owner_can_open(tmp_path: Path) -> None:
    path = tmp_path / "page.sock"
    with web_server(tmp_path / "data", "--socket", str(path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        connection = http.client.HTTPConnection("localhost", timeout=TIMEOUT_S)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(TIMEOUT_S)
        connection.sock.connect(str(path))
        connection.request("GET", "/api/v1/plays")
        assert connection.getresponse().status == 200
        connection.close()
    assert not path.exists()


# The command


def test_a_port_in_use_is_one_line(web: WebServer, tmp_path: Path) -> None:
    done = run(tmp_path, "--port", str(web.port))
    assert done.returncode == 2
    assert (
        done.stderr
        == f"overheard: 127.0.0.1:{web.port}: cannot be opened (Address already in use); use another --port\n"
    )


def test_an_invalid_address_is_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, "--host", "no such host", "--port", "0")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_a_missing_package_is_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, setup="import sys; sys.modules['starlette'] = None")
    assert done.returncode == 2
    assert (
        done.stderr
        == "overheard: starlette is not installed; in a clone of overheard: pip install '.[web]'\n"
    )


def test_it_stops_on_sigterm_with_an_open_stream(tmp_path: Path) -> None:
    with web_server(tmp_path) as server:
        stream = server.stream()
        assert stream.next("live")["running"] is False
        server.process.terminate()
        assert server.process.wait(TIMEOUT_S) == 0
        stream.close()


def run(data_dir: Path, *options: str, setup: str = "pass") -> subprocess.CompletedProcess[str]:
    arguments = ["--data-dir", str(data_dir), "web", *options]
    program = f"{setup}\nfrom overheard.cli import main\nraise SystemExit(main({arguments!r}))"
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env={"PYTHONPATH": str(DEVICE), "PATH": "/usr/bin:/bin", "HOME": str(data_dir)},
    )
