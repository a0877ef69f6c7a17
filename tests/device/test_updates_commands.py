"""The commands `overheard packs subscribe`, `update`, `unsubscribe`, and `overheard-export publish`."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from overheard import cli
from overheard.catalogue.pack import open_pack
from overheard_export import cli as export_cli
from repositories import entries, pack_of, serving


@pytest.fixture
def repository(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Path, str]:
    """Publish a pack with the command; return the folder and the fingerprint of its key."""
    key, out = str(tmp_path / "my.key"), tmp_path / "public"
    assert export_cli.main(["publish", "--new-key", key]) == 0
    fingerprint = capsys.readouterr().out.splitlines()[-1].removeprefix("fingerprint: ")
    assert Path(key).stat().st_mode & 0o777 == 0o600
    pack = pack_of(tmp_path / "music.pack", entries(range(3)))
    assert export_cli.main(["publish", str(pack), "--out", str(out), "--key", key]) == 0
    assert "music: 3 tracks, version 0, 1 file" in capsys.readouterr().out
    return out, fingerprint


@pytest.fixture
def url(repository: tuple[Path, str]) -> Iterator[str]:
    with serving(repository[0]) as server:
        yield server.url


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OVERHEARD_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def test_subscribe_update_and_unsubscribe(
    repository: tuple[Path, str], url: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, fingerprint = repository
    assert cli.main(["packs", "subscribe", url]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert fingerprint in error
    assert "--key" in error
    assert cli.main(["packs", "update"]) == 2
    assert "overheard packs subscribe URL" in capsys.readouterr().err
    assert cli.main(["packs", "subscribe", url, "--key", fingerprint]) == 0
    assert "overheard packs update" in capsys.readouterr().out
    assert cli.main(["packs", "update", "--check"]) == 0
    assert "to download" in capsys.readouterr().out
    assert not (data / "packs").exists()
    assert cli.main(["packs", "update"]) == 0
    assert capsys.readouterr().out.startswith("music: version 0, ")
    assert cli.main(["packs", "update", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts == {"url": url, "pack": "music", "result": "current", "detail": "up to date", "bytes": 0}
    assert cli.main(["packs", "--json"]) == 0
    assert '"name": "music"' in capsys.readouterr().out
    assert cli.main(["packs", "unsubscribe", url]) == 0
    assert "these packs stay: music" in capsys.readouterr().out
    assert len(open_pack(data / "packs" / "music.pack").tracks) == 3
    assert cli.main(["packs", "unsubscribe", url]) == 2


def test_doctor_and_remove_know_where_a_pack_is_from(
    repository: tuple[Path, str], url: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["packs", "subscribe", url, "--key", repository[1]])
    cli.main(["packs", "update"])
    capsys.readouterr()
    cli.main(["doctor"])
    assert f"{url}, 1 pack (music), published " in capsys.readouterr().out
    assert cli.main(["packs", "remove", "music"]) == 0
    removed, remedy = capsys.readouterr().out.splitlines()
    assert removed == f"removed {data / 'packs' / 'music.pack'}"
    assert remedy.endswith(f"overheard packs unsubscribe {url}")
    assert cli.main(remedy.rpartition("overheard ")[2].split()) == 0


def test_errors_are_one_line(
    repository: tuple[Path, str], url: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, fingerprint = repository
    pack_of(data / "packs" / "music.pack", entries(range(7, 9)))
    cli.main(["packs", "subscribe", url, "--key", fingerprint])
    capsys.readouterr()
    assert cli.main(["packs", "update"]) == 1
    assert "pack of your own with the name music" in capsys.readouterr().err
    (out / "latest.json").unlink()
    for code, *arguments in (
        (1, "packs", "update"),
        (1, "packs", "update", url),
        (2, "packs", "update", "http://127.0.0.1/other"),
        (2, "packs", "subscribe", f"{url}/none", "--key", fingerprint),
        (2, "packs", "subscribe", str(tmp_path / "none")),
        (2, "packs", "subscribe", "http://[", "--key", "me"),
        (2, "packs", "subscribe", "http://nowhere.invalid/"),
    ):
        assert cli.main(arguments) == code, arguments
        error = capsys.readouterr().err
        assert error.startswith("overheard: ")
        assert error.count("\n") == 1, error


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"n\n", 1), (b"\n", 1), (b"\x04", 1)])
def test_a_terminal_is_asked(repository: tuple[Path, str], data: Path, answer: bytes, code: int) -> None:
    out, fingerprint = repository
    control, terminal = pty.openpty()
    command = [sys.executable, "-m", "overheard", "packs", "subscribe", str(out)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment
    ) as process:
        os.close(terminal)
        shown = b""
        while b"[y/N]" not in shown:
            shown += os.read(control, 1000)
        os.write(control, answer)
        assert process.wait(60) == code
    os.close(control)
    assert fingerprint.encode() in shown
    assert b"music: 3 tracks" in shown
    assert (data / "subscriptions.json").exists() == (code == 0)


def test_publish_reports_errors_as_one_line(
    repository: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, key = str(repository[0]), str(tmp_path / "my.key")
    (tmp_path / "no.key").write_text("x")
    own = str(pack_of(tmp_path / "own.pack", entries(range(1), path="/home/me/x.flac")))
    for arguments in (
        ["--new-key", key],
        ["--new-key", str(tmp_path / "none" / "my.key")],
        ["--out", out, "--key", str(tmp_path / "no.key")],
        ["--out", out, "--key", str(tmp_path / "none.key")],
        [own, "--out", out, "--key", key],
        [str(tmp_path / "none.pack"), "--out", out, "--key", key],
        ["--out", out, "--key", key, "--remove", "none"],
        ["--out", str(tmp_path / "my.key"), "--key", key],
    ):
        assert export_cli.main(["publish", *arguments]) == 2, arguments
        error = capsys.readouterr().err
        assert error.startswith("overheard-export: ")
        assert error.count("\n") == 1
    for arguments in (["--out", out], ["--key", key], ["--out", out, "--key", key, "--days", "0"]):
        with pytest.raises(SystemExit):
            export_cli.main(["publish", *arguments])
    assert export_cli.main(["publish", "--out", out, "--key", key, "--days", "10"]) == 0


def test_keys_of_openssl_can_be_used(tmp_path: Path, repository: tuple[Path, str]) -> None:
    """The documents can be checked, and keys made, without overheard."""
    key, out = tmp_path / "other.key", repository[0]
    command = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(key)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    arguments = ["--out", str(out), "--key", str(key), "--old-key", str(tmp_path / "my.key")]
    assert export_cli.main(["publish", *arguments]) == 0
    signatures = json.loads((out / "index.2.json.sig").read_bytes())["signatures"]
    (tmp_path / "signature").write_bytes(bytes.fromhex(signatures[0]["signature"]))
    command = [
        "openssl",
        "pkeyutl",
        "-verify",
        "-inkey",
        str(key),
        "-rawin",
        "-in",
        str(out / "index.2.json"),
    ]
    subprocess.run([*command, "-sigfile", str(tmp_path / "signature")], check=True, capture_output=True)
