"""After a change of the model, packs are searched with the earlier one until they have been made again."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest

from overheard.catalogue.labelled import label
from overheard.catalogue.layers import write_layer
from overheard.catalogue.pack import open_pack, write_pack
from overheard.catalogue.searching_model import model_path, open_model
from overheard.catalogue.selection import open_packs
from overheard.catalogue.track_list import TrackEntry
from overheard.catalogue.watch import PackWatcher
from overheard.commands.checks import check_model, check_packs
from overheard.commands.packs_show import describe
from overheard.errors import PackError
from overheard.fingerprint.model import DEFAULT_MODEL, load_model
from overheard.index.journal import Journal, journal_path
from overheard.recognize.open import open_recognizer
from overheard.settings import MODELS_DIR, Settings

EARLIER = "overheard-tiny"  # has fingerprints of its own


def entry(seed: int) -> TrackEntry:
    """A track with random codes."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(256, size=(5, 22), dtype=np.uint8)
    cells = rng.integers(1024 * 64, size=5).astype(np.uint16)
    return TrackEntry(
        title="a", artist="b", path=f"/m/{seed}.flac", duration_s=6.0, packed_cells=cells, codes=codes
    )


def write(settings: Settings, name: str, model_name: str, n_tracks: int) -> Path:
    """Write a pack for a model."""
    model = load_model(MODELS_DIR / f"{model_name}.json")
    path = settings.packs_dir / f"{name}.pack"
    write_pack(path, name, model.digest, model.spec, [entry(number) for number in range(n_tracks)])
    return path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


def test_packs_of_an_earlier_model_are_searched_until_they_are_made_again(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    assert model_path(settings).stem == DEFAULT_MODEL
    write(settings, "music", EARLIER, 3)
    recognizer = open_recognizer(settings)
    assert recognizer.model.name == EARLIER
    assert [pack.name for pack in recognizer.packs] == ["music"]
    assert "overheard index FOLDER --pack music" in caplog.text
    write(settings, "music", DEFAULT_MODEL, 3)
    assert open_recognizer(settings).model.name == DEFAULT_MODEL


def test_the_model_of_most_tracks_is_used_and_the_others_wait(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(settings, "music", EARLIER, 3)
    write(settings, "vinyl", DEFAULT_MODEL, 4)
    assert model_path(settings).stem == DEFAULT_MODEL
    write_layer(open_pack(path), [entry(8), entry(9)])  # layers count
    model = open_model(settings)
    assert model.name == EARLIER
    assert [pack.name for pack in open_packs(settings, model)] == ["music"]
    assert "vinyl.pack: made for the newest model" in caplog.text
    assert model_path(settings, ["vinyl"]).stem == DEFAULT_MODEL


def test_music_that_the_user_named_does_not_keep_the_earlier_model(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    write(settings, "labelled", EARLIER, 3)
    recognizer = open_recognizer(settings)
    assert recognizer.model.name == DEFAULT_MODEL
    assert [pack.name for pack in recognizer.packs] == ["starter"]
    assert "labelled.pack: made for another model (overheard-tiny); keep it, set model to" in caplog.text
    assert "overheard index" not in caplog.text
    checks = {check.name: check for check in check_packs(settings)}
    assert checks["pack labelled"].ok
    assert "without files" in checks["pack labelled"].detail
    write(settings, "music", EARLIER, 1)
    assert open_recognizer(settings).model.name == EARLIER
    checks = {check.name: check for check in check_packs(settings)}
    assert "overheard index" in checks["pack music"].detail
    assert "overheard index" not in checks["pack labelled"].detail
    with pytest.raises(PackError) as raised:
        open_packs(settings, load_model(MODELS_DIR / f"{DEFAULT_MODEL}.json"), ["labelled"])
    assert "index" not in str(raised.value)


def test_naming_music_keeps_the_names_given_with_another_model(settings: Settings) -> None:
    old, new = (load_model(MODELS_DIR / f"{name}.json") for name in (EARLIER, DEFAULT_MODEL))

    def names(pack: str) -> list[str]:
        return sorted(track.title for track in open_pack(settings.packs_dir / f"{pack}.pack").tracks)

    aside = f"labelled-{old.digest[:8]}"
    for number, (model, title) in enumerate([(old, "one"), (old, "two"), (new, "three"), (new, "four")]):
        track = label(settings.packs_dir, model, entry(number), None, "", title)
        assert track is not None
        assert track.pack == "labelled"
    assert (names("labelled"), names(aside)) == (["four", "three"], ["one", "two"])
    assert model_path(settings).stem == DEFAULT_MODEL
    label(settings.packs_dir, old, entry(5), None, "", "five")  # the user went back to that model
    assert (names("labelled"), names(f"labelled-{new.digest[:8]}")) == (
        ["five", "one", "two"],
        ["four", "three"],
    )
    assert sorted(path.name for path in settings.packs_dir.glob("*.pack")) == [
        f"labelled-{new.digest[:8]}.pack",
        "labelled.pack",
    ]


def test_named_music_can_be_renamed_with_another_model(settings: Settings) -> None:
    old, new = (load_model(MODELS_DIR / f"{name}.json") for name in (EARLIER, DEFAULT_MODEL))
    track = label(settings.packs_dir, old, entry(1), None, "", "one")
    assert track is not None
    assert label(settings.packs_dir, new, None, track.id, "", "two") is not None
    pack = open_pack(settings.packs_dir / "labelled.pack", old.digest)
    assert [each.title for each in pack.tracks] == ["two"]


def test_the_setting_is_obeyed(settings: Settings) -> None:
    write(settings, "music", EARLIER, 3)
    assert model_path(Settings(data_dir=settings.data_dir, model="large")).stem == DEFAULT_MODEL
    write(settings, "music", DEFAULT_MODEL, 3)
    assert model_path(Settings(data_dir=settings.data_dir, model=EARLIER)).stem == EARLIER


def test_the_only_pack_of_another_model_is_one_line(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    write(settings, "music", EARLIER, 3)
    with pytest.raises(PackError, match=r"\(overheard-tiny\); index its music again"):
        open_recognizer(dataclasses.replace(settings, model="large"))
    assert not caplog.text
    write(settings, "vinyl", EARLIER, 3)
    with pytest.raises(PackError, match="vinyl"):
        open_recognizer(dataclasses.replace(settings, model="large"))
    assert caplog.text.count("skipped: ") == 1
    assert "music.pack" in caplog.text


def test_a_pack_that_another_setting_would_search_says_which(settings: Settings) -> None:
    write(settings, "music", DEFAULT_MODEL, 3)
    with pytest.raises(PackError, match="set model to auto, or index its music again"):
        open_recognizer(dataclasses.replace(settings, model=EARLIER))
    earlier = load_model(MODELS_DIR / f"{EARLIER}.json")
    with pytest.raises(PackError, match=r"set model to auto to search it$"):
        open_packs(dataclasses.replace(settings, model=EARLIER, packs=("starter",)), earlier)


def test_only_a_set_model_is_to_be_set_to_auto(settings: Settings) -> None:
    write(settings, "music", EARLIER, 3)
    write(settings, "vinyl", DEFAULT_MODEL, 1)
    earlier = load_model(MODELS_DIR / f"{EARLIER}.json")
    with pytest.raises(PackError, match="made for the newest model; it is searched when"):
        open_packs(settings, earlier, ["music", "vinyl"])
    facts = describe(settings.packs_dir / "vinyl.pack", earlier, settings)
    assert facts["problem"].startswith("made for the newest model")
    facts = describe(settings.packs_dir / "vinyl.pack", earlier, dataclasses.replace(settings, model=EARLIER))
    assert "set model to auto" in facts["problem"]


def test_doctor_says_once_that_a_model_will_be_removed_and_what_a_set_one_costs(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    (check,) = check_model(dataclasses.replace(settings, model=EARLIER))
    assert check.ok
    assert "; the next release does not have this model" in check.detail
    assert str(check.remedy).startswith("set model to auto or tiny, and index your music again")
    check_packs(dataclasses.replace(settings, model=EARLIER))
    assert not caplog.text
    (check,) = check_model(dataclasses.replace(settings, model="small"))
    assert "; set; share of a core that listening takes: overheard " in check.detail
    assert set(check.data["shares"]) == {DEFAULT_MODEL, "small", "tiny"}
    assert check.remedy is None


@pytest.mark.parametrize("damage", [b"", b"OVERHEARD PACK", bytes(5000)])
def test_a_damaged_or_foreign_pack_does_not_decide(settings: Settings, damage: bytes) -> None:
    path = write(settings, "music", EARLIER, 3)
    path.write_bytes(damage)
    assert model_path(settings).stem == DEFAULT_MODEL
    spec = load_model().spec
    write_pack(path, "music", "0123456789abcdef", spec, [entry(1)])
    assert model_path(settings).stem == DEFAULT_MODEL


def test_doctor_shows_how_far_the_music_was_indexed_again(settings: Settings) -> None:
    path = write(settings, "music", EARLIER, 3)
    (found,) = [check for check in check_packs(settings) if check.name == "pack music"]
    assert found.ok
    assert found.detail.endswith("(not begun)")
    journal = Journal(journal_path(path), f"{load_model().digest}/22")
    journal.add([entry(1)])
    (found,) = [check for check in check_packs(settings) if check.name == "pack music"]
    assert found.detail.endswith("(in progress)")
    journal.close()
    checks = {check.name: check for check in (*check_model(settings), *check_packs(settings))}
    assert checks["pack music"].detail.endswith("(interrupted, 1 track done)")
    assert checks["model"].detail.startswith(EARLIER)
    assert all(check.ok for check in checks.values())  # the starter pack waits
    assert "made for the newest model" in checks["pack starter"].detail


def test_a_listener_keeps_the_earlier_pack_when_the_new_one_is_there(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    write(settings, "music", EARLIER, 3)
    model = open_model(settings)
    watcher = PackWatcher(settings, model, None, open_packs(settings, model))
    write(settings, "music", DEFAULT_MODEL, 3)
    with caplog.at_level(logging.WARNING):
        assert [watcher.changed() for _ in range(3)] == [None] * 3
    assert caplog.text.count("restart overheard") == 1
