"""Packs from signed repositories: what an honest web server and an honest publisher do."""

from __future__ import annotations

from pathlib import Path

import pytest

from overheard.catalogue.layers import compact, write_layer
from overheard.catalogue.pack import open_pack
from overheard.settings import Settings
from repositories import Publisher, Server, entries, pack_of, serving, titles, trust, update


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture
def server(publisher: Publisher):
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
