"""Changing one value of the configuration file leaves the rest as it is."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from overheard.errors import SettingsError
from overheard.settings import load
from overheard.settings.edit import change_setting


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "[gate]\nopen_db = -50\n"),
        ("# a\n", "# a\n\n[gate]\nopen_db = -50\n"),
        ("[gate]\nhang_s = 3", "[gate]\nopen_db = -50\nhang_s = 3\n"),
        ("[gate] # b\n  open_db=-40\n[listen]\nopen = 1\n", None),
        (
            "[gate]\nopen_db = -40\n\n[listen]\nhistory = false\n",
            "[gate]\nopen_db = -50\n\n[listen]\nhistory = false\n",
        ),
        ("[listen]\nhistory = false\n", "[listen]\nhistory = false\n\n[gate]\nopen_db = -50\n"),
        ("[ gate ]\nopen_db = -40\n", "[ gate ]\nopen_db = -50\n"),
    ],
)
def test_only_one_line_changes(tmp_path: Path, before: str, after: str | None) -> None:
    path = tmp_path / "config.toml"
    path.write_text(before)
    if after is None:  # the file is invalid already
        with pytest.raises(SettingsError):
            change_setting(path, "gate.open_db", -50)
        assert path.read_text() == before
        return
    change_setting(path, "gate.open_db", -50)
    assert path.read_text() == after
    assert load(path, {})[0].gate.open_db == -50


@pytest.mark.parametrize(
    "text",
    [
        "gate.open_db = -40\n",
        "gate = {open_db = -40}\n",
        '[gate]\n"open_db" = -40\n',
        '[listen]\ninput = """\n[gate]\nopen_db = 1\n"""\n',
    ],
)
def test_what_a_line_cannot_change_is_left_to_the_user(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(SettingsError):
        change_setting(path, "gate.open_db", -50)
    assert path.read_text() == text


def test_a_missing_file_is_created_for_its_owner_and_a_link_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "config.toml"
    change_setting(path, "listen.quiet_hours", "23:00-07:00")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    change_setting(link, "listen.quiet_hours", None)
    assert link.is_symlink()
    assert load(path, {})[0].listen.quiet_hours == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gate.open_db", 5),
        ("gate.open_db", "x"),
        ("gate.open_db", True),
        ("gate.nothing", 1),
        ("listen.quiet_hours", 'a"\n[web]'),
    ],
)
def test_an_invalid_value_changes_nothing(tmp_path: Path, name: str, value: object) -> None:
    path = tmp_path / "config.toml"
    with pytest.raises(SettingsError):
        change_setting(path, name, value)  # type: ignore[arg-type]
    assert not path.exists()
