"""`overheard service`: notifications to systemd, the units, and what the command does."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_daemon import SECOND, FakeListener, FakeSource, arguments, play

from overheard import settings as settings_module
from overheard.cli import build_parser, main
from overheard.commands import listen, service
from overheard.errors import OverheardError
from overheard.events import Alternative, Event, Play, PlayEnded, PlayStarted, PlayUpdated, Silence, Track
from overheard.service import install, systemd
from overheard.service.install import Installation, update_system
from overheard.service.notify import Notifier, NotifySink
from overheard.service.units import LISTEN, WEB, UnitOptions, unit
from overheard.settings import Settings

GOLDEN = Path(__file__).parents[1] / "golden" / "units"
USER = UnitOptions(
    *(["/home/ann/.local/bin/overheard"], Path("/home/ann/.local/share/overheard")),
    config_dir=Path("/home/ann/.config/overheard"),
)
SYSTEM = UnitOptions(["/usr/bin/overheard"], Path("/var/lib/overheard"), system=True)


class Receiver:
    """The end of the socket that systemd reads."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)

    def messages(self) -> list[str]:
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self._socket.recv(4096).decode())
        return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Receiver, str]]:
    """Listen at a socket as systemd does; yield it with the value of NOTIFY_SOCKET."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@overheard-test-{os.getpid()}"
    receiver = Receiver(address.replace("@", "\0"))
    yield receiver, address
    receiver.close()


# Notifications


def test_systemd_learns_that_audio_arrives(manager: tuple[Receiver, str]):
    receiver, address = manager
    now = 100.0
    notifier = Notifier(address, watchdog_s=30, clock=lambda: now)
    assert receiver.messages() == []
    notifier.audio()
    notifier.audio()
    assert receiver.messages() == ["READY=1\nSTATUS=Listening", "WATCHDOG=1"]
    now += 9.9
    notifier.audio()
    assert receiver.messages() == []
    now += 0.1
    notifier.audio()
    assert receiver.messages() == ["WATCHDOG=1"]
    notifier.stopping()
    assert receiver.messages() == ["STOPPING=1"]


def test_the_status_is_the_current_play_on_one_line(manager: tuple[Receiver, str]):
    receiver, address = manager
    sink = NotifySink(Notifier(address))
    hostile = Track("b" * 12, "Beta\nREADY=1" + "x" * 5000, "", "", "/b.flac", "music", 100.0)
    others = (Alternative(play(1).track, 0.0),)
    ambiguous = Play(hostile, 0.0, 1.0, 0.0, 5.0, 0.5, others)
    events: list[Event] = [PlayStarted(play(1)), PlayUpdated(play(2)), PlayEnded(play(3)), Silence(4.0)]
    events.append(PlayStarted(ambiguous))
    for event in events:
        sink.handle(event, 0.0)
    sink.close()
    *first, last = receiver.messages()
    assert first == ["STATUS=Playing: Ann - Alpha", "STATUS=Listening"]
    assert last.startswith("STATUS=Playing: ambiguous: Beta READY=1xxx")
    assert "\n" not in last
    assert len(last) < 250


def test_no_message_waits_for_systemd(tmp_path: Path):
    notifier = Notifier(str(tmp_path / "nobody"))
    notifier.audio()
    receiver = Receiver(str(tmp_path / "full"))
    busy = Notifier(str(tmp_path / "full"))
    for number in range(1000):  # more than the queue of a socket holds
        busy.status(str(number))
    assert 0 < len(receiver.messages()) < 1000
    receiver.close()


@pytest.mark.parametrize(
    ("env", "interval"),
    [
        ({}, None),
        ({"NOTIFY_SOCKET": ""}, None),
        ({"NOTIFY_SOCKET": "vsock:2:1"}, None),
        ({"NOTIFY_SOCKET": "/run/x"}, 0),
        ({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "3000000"}, 1),
        ({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 1),
        ({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, 0),
        ({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "soon"}, 0),
    ],
)
def test_the_environment_says_where_to_and_how_often(env: dict[str, str], interval: float | None):
    given = {**env, "HOME": "/"}
    notifier = Notifier.from_environment(given)
    assert given == {"HOME": "/"}  # programs that it starts must not report in its name
    assert (None if notifier is None else notifier._interval_s) == interval


def test_listen_notifies_systemd(
    manager: tuple[Receiver, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Recognizer:
        listener = FakeListener

    monkeypatch.setattr("overheard.recognize.open.open_recognizer", lambda settings, packs: Recognizer())
    monkeypatch.setattr("overheard.recognize.reload.watching_packs", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr("overheard.hear.open.open_source", lambda *_: FakeSource([SECOND] * 3))
    receiver, address = manager
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    assert listen.run(arguments(), Settings(data_dir=tmp_path)) == 0
    messages = receiver.messages()
    assert messages[:2] == ["READY=1\nSTATUS=Listening", "WATCHDOG=1"]
    assert set(messages[2:-1]) == {"STATUS=Playing: Ann - Alpha", "STATUS=Listening"}
    assert messages[-1] == "STOPPING=1"
    assert "NOTIFY_SOCKET" not in os.environ


# Units


@pytest.mark.parametrize(
    ("file", "name", "options"),
    [
        ("user/overheard.service", LISTEN, USER),
        ("user/overheard-web.service", WEB, USER),
        ("system/overheard.service", LISTEN, SYSTEM),
        ("system/overheard-web.service", WEB, SYSTEM),
    ],
)
def test_the_units_are_the_ones_that_were_checked(file: str, name: str, options: UnitOptions):
    """Run `OVERHEARD_RENEW_UNITS=1 pytest tests/device/test_service.py` to write them again."""
    text = unit(name, options)
    if os.environ.get("OVERHEARD_RENEW_UNITS"):
        (GOLDEN / file).parent.mkdir(exist_ok=True)
        (GOLDEN / file).write_text(text)
    assert text == (GOLDEN / file).read_text()


def test_the_network_is_open_only_where_it_is_needed():
    closed = unit(LISTEN, USER)
    assert "PrivateNetwork=yes" in closed
    assert "RestrictAddressFamilies=AF_UNIX\n" in closed
    network = UnitOptions(USER.command, USER.data_dir, network=True)
    assert "PrivateNetwork" not in unit(LISTEN, network)
    assert "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n" in unit(LISTEN, network)
    assert "IPAddressAllow=localhost" in unit(WEB, SYSTEM)
    assert "IPAddress" not in unit(WEB, UnitOptions(["/x"], Path("/d"), system=True, exposed=True))


def test_a_sink_that_writes_elsewhere_may_do_so(tmp_path: Path):
    chosen = {
        "data_dir": tmp_path / "data",
        "sinks.jsonl.enabled": True,
        "sinks.jsonl.path": str(tmp_path / "my lists" / "plays.jsonl"),
        "sinks.metrics.enabled": True,
        "sinks.metrics.path": str(tmp_path / "data" / "x.prom"),
    }
    settings, _ = settings_module.load(env={}, overrides=chosen)
    options = service.needed(["/bin/true"], settings)
    assert options.writes == (tmp_path / "my lists",)
    lines = unit(LISTEN, options).splitlines()
    assert [line for line in lines if line.startswith("ReadWritePaths=")] == [
        f"ReadWritePaths={tmp_path / 'data'}",
        f'ReadWritePaths="-{tmp_path / "my lists"}"',
    ]
    assert unit(WEB, options).count("ReadWritePaths=") == 1
    assert f"let {LISTEN} write to {tmp_path / 'my lists'}, as a sink does" in Installation(options).steps()


class FakeSystemd:
    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []

    def call(self, *arguments: str) -> str:
        self.calls.append(arguments)
        return ""


def test_the_services_of_the_package_follow_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A sink opens the network for `listen`, and web.host the page; both close again."""
    owners: list[object] = []
    monkeypatch.setattr("overheard.service.install.shutil.chown", lambda *args: owners.append(args))
    chosen = {
        "data_dir": tmp_path / "data",
        "sinks.mqtt.enabled": True,
        "sinks.jsonl.enabled": True,
        "sinks.jsonl.path": str(tmp_path / "lists" / "plays.jsonl"),
        "web.host": "192.0.2.1",
    }
    settings, _ = settings_module.load(env={}, overrides=chosen)
    systemd: Any = FakeSystemd()
    update_system(systemd, service.needed([], settings), tmp_path)
    of_listen = (tmp_path / f"{LISTEN}.d" / "overheard.conf").read_text().splitlines()
    of_web = (tmp_path / f"{WEB}.d" / "overheard.conf").read_text().splitlines()
    assert of_listen[1:] == [
        *("[Service]", "PrivateNetwork=no", "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6"),
        *("IPAddressDeny=", f"ReadWritePaths=-{tmp_path / 'lists'}"),
    ]
    assert of_web[1:] == ["[Service]", "IPAddressDeny="]
    assert owners == [(tmp_path / "lists", "overheard", "overheard")]
    assert systemd.calls == [("daemon-reload",), ("--no-block", "try-restart", LISTEN, WEB)]
    closed, _ = settings_module.load(env={}, overrides={"data_dir": tmp_path / "data"})
    done = update_system(systemd, service.needed([], closed), tmp_path)
    assert not list(tmp_path.glob("*.d"))
    assert len([line for line in done if line.startswith("removed")]) == 2


def test_only_root_changes_the_services_of_the_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main(["service", "update"]) == 2
    assert "sudo overheard service update" in capsys.readouterr().err


def test_names_with_spaces_and_specifiers_stay_what_they_are():
    options = UnitOptions(['/opt/my "own"/100%/$HOME/overheard'], Path("/mnt/my disk/50%"))
    text = unit(LISTEN, options)
    assert 'ExecStart="/opt/my \\"own\\"/100%%/$$HOME/overheard" listen\n' in text
    assert 'ReadWritePaths="/mnt/my disk/50%%"\n' in text


analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


@analyze
@pytest.mark.parametrize("options", [USER, SYSTEM], ids=["user", "system"])
def test_systemd_accepts_the_units(tmp_path: Path, options: UnitOptions):
    there = UnitOptions(["/bin/true"], tmp_path, system=options.system)
    for name in (LISTEN, WEB):
        (tmp_path / name).write_text(unit(name, there))
    command = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in (LISTEN, WEB))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@analyze
@pytest.mark.parametrize("name", [LISTEN, WEB])
@pytest.mark.parametrize("options", [USER, SYSTEM], ids=["user", "system"])
def test_the_exposure_of_the_units_is_low(tmp_path: Path, name: str, options: UnitOptions):
    (tmp_path / name).write_text(unit(name, options))
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=25", str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-200:]


# The command


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put programs that only write down their arguments in place of systemd's; return their log."""
    log = tmp_path / "log"
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("systemctl", "loginctl", "systemd-run", "journalctl"):
        (folder / name).write_text(
            f'#!/bin/sh\necho {name} "$@" >> {log}\n'
            'case "$*" in *show*overheard.service) printf "LoadState=loaded\\nActiveState=active\\n'
            'StatusText=Playing: A\\nNRestarts=0\\n";; esac\n'
        )
        (folder / name).chmod(0o755)
    runtime = tmp_path / "run"
    (runtime / "systemd").mkdir(parents=True)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(systemd, "_BOOTED", runtime)
    monkeypatch.setattr(install, "lingers", lambda: False)
    return log


def run(*words: str, data: Path = Path("/nowhere")) -> int:
    args: argparse.Namespace = build_parser().parse_args(["service", *words])
    return service.run(args, Settings(data_dir=data))


def test_install_says_what_it_does_and_asks(tools: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(OverheardError, match="add --yes"):
        run("install", data=tmp_path / "data")
    assert not (tmp_path / "config").exists()
    shown = capsys.readouterr().out
    assert "enable-linger" in shown
    assert f"create the folder {tmp_path / 'data'}" in shown
    assert run("install", "--yes", data=tmp_path / "data") == 0
    assert capsys.readouterr().out.endswith("The page is at http://localhost:8377/\n")
    assert (tmp_path / "config/systemd/user" / WEB).exists()
    text = (tmp_path / "config/systemd/user" / LISTEN).read_text()
    assert f"ReadWritePaths={tmp_path / 'data'}\n" in text
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    user = systemd.user_name()
    called = [line for line in tools.read_text().splitlines() if not line.startswith("systemd-run")]
    assert called == [
        f"loginctl enable-linger {user}",
        "systemctl --user --no-pager daemon-reload",
        f"systemctl --user --no-pager enable {LISTEN} {WEB}",
        f"systemctl --user --no-pager --no-block restart {LISTEN} {WEB}",
    ]


@pytest.mark.parametrize(
    ("chosen", "shown"),
    [
        ({"web.port": 9000}, "http://localhost:9000/"),
        ({"web.token": True}, "`overheard web --show-token`"),
        ({"web.host": "0.0.0.0"}, "`overheard web --show-token`"),  # noqa: S104
    ],
)
def test_install_says_where_the_page_is(chosen: dict[str, object], shown: str):
    assert shown in service.page_hint(settings_module.load(env={}, overrides=chosen)[0])


def test_uninstall_removes_what_install_wrote(
    tools: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    assert run("install", "--yes", data=tmp_path / "data") == 0
    monkeypatch.setattr(install, "lingers", lambda: True)
    assert run("install", "--yes", data=tmp_path / "data") == 0  # again: it remembers who enabled linger
    tools.unlink()
    assert run("uninstall", data=tmp_path / "data") == 0
    assert tools.read_text().splitlines() == [
        f"systemctl --user --no-pager disable --now {LISTEN} {WEB}",
        "systemctl --user --no-pager daemon-reload",
        f"loginctl disable-linger {systemd.user_name()}",
    ]
    assert not list((tmp_path / "config/systemd/user").iterdir())
    assert f"packs and history stay in {tmp_path / 'data'}" in capsys.readouterr().out
    assert run("uninstall", data=tmp_path / "data") == 0
    assert "no service is installed" in capsys.readouterr().out


def test_linger_that_was_on_before_stays_on(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(install, "lingers", lambda: True)
    assert run("install", "--yes", "--no-web", data=tmp_path) == 0
    assert run("uninstall", data=tmp_path) == 0
    assert "linger" not in tools.read_text()


def test_without_name_spaces_the_services_are_not_restricted(
    tools: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "bin" / "systemd-run").write_text("#!/bin/sh\nexit 217\n")
    assert run("install", "--yes", data=tmp_path) == 0
    assert "The services are not restricted" in capsys.readouterr().out
    assert "Private" not in (tmp_path / "config/systemd/user" / LISTEN).read_text()


def test_status_shows_what_plays(tools: Path, capsys: pytest.CaptureFixture[str]):
    assert run("status") == 0
    assert capsys.readouterr().out.splitlines() == [
        "overheard.service: running: Playing: A",
        "overheard-web.service: not installed",
    ]
    assert run("status", "--json") == 0
    assert '"StatusText": "Playing: A"' in capsys.readouterr().out


def test_logs_come_from_the_journal(tools: Path):
    assert run("logs", "-n", "3", "--follow") == 0
    wanted = f"journalctl --user --no-hostname --lines=3 --unit={LISTEN} --unit={WEB} --follow"
    assert tools.read_text().splitlines() == [wanted]


def test_an_error_of_systemd_is_one_line(tools: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "bin" / "systemctl").write_text(
        "#!/bin/sh\necho 'Failed to enable:' >&2\necho no >&2\nexit 1\n"
    )
    assert main(["--data-dir", str(tmp_path), "service", "install", "--yes"]) == 2
    assert capsys.readouterr().err == "overheard: systemctl --user --no-pager: Failed to enable: no\n"


@pytest.mark.parametrize("action", ["install", "uninstall", "status", "logs"])
def test_where_systemd_does_not_run_one_line_says_so(
    action: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(systemd, "_BOOTED", tmp_path / "none")
    assert main(["service", action]) == 2
    assert capsys.readouterr().err.startswith(
        "overheard: systemd does not run here; start `overheard listen`"
    )


def test_the_unit_starts_this_program_with_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    program = tmp_path / "overheard"
    program.write_text("")
    program.chmod(0o755)
    monkeypatch.setattr("sys.argv", [str(program)])
    monkeypatch.delenv("OVERHEARD_DATA_DIR")
    config = tmp_path / "c.toml"
    config.write_text("")
    assert main(["--config", str(config), "--data-dir", str(tmp_path), "service", "print"]) == 0
    assert f"ExecStart={program} --config {config} --data-dir {tmp_path} listen\n" in capsys.readouterr().out
    assert main(["service", "print", "--system", "--web", "--program", "/usr/bin/overheard"]) == 0
    assert "ExecStart=/usr/bin/overheard web\n" in capsys.readouterr().out
