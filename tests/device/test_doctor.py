from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from overheard import cli
from overheard.commands import check_microphone, checks
from overheard.commands.check import Check
from overheard.errors import AudioError, ModelError
from overheard.hear.source import EMPTY_BLOCK, AudioSource, Block, Gap
from overheard.settings import ListenSettings, Settings

RATE = 8000


class FakeSource(AudioSource):
    """A microphone that delivers the same block until it is closed."""

    name = "Fake"

    def __init__(self, block: Block) -> None:
        super().__init__()
        self._block = block

    def blocks(self) -> Iterator[Block | Gap]:
        yield EMPTY_BLOCK
        yield Gap(5)
        while not self._closed.is_set():
            yield self._block


def tone(amplitude: float) -> Block:
    wave = amplitude * np.sin(2 * np.pi * 500 * np.arange(RATE // 4) / RATE)
    return np.rint(wave * 32767).astype(np.int16)


def judge(block: Block, is_monitor: bool = False) -> Check:
    return check_microphone.judge_level(
        "Fake", *check_microphone.measure(FakeSource(block)), Settings(), is_monitor
    )


def test_the_level_of_a_microphone() -> None:
    check = judge(tone(0.1))
    assert check.ok
    assert check.remedy is None
    assert check.data["level_db"] == pytest.approx(-23.0, abs=0.2)
    assert check.data["peak"] == pytest.approx(0.1, abs=0.001)
    assert "Fake: level -23 dBFS" in check.detail


def test_a_muted_microphone_is_a_problem_but_a_silent_monitor_is_not() -> None:
    silent = np.zeros(RATE // 4, np.int16)
    check = judge(silent)
    assert not check.ok
    assert "digital silence" in check.detail
    assert "unmute" in str(check.remedy)
    assert judge(silent, is_monitor=True).ok


def test_a_clipped_microphone_is_a_problem() -> None:
    assert "gain" in str(judge(tone(1.0)).remedy)


def test_a_quiet_room_is_not_a_problem() -> None:
    check = judge(tone(0.0003))
    assert check.ok
    assert "counts as silence" in check.detail


def test_a_microphone_without_samples_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_microphone, "MEASURE_TIMEOUT_S", 0.0)
    with pytest.raises(AudioError, match="delivers no samples; reconnect it"):
        check_microphone.measure(FakeSource(EMPTY_BLOCK))


@pytest.mark.parametrize("spec", ["-", __file__])
def test_files_and_standard_input_are_not_recorded(spec: str) -> None:
    (check,) = check_microphone.check_microphone(Settings(listen=ListenSettings(input=spec)))
    assert check.ok
    assert "not checked" in check.detail


def test_history(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert "no plays yet" in checks.check_history(settings)[0].detail
    with sqlite3.connect(settings.history_path) as database:
        database.execute("CREATE TABLE plays (id INTEGER)")
    database.close()
    assert checks.check_history(settings)[0].ok
    settings.history_path.write_bytes(b"not a database" * 100)
    (check,) = checks.check_history(settings)
    assert not check.ok
    assert "mv" in str(check.remedy)


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(data_dir=tmp_path / "not" / "yet")
    assert checks.check_data(settings)[0].ok
    assert checks.check_config(tmp_path / "c" / "config.toml")[0].ok
    assert not (tmp_path / "not").exists()
    assert not (tmp_path / "c").exists()
    (tmp_path / "file").touch()
    assert not checks.check_data(Settings(data_dir=tmp_path / "file" / "sub"))[0].ok
    monkeypatch.setattr(checks, "MIN_FREE_BYTES", float("inf"))
    assert "free" in checks.check_data(settings)[0].detail
    monkeypatch.setattr(checks.os, "access", lambda *args: False)
    assert "OVERHEARD_DATA_DIR" in str(checks.check_data(settings)[0].remedy)
    assert "OVERHEARD_CONFIG" in str(checks.check_config(tmp_path / "c" / "config.toml")[0].remedy)


def test_packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "packs"
    own.mkdir()
    monkeypatch.setattr("overheard.catalogue.selection.shipped_packs_dir", lambda: tmp_path / "none")
    settings = Settings(data_dir=tmp_path)
    assert checks.check_packs(settings)[0].remedy == "create one with `overheard index FOLDER`"
    (own / "broken.pack").write_bytes(b"")
    results = checks.check_packs(dataclasses.replace(settings, packs=("other",)))
    assert [(check.name, check.ok) for check in results] == [("pack broken", False), ("packs", False)]
    assert "overheard packs remove broken" in str(results[0].remedy)


def test_a_missing_package_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.check_packages()[0].ok
    monkeypatch.setattr(checks, "PACKAGES", ("numpy", "surely-missing"))
    (check,) = checks.check_packages()
    assert check.detail == "surely-missing is not installed"
    assert "script/setup" in str(check.remedy)


def test_a_missing_or_incompatible_runtime_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overheard.fingerprint.runtime.available_runtimes", dict)
    assert not checks.check_runtime()[0].ok
    monkeypatch.setattr(
        "overheard.fingerprint.runtime.available_runtimes", lambda: {"tflite-runtime": "2.14.0"}
    )
    monkeypatch.setattr(np, "__version__", "2.0.0")
    assert "numpy<2" in str(checks.check_runtime()[0].remedy)


@pytest.mark.parametrize("installed", [True, False])
def test_a_sound_server_without_pactl(installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overheard.hear.devices.reaches_sound_server", lambda: True)
    monkeypatch.setattr("overheard.hear.sound_server.SoundServer.available", lambda: installed)
    (check,) = checks.check_sound_server()
    assert check.ok  # it works without
    assert ("pulseaudio-utils" in str(check.remedy)) is not installed
    monkeypatch.setattr("overheard.hear.devices.reaches_sound_server", lambda: False)
    assert checks.check_sound_server() == []


def test_an_error_in_one_check_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_model(settings: Settings) -> list[Check]:
        raise ModelError("the model is modified", "reinstall overheard")

    def bug() -> list[Check]:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(checks, "check_model", no_model)
    monkeypatch.setattr(checks, "check_portaudio", bug)
    monkeypatch.setattr(checks, "check_microphone", lambda settings: [])
    results = {check.name: check for check in checks.examine(Settings(data_dir=tmp_path))}
    assert results["model"] == Check("model", False, "the model is modified", "reinstall overheard")
    assert "unexpected ZeroDivisionError" in results["portaudio"].detail
    assert "report this bug" in str(results["portaudio"].remedy)
    assert "history" in results


@pytest.mark.parametrize(("second", "code"), [(True, 0), (False, 1)])
def test_output(
    second: bool, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = [Check("a", True, "fine"), Check("b", second, "so", None if second else "do this")]
    monkeypatch.setattr(checks, "examine", lambda settings, config: iter(results))
    assert cli.main(["doctor"]) == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["ok", "a", "fine"]
    assert lines[-1] == ("no problems" if second else "1 problem")
    assert ("fix: do this" in lines[-2]) is not second
    assert cli.main(["doctor", "--json"]) == code
    printed = json.loads(capsys.readouterr().out)
    assert printed["ok"] is second
    assert [set(check) for check in printed["checks"]] == [{"name", "ok", "detail", "remedy", "data"}] * 2
