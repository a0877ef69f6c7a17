from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overheard import settings as module
from overheard.commands.config import as_toml, template, toml_value
from overheard.errors import SettingsError
from overheard.settings import Settings, load

NAMES = [name for name, _, _ in module.fields(Settings())]


def write(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text)
    return path


def test_every_setting_has_a_default_and_a_description() -> None:
    settings, origins = load(env={"OVERHEARD_CONFIG": ""})
    assert settings.data_dir.is_absolute()
    assert set(origins) == set(NAMES)
    assert set(origins.values()) == {"default"}
    assert all(field.metadata["about"] for _, _, field in module.fields(settings))


def test_settings_are_immutable() -> None:
    settings, _ = load(env={})
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.model = "x"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("", None),
        ("auto", None),
        ("large", module.MODELS_DIR / "overheard.json"),
        ("overheard", module.MODELS_DIR / "overheard.json"),
        ("no-such-model", Path("no-such-model")),
        ("here/overheard", Path("here/overheard")),
        ("~/m.json", Path.home() / "m.json"),
    ],
)
def test_a_shipped_model_is_selected_by_its_name(name: str, path: Path | None) -> None:
    settings, _ = load(env={}, overrides={"model": name})
    assert settings.model_path == path


def test_the_path_of_a_model_in_the_file_is_relative_to_the_file(tmp_path: Path) -> None:
    for value, expected in (
        ("mine.json", tmp_path / "mine.json"),
        ("models/mine.json", tmp_path / "models/mine.json"),
        ("/m/mine.json", Path("/m/mine.json")),
        ("~/mine.json", Path.home() / "mine.json"),
        ("small", module.MODELS_DIR / "small.json"),
        ("smal", Path("smal")),
    ):
        settings, _ = load(write(tmp_path, f'model = "{value}"'), {})
        assert settings.model_path == expected


def test_later_sources_override_earlier_ones(tmp_path: Path) -> None:
    path = write(tmp_path, 'data_dir = "/file"\npacks = ["a", "b"]\n[gate]\nopen_db = -50\n')
    env = {"OVERHEARD_DATA_DIR": "/environment"}
    settings, origins = load(path, env, {"model": "m", "listen.input": None})
    assert (settings.data_dir, settings.model) == (Path("/environment"), "m")
    assert settings.packs == ("a", "b")
    assert settings.gate.open_db == -50.0
    assert isinstance(settings.gate.open_db, float)
    assert origins["data_dir"] == "environment OVERHEARD_DATA_DIR"
    assert origins["model"] == "flag"
    assert origins["packs"] == f"file {path}"
    assert origins["listen.input"] == "default"


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(b"\xef\xbb\xbfmodel = 'large'\n")
    assert load(path, {})[0].model == "large"


def test_the_environment_sets_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "packs = ['p']")
    assert load(env={"OVERHEARD_CONFIG": str(path)})[0].packs == ("p",)
    with pytest.raises(SettingsError, match="no such configuration file"):
        load(env={"OVERHEARD_CONFIG": str(tmp_path / "none.toml")})


def test_data_dir_in_a_file_is_relative_to_that_file(tmp_path: Path) -> None:
    path = write(tmp_path, 'data_dir = "here"')
    settings, _ = load(path, {})
    assert settings.data_dir == tmp_path / "here"
    assert settings.packs_dir == tmp_path / "here" / "packs"
    assert settings.history_path == tmp_path / "here" / "history.sqlite"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pack = []", "unknown setting pack; did you mean packs"),
        ("[lisen]\ninput = 'x'", "did you mean listen.input"),
        ("zzz = 1", "`overheard config` lists all settings"),
        ("[index]\njobs = 'two'", "index.jobs must be a whole number, not 'two'"),
        ("[index]\njobs = true", "must be a whole number"),
        ("[index]\njobs = -1", "must be between 0 and 1024"),
        ("packs = 'one'", "packs must be a list of names"),
        ("packs = [1]", "packs must be a list of names"),
        ("model = 3", "model must be text"),
        ("data_dir = ''", "data_dir must not be empty"),
        ("[listen]\nhistory = 'yes'", "must be true or false"),
        ("[gate]\nopen_db = nan", "must be between"),
        ("[gate]\nhang_s = inf", "must be between"),
        ("[gate]\nopen_db = -80", "close_db must not be above"),
        ("listen = 3", "unknown setting listen"),
        ("a = = 1", "invalid TOML"),
    ],
)
def test_an_invalid_file_is_a_one_line_error(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(write(tmp_path, text), {})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such configuration file"):
        load(tmp_path / "none.toml", {})
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path, {})
    (tmp_path / "config.toml").write_bytes(b"model = '\xff'")
    with pytest.raises(SettingsError, match="invalid TOML"):
        load(tmp_path / "config.toml", {})


def test_the_output_of_config_is_a_configuration_file(tmp_path: Path) -> None:
    path = write(tmp_path, 'model = "/a \\"b\\"/ü.tflite"\npacks = ["x y"]\n[listen]\ninput = "monitor"\n')
    settings, origins = load(path, {"OVERHEARD_DATA_DIR": "/d"})
    again = write(tmp_path, "\n".join(as_toml(settings, origins)))
    assert load(again, {})[0] == settings


def test_the_template_has_every_setting_and_its_default(tmp_path: Path) -> None:
    env = {"OVERHEARD_DATA_DIR": "/d"}
    lines = template()
    assert load(write(tmp_path, "\n".join(lines)), env)[0] == load(env=env)[0]
    uncommented = [line[2:] if " = " in line else line for line in lines]
    settings, origins = load(write(tmp_path, "\n".join(uncommented)), env)
    assert settings == load(env=env)[0]
    assert all(str(path).startswith("file") for name, path in origins.items() if name != "data_dir")


@given(
    st.sampled_from(NAMES),
    st.one_of(st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.text())),
)
def test_any_value_is_kept_unchanged_or_rejected(name: str, value: Any) -> None:
    try:
        settings, _ = load(env={}, overrides={name: value})
    except SettingsError:
        return
    kept = {key: got for key, got, _ in module.fields(settings)}[name]
    if isinstance(kept, float):
        assert math.isfinite(kept)
    if name != "data_dir":
        assert kept == (tuple(value) if isinstance(value, list) else value)
        json.dumps(kept)


def test_the_documentation_lists_every_setting_with_its_default() -> None:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    rows = re.findall(r"^\| `([a-z_.]+)` \| `(.*?)` \|", page, re.MULTILINE)
    documented = dict(rows)
    expected = {name: toml_value(value) for name, value, _ in module.fields(Settings())}
    expected["data_dir"] = "~/.local/share/overheard"
    assert documented == expected


def test_the_documentation_shows_a_valid_file(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert load(write(tmp_path, example), {})[0].listen.input == "USB Audio"
