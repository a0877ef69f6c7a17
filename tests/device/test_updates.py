"""Packs from signed repositories: what an honest web server and an honest publisher do."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from overheard.catalogue.layers import MAX_LAYERS, compact, write_layer
from overheard.catalogue.pack import open_pack
from overheard.catalogue.pack_lock import pack_lock
from overheard.errors import PackError, UpdateError
from overheard.fingerprint.model import default_model
from overheard.settings import Settings
from overheard.updates.source import normalized
from overheard.updates.subscribe import Update
from repositories import Publisher, Server, entries, pack_of, serving, titles, trust, update


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture
def server(publisher: Publisher) -> Iterator[Server]:
    with serving(publisher.out) as running:
        yield running


def expect(numbers: range) -> list[str]:
    return sorted(f"Title {number}" for number in numbers)


def test_subscribe_and_update(
    publisher: Publisher, settings: Settings, server: Server, tmp_path: Path
) -> None:
    publisher.publish(pack_of(tmp_path / "music.pack", entries(range(5))))
    trust(settings, server.url)
    assert not settings.packs_dir.exists()
    assert update(settings, check=True)["music"].kind == "available"
    assert update(settings)["music"].kind == "updated"
    assert titles(settings) == expect(range(5))
    assert update(settings)["music"].kind == "current"
    assert sorted(path.name for path in settings.packs_dir.iterdir()) == ["music.pack"]
    assert (settings.packs_dir / "music.pack").stat().st_mode & 0o777 == 0o600
    assert (settings.data_dir / "subscriptions.json").stat().st_mode & 0o777 == 0o600


def test_an_addition_costs_in_proportion(
    publisher: Publisher, settings: Settings, server: Server, tmp_path: Path
) -> None:
    path = pack_of(tmp_path / "music.pack", entries(range(300)))
    publisher.publish(path)
    trust(settings, server.url)
    update(settings)
    write_layer(open_pack(path), entries(range(300, 302)))
    publisher.publish(path)
    server.n_bytes = 0
    assert update(settings)["music"].kind == "updated"
    assert server.n_bytes < 0.05 * path.stat().st_size
    assert titles(settings) == expect(range(302))


@pytest.mark.parametrize("compacted", [False, True])
def test_a_rewritten_pack_is_published_as_a_delta(
    publisher: Publisher, settings: Settings, server: Server, tmp_path: Path, compacted: bool
) -> None:
    path = pack_of(tmp_path / "music.pack", entries(range(100)))
    publisher.publish(path)
    trust(settings, server.url)
    update(settings)
    if compacted:
        for number in range(100, 105):
            write_layer(open_pack(path), entries(range(number, number + 1)))
        write_layer(open_pack(path), [], [entries(range(1))[0].id])
        compact(path)
    else:
        pack_of(path, entries(range(1, 105)))
    publisher.publish(path)
    server.n_bytes = 0
    update(settings)
    assert server.n_bytes < 0.2 * path.stat().st_size
    assert titles(settings) == expect(range(1, 105))


def test_only_new_files_are_published_and_old_ones_go(publisher: Publisher, tmp_path: Path) -> None:
    path = pack_of(tmp_path / "music.pack", entries(range(100)))
    publisher.publish(path)
    names = []
    for number in range(100, 106):
        write_layer(open_pack(path), entries(range(number, number + 1)))
        publisher.publish(path)
        names.append({file.name for file in (publisher.out / "files").iterdir()})
    assert all(len(new - old) == 1 and old <= new for old, new in itertools.pairwise(names))
    compact(path)
    for _ in range(4):
        publisher.publish(path)
    assert len(list(publisher.out.glob("index.*.json"))) == 3
    (entry,) = publisher.publish()
    assert {file.path.removeprefix("files/") for file in entry.files} == {
        file.name for file in (publisher.out / "files").iterdir()
    }
    assert [file.last for file in entry.files if file.base] == [6]


def test_a_client_of_any_version_downloads_what_it_lacks(
    publisher: Publisher, server: Server, tmp_path: Path
) -> None:
    path = pack_of(tmp_path / "music.pack", entries(range(100)))
    clients = []
    for version in range(8):
        publisher.publish(path)
        clients.append(Settings(data_dir=tmp_path / f"client {version}"))
        trust(clients[-1], server.url)
        update(clients[-1])
        if version == 4:
            compact(path)
        elif version == 5:
            pack_of(path, entries(range(1, 106)))
        else:
            write_layer(open_pack(path), entries(range(100 + version, 101 + version)), [])
    (entry,) = publisher.publish(path)
    for version, settings in enumerate(clients):
        server.n_bytes = 0
        assert update(settings)["music"].kind == "updated", version
        assert server.n_bytes < 0.35 * path.stat().st_size, version
        assert titles(settings) == sorted(track.title for track in open_pack(path).tracks)
        assert entry.tracks == open_pack(path).n_tracks


def test_a_pack_that_is_mostly_new_is_published_as_a_base(
    publisher: Publisher, settings: Settings, tmp_path: Path
) -> None:
    path = pack_of(tmp_path / "music.pack", entries(range(10)))
    publisher.publish(path)
    trust(settings, str(publisher.out))
    update(settings)
    write_layer(open_pack(path), entries(range(10, 12)))
    publisher.publish(path)
    update(settings)
    assert (settings.packs_dir / "music.layers").is_dir()
    (entry,) = publisher.publish(pack_of(path, entries(range(8, 30))))
    assert [file.base for file in entry.files] == [True]
    update(settings)
    assert titles(settings) == expect(range(8, 30))
    assert os.listdir(settings.packs_dir) == ["music.pack"]


def test_the_publisher_refuses_what_would_go_wrong(publisher: Publisher, tmp_path: Path) -> None:
    path = pack_of(tmp_path / "music.pack", entries(range(10)))
    old = path.read_bytes()
    write_layer(open_pack(path), entries(range(10, 12)))
    publisher.publish(path)
    shutil.rmtree(tmp_path / "music.layers")
    path.write_bytes(old)
    with pytest.raises(UpdateError, match="older than the version in the repository"):
        publisher.publish(path)
    with pytest.raises(UpdateError, match="contains the paths of your files"):
        publisher.publish(pack_of(tmp_path / "own.pack", entries(range(1), path="/home/me/song.flac")))
    also = (("/home/me/copy.flac", 1, 1),)
    with pytest.raises(UpdateError, match="contains the paths of your files"):
        publisher.publish(pack_of(tmp_path / "own.pack", entries(range(1), also=also)))
    with pytest.raises(UpdateError, match="rename the file"):
        publisher.publish(pack_of(tmp_path / "my music.pack", entries(range(1))))
    with pytest.raises(UpdateError, match="no pack nothing"):
        publisher.publish(remove=["nothing"])
    with pytest.raises(UpdateError, match="two of the packs have the name music"):
        publisher.publish(*[pack_of(tmp_path / "music.pack", entries(range(20)))] * 2)
    with pytest.raises(UpdateError, match="subscribers would refuse the index"):
        publisher.publish(*(pack_of(tmp_path / f"{name}.pack", entries(range(2))) for name in ("a", "A")))
    (tmp_path / "broken.pack").write_bytes(b"x")
    with pytest.raises(PackError):
        publisher.publish(tmp_path / "broken.pack")
    assert [entry.name for entry in publisher.publish()] == ["music"]
    pack_of(path, entries(range(20)))
    assert publisher.publish(path, remove=["music"])[0].last == 0


def test_a_damaged_repository_is_not_published(publisher: Publisher, tmp_path: Path) -> None:
    path = pack_of(tmp_path / "music.pack", entries(range(10)))
    publisher.publish(path)
    (file,) = (publisher.out / "files").iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UpdateError, match="--remove music"):
        publisher.publish(pack_of(path, entries(range(11))))
    publisher.publish(pack_of(path, entries(range(11))), remove=["music"])
    (publisher.out / "index.1.json").write_bytes(b"{}")  # an old one, which nobody needs
    publisher.publish(path)
    (publisher.out / "index.3.json").write_bytes(b"{}")
    with pytest.raises(UpdateError, match="restore the folder"):
        publisher.publish(path)


@pytest.mark.parametrize("base_only", [True, False])
def test_a_pack_of_the_user_is_never_overwritten(
    publisher: Publisher, settings: Settings, tmp_path: Path, base_only: bool
) -> None:
    publisher.publish(pack_of(tmp_path / "music.pack", entries(range(5))))
    own = pack_of(settings.packs_dir / "music.pack", entries(range(50, 53)))
    if not base_only:
        write_layer(open_pack(own), entries(range(53, 54)))
    before = titles(settings)
    trust(settings, str(publisher.out))
    assert "you have a pack of your own with the name music" in update(settings)["music"].detail
    assert titles(settings) == before
    own.rename(own.with_name("mine.pack"))
    assert update(settings)["music"].kind == "updated"
    assert titles(settings) == expect(range(5))


@pytest.mark.parametrize("change", ["base", "layer", "journal"])
def test_a_pack_that_was_changed_here_is_not_overwritten(
    publisher: Publisher, settings: Settings, tmp_path: Path, change: str
) -> None:
    path = pack_of(tmp_path / "music.pack", entries(range(5)))
    publisher.publish(path)
    trust(settings, str(publisher.out))
    update(settings)
    base = settings.packs_dir / "music.pack"
    if change == "base":
        pack_of(base, entries(range(60, 63)))
    elif change == "layer":
        write_layer(open_pack(base), entries(range(60, 63)))
    else:
        (settings.packs_dir / "music.indexing.sqlite").touch()
    before = titles(settings)
    publisher.publish(pack_of(path, entries(range(6))))
    outcome = update(settings)["music"]
    assert outcome.kind == "failed"
    assert "overheard packs remove music" in outcome.detail
    assert titles(settings) == before


def test_a_pack_that_another_program_changes_is_left_alone(
    publisher: Publisher, settings: Settings, tmp_path: Path
) -> None:
    path = pack_of(tmp_path / "music.pack", entries(range(5)))
    publisher.publish(path)
    trust(settings, str(publisher.out))
    update(settings)
    publisher.publish(pack_of(path, entries(range(7))))
    with pack_lock(settings.packs_dir / "music.pack"):
        assert "another overheard process is changing this pack" in update(settings)["music"].detail
    assert titles(settings) == expect(range(5))
    assert update(settings)["music"].kind == "updated"


def test_a_pack_that_is_made_during_the_download_is_not_overwritten(
    publisher: Publisher, settings: Settings, tmp_path: Path
) -> None:
    publisher.publish(pack_of(tmp_path / "music.pack", entries(range(5))))
    trust(settings, str(publisher.out))
    own = settings.packs_dir / "music.pack"
    made: list[Path] = []

    def report(*_: object) -> None:
        if not made:
            made.append(pack_of(own, entries(range(50, 52))))

    ((_, outcome),) = Update(settings, default_model()).run(report=report)
    assert getattr(outcome, "kind", None) == "failed"
    assert titles(settings) == expect(range(50, 52))


def test_a_damaged_copy_is_downloaded_again(publisher: Publisher, settings: Settings, tmp_path: Path) -> None:
    path = pack_of(tmp_path / "music.pack", entries(range(20)))
    publisher.publish(path)
    write_layer(open_pack(path), entries(range(20, 22)))
    publisher.publish(path)
    trust(settings, str(publisher.out))
    update(settings)
    base, layer = settings.packs_dir / "music.pack", settings.packs_dir / "music.layers/00000001.pack"
    for damaged in (base, layer):
        damaged.write_bytes(damaged.read_bytes()[:-1])
        assert update(settings)["music"].kind == "updated"
        assert titles(settings) == expect(range(22))
    layer.unlink()
    assert update(settings)["music"].kind == "updated"
    for copied in (base, layer):  # as by a restored backup
        content = copied.read_bytes()
        copied.unlink()
        copied.write_bytes(content)
    assert update(settings)["music"].kind == "current"
    assert titles(settings) == expect(range(22))


@pytest.mark.parametrize("compacted", [False, True])
def test_many_layers_are_merged_here_and_the_pack_stays_the_repositorys(
    publisher: Publisher, settings: Settings, server: Server, tmp_path: Path, compacted: bool
) -> None:
    path = pack_of(tmp_path / "music.pack", entries(range(50)))
    publisher.publish(path)
    trust(settings, server.url)
    update(settings)
    for number in range(50, 61):
        write_layer(open_pack(path), entries(range(number, number + 1)))
        publisher.publish(path)
        server.n_bytes = 0
        assert update(settings)["music"].kind == "updated"
        assert server.n_bytes < 0.5 * path.stat().st_size
        if compacted and number == 55:
            compact(settings.packs_dir / "music.pack")
    assert titles(settings) == expect(range(61))
    assert len(os.listdir(settings.packs_dir / "music.layers")) <= MAX_LAYERS
    assert update(settings)["music"].kind == "current"


def test_packs_are_known_again_after_the_subscriptions_were_lost(
    publisher: Publisher, settings: Settings, tmp_path: Path
) -> None:
    path = pack_of(tmp_path / "music.pack", entries(range(5)))
    publisher.publish(path)
    trust(settings, str(publisher.out))
    update(settings)
    (settings.data_dir / "subscriptions.json").unlink()
    trust(settings, str(publisher.out))
    assert update(settings)["music"].kind == "current"
    publisher.publish(pack_of(path, entries(range(6))))
    assert update(settings)["music"].kind == "updated"


def test_packs_of_other_models_and_packs_that_are_gone_are_skipped(
    publisher: Publisher, settings: Settings, tmp_path: Path
) -> None:
    publisher.publish(pack_of(tmp_path / "music.pack", entries(range(5))))
    publisher.publish(pack_of(tmp_path / "other.pack", entries(range(5)), "feed" * 4))
    trust(settings, str(publisher.out))
    outcomes = update(settings)
    assert outcomes["music"].kind == "updated"
    assert outcomes["other"].kind == "skipped"
    assert "made for another model (feedfeedfeedfeed" in outcomes["other"].detail
    publisher.publish(pack_of(tmp_path / "other.pack", entries(range(4))), remove=["music"])
    outcomes = update(settings)
    assert (outcomes["other"].kind, outcomes["music"].kind) == ("updated", "skipped")
    assert titles(settings, "other") == expect(range(4))
    assert titles(settings, "music") == expect(range(5))


def test_only_the_packs_that_the_user_wants(publisher: Publisher, settings: Settings, tmp_path: Path) -> None:
    publisher.publish(*(pack_of(tmp_path / f"{name}.pack", entries(range(3))) for name in ("a", "b", "c")))
    with pytest.raises(UpdateError, match="no pack d"):
        trust(settings, str(publisher.out), packs=["a", "d"])
    trust(settings, str(publisher.out), packs=["a", "c"])
    update(settings)
    assert sorted(os.listdir(settings.packs_dir)) == ["a.pack", "c.pack"]


def test_two_repositories_with_a_pack_of_one_name(
    publisher: Publisher, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Publisher(tmp_path / "other")
    publisher.publish(pack_of(tmp_path / "music.pack", entries(range(3))))
    other.publish(pack_of(tmp_path / "other" / "music.pack", entries(range(5, 8))))
    trust(settings, str(publisher.out))
    update(settings)
    trust(settings, str(other.out))
    found = list(Update(settings, default_model()).run())
    assert [getattr(outcome, "kind", None) for _, outcome in found] == ["current", "failed"]
    assert titles(settings) == expect(range(3))


def test_a_pack_that_ships_with_overheard_is_not_hidden(
    publisher: Publisher, settings: Settings, tmp_path: Path
) -> None:
    publisher.publish(pack_of(tmp_path / "starter.pack", entries(range(3))))
    trust(settings, str(publisher.out))
    assert "ships with overheard" in update(settings)["starter"].detail


@pytest.mark.parametrize(
    ("address", "stored"),
    [
        ("HTTPS://Example.org:8443/packs/", "https://example.org:8443/packs"),
        ("http://[::1]/", "http://[::1]"),
        ("file:///srv/my%20packs", "/srv/my packs"),
        ("/srv/packs/../music", "/srv/music"),
    ],
)
def test_addresses(address: str, stored: str) -> None:
    assert normalized(address) == stored
    assert normalized(stored) == stored


@pytest.mark.parametrize(
    "address",
    [
        *("", "ftp://example.org", "http://", "https://me:secret@example.org", "http://x:99999/", "http://["),
        *(
            "a\nb",
            "http://example.org/?a=b",
            "file://example.org/x",
            "\x1b[2J",
            "http://example.org/\r\nX: y",
        ),
    ],
)
def test_invalid_addresses_are_one_line(settings: Settings, address: str) -> None:
    with pytest.raises(UpdateError) as caught:
        trust(settings, address)
    assert str(caught.value).isprintable()
