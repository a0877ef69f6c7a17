"""The threats that The Update Framework lists: keys, rollback, freeze, mix-and-match, hostile documents."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as checks
from hypothesis import strategies as st

from overheard.catalogue.layers import write_layer
from overheard.catalogue.pack import open_pack
from overheard.errors import UpdateError
from overheard.fingerprint.json_values import JsonValueError
from overheard.settings import Settings
from overheard.updates.documents import Index, Root
from overheard.updates.keys import fingerprint, parse_fingerprint
from overheard.updates.state import State, locked
from overheard.updates.subscribe import subscribe
from overheard_export.signing import new_key, signature_file
from repositories import Publisher, entries, pack_of, titles, trust, update


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    found = Publisher(tmp_path)
    found.publish(pack_of(tmp_path / "music.pack", entries(range(3))))
    return found


@pytest.fixture
def settings(tmp_path: Path, publisher: Publisher) -> Settings:
    found = Settings(data_dir=tmp_path / "data")
    trust(found, str(publisher.out))
    update(found)
    return found


def refused(settings: Settings, **options: Any) -> str:
    """Update in vain and return the message; the packs stay."""
    before = titles(settings)
    with pytest.raises(UpdateError) as caught:
        update(settings, **options)
    assert titles(settings) == before
    return str(caught.value)


def resign(publisher: Publisher, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a document, and sign it as its publisher would."""
    path = publisher.out / name
    values = json.loads(path.read_bytes())
    change(values)
    content = json.dumps(values).encode()
    path.write_bytes(content)
    path.with_name(f"{name}.sig").write_bytes(signature_file(content, [publisher.key]))


def test_an_older_version_is_refused(settings: Settings, publisher: Publisher, tmp_path: Path) -> None:
    shutil.copytree(publisher.out, tmp_path / "old")
    publisher.publish(pack_of(tmp_path / "music.pack", entries(range(6))))
    update(settings)
    for name in ("latest.json", "index.1.json", "index.1.json.sig"):
        shutil.copy(tmp_path / "old" / name, publisher.out / name)
    assert "offers version 1, which is older than version 2 seen before" in refused(settings)
    assert len(titles(settings)) == 6


def test_an_older_version_is_refused_also_after_a_download_that_failed(
    settings: Settings, publisher: Publisher, tmp_path: Path
) -> None:
    old = (publisher.out / "latest.json").read_bytes()
    publisher.publish(pack_of(tmp_path / "music.pack", entries(range(6))))
    shutil.rmtree(publisher.out / "files")
    assert update(settings)["music"].kind == "failed"
    (publisher.out / "latest.json").write_bytes(old)
    assert "older than version 2" in refused(settings)


def test_a_repository_that_stands_still_is_refused_when_it_expires(settings: Settings) -> None:
    assert update(settings, days_later=89)["music"].kind == "current"
    assert "expired on" in refused(settings, days_later=91)


def test_a_clock_that_was_set_back_is_noticed(settings: Settings) -> None:
    assert "clock of this machine is wrong" in refused(settings, days_later=-2)
    other = dataclasses.replace(settings, data_dir=settings.data_dir / "other")
    trust(other, State(settings).subscriptions.popitem()[0])
    assert "clock" in refused(settings, days_later=-1000)


def test_a_repository_of_another_key_is_refused(
    settings: Settings, publisher: Publisher, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Publisher(tmp_path / "other")
    for _ in range(3):
        other.publish(pack_of(tmp_path / "evil.pack", entries(range(9, 12))))
    shutil.rmtree(publisher.out)
    shutil.copytree(other.out, publisher.out)
    assert "is not signed with the key that you trust" in refused(settings)


def test_two_repositories_of_one_key_cannot_be_exchanged(
    settings: Settings, publisher: Publisher, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Publisher(tmp_path / "other", tmp_path / "publisher.key")
    for _ in range(2):
        other.publish(pack_of(tmp_path / "other.pack", entries(range(9, 12))))
    shutil.rmtree(publisher.out)
    shutil.copytree(other.out, publisher.out)
    assert "of another version or repository" in refused(settings)


def test_two_indexes_of_one_version_are_noticed(settings: Settings, publisher: Publisher) -> None:
    resign(publisher, "index.1.json", lambda values: values["packs"].clear())
    assert "two indexes of version 1" in refused(settings)


def test_an_index_under_the_name_of_a_newer_one_is_refused(settings: Settings, publisher: Publisher) -> None:
    for suffix in ("", ".sig"):
        shutil.copy(publisher.out / f"index.1.json{suffix}", publisher.out / f"index.2.json{suffix}")
    pointer = json.dumps({"format": 1, "root": 1, "index": 2})
    (publisher.out / "latest.json").write_text(pointer)
    assert "of another version or repository" in refused(settings)


def test_a_root_is_no_index(settings: Settings, publisher: Publisher) -> None:
    for suffix in ("", ".sig"):
        shutil.copy(publisher.out / f"root.1.json{suffix}", publisher.out / f"index.1.json{suffix}")
    assert "type is not index" in refused(settings)


def test_keys_can_be_rotated(settings: Settings, publisher: Publisher, tmp_path: Path) -> None:
    keys = [publisher.key, *(new_key(tmp_path / f"{number}.key") for number in range(3))]
    for old, new in itertools.pairwise(keys):
        with pytest.raises(UpdateError, match="--old-key"):
            publisher.publish(key=new)
        publisher.publish(key=new, old_key=old)
    publisher.publish(pack_of(tmp_path / "music.pack", entries(range(6))), key=keys[-1])
    with pytest.raises(UpdateError, match="--old-key"):
        publisher.publish(key=keys[0])
    assert update(settings)["music"].kind == "updated"
    assert State(settings).subscriptions.popitem()[1].root.version == 4
    for key in keys:  # the fingerprint of each key leads to the newest one
        found = Settings(data_dir=tmp_path / key.fingerprint)
        trust(found, str(publisher.out), key=key.fingerprint)
        assert update(found)["music"].kind == "updated"


def test_the_old_key_is_worth_nothing_after_a_rotation(
    settings: Settings, publisher: Publisher, tmp_path: Path
) -> None:
    publisher.publish(key=new_key(tmp_path / "2.key"), old_key=publisher.key)
    update(settings)
    resign(publisher, "index.2.json", lambda values: values["packs"].clear())
    assert "is not signed with the key that you trust" in refused(settings)


def test_only_the_present_key_can_name_the_next(
    settings: Settings, publisher: Publisher, tmp_path: Path
) -> None:
    thief = new_key(tmp_path / "thief.key")
    publisher.publish(key=new_key(tmp_path / "2.key"), old_key=publisher.key)
    path = publisher.out / "root.2.json"
    values = json.loads(path.read_bytes())
    values["root"]["keys"] = values["index"]["keys"] = [thief.public]
    path.write_text(json.dumps(values))
    path.with_name("root.2.json.sig").write_bytes(signature_file(path.read_bytes(), [thief]))
    assert "is not signed with the key that you trust" in refused(settings)
    # Nor may the present key appoint one whose owner does not agree.
    path.with_name("root.2.json.sig").write_bytes(signature_file(path.read_bytes(), [publisher.key]))
    assert "is not signed with the key that you trust" in refused(settings)


def test_a_separate_root_key_recovers_from_a_stolen_index_key(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path)
    root, second = new_key(tmp_path / "root.key"), new_key(tmp_path / "second.key")
    publisher.publish(pack_of(tmp_path / "music.pack", entries(range(3))), root_key=root)
    settings = Settings(data_dir=tmp_path / "data")
    trust(settings, str(publisher.out), key=root.fingerprint)
    publisher.publish(pack_of(tmp_path / "music.pack", entries(range(4))))  # needs the index key only
    update(settings)
    # The thief publishes the highest version number, so that all later ones look old.
    for suffix in ("", ".sig"):
        shutil.copy(publisher.out / f"index.2.json{suffix}", publisher.out / f"index.999999999.json{suffix}")
    resign(publisher, "index.999999999.json", lambda values: values.update(version=999999999))
    honest = (publisher.out / "latest.json").read_bytes()
    (publisher.out / "latest.json").write_text(json.dumps({"format": 1, "root": 1, "index": 999999999}))
    update(settings)
    (publisher.out / "latest.json").write_bytes(honest)
    assert "older" in refused(settings)
    with pytest.raises(UpdateError, match="--root-key"):
        publisher.publish(key=second)
    publisher.publish(pack_of(tmp_path / "music.pack", entries(range(5))), key=second, root_key=root)
    assert update(settings)["music"].kind == "updated"
    assert len(titles(settings)) == 5


def test_a_key_must_have_the_fingerprint_that_the_user_expects(tmp_path: Path, publisher: Publisher) -> None:
    settings = Settings(data_dir=tmp_path / "other")
    with pytest.raises(UpdateError, match=r"no key of .* has the fingerprint"):
        trust(settings, str(publisher.out), key="0" * 32)
    with pytest.raises(UpdateError, match="is not the fingerprint of a key"):
        trust(settings, str(publisher.out), key="mine")
    assert not subscribe(settings, str(publisher.out), lambda offer: False)
    assert State(settings).subscriptions == {}
    trust(settings, str(publisher.out), key=publisher.key.fingerprint.upper())
    with pytest.raises(UpdateError, match="already"):
        trust(settings, str(publisher.out))


def test_fingerprints_are_read_as_people_write_them() -> None:
    shown = fingerprint("ab" * 32)
    assert parse_fingerprint(" ".join(shown[i : i + 4] for i in range(0, 32, 4)).upper()) == shown
    assert parse_fingerprint(":".join(shown[i : i + 2] for i in range(0, 32, 2))) == shown


def each(field: str, *values: Any) -> list[tuple[str, Any]]:
    return [(field, value) for value in values]


HOSTILE = [
    *each(
        "name",
        "../x",
        "/etc/x",
        "..",
        ".x",
        "",
        "a/b",
        "a\0b",
        "a.b",
        "\x1b[2J",
        "x" * 65,
        "musíc",
        "music\n",
    ),
    *each("name", 7, None, ["music"]),
    *each("last", -1, 10**30, 1.5, True, "1", None),
    *each("tracks", -1, 10**30, "many"),
    *each("model", "../../x", "F" * 16, 7, ""),
    *each("lineage", "../../x", "F" * 16, 7),
    *each("files", None, {}, [7], [None], [{}], "x", [{"base": True}] * 3000),
]
HOSTILE_FILES = [
    *each("sha256", "../../../etc/passwd", "A" * 64, "0" * 63, "", 7, None),
    *each("size", -1, 0, 10**30, 1 << 40, 1.5, "1", True),
    *each("first", -1, 10**30, "1", None),
    *each("last", -1, 10**30, "1", None),
    *each("base", 1, "true", None),
]


@pytest.mark.parametrize(("field", "value"), HOSTILE)
def test_a_signed_index_with_a_hostile_pack_is_refused(publisher: Publisher, field: str, value: Any) -> None:
    content = json.loads((publisher.out / "index.1.json").read_bytes())
    content["packs"][0][field] = value
    with pytest.raises(JsonValueError) as caught:
        Index.parse(json.dumps(content).encode())
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("field", "value"), HOSTILE_FILES)
def test_a_signed_index_with_a_hostile_file_is_refused(publisher: Publisher, field: str, value: Any) -> None:
    content = json.loads((publisher.out / "index.1.json").read_bytes())
    content["packs"][0]["files"][0][field] = value
    with pytest.raises(JsonValueError) as caught:
        Index.parse(json.dumps(content).encode())
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.update(format=2),
        lambda values: values.update(type="root"),
        lambda values: values.update(version=10**10),
        lambda values: values.update(expires="never"),
        lambda values: values.update(expires="2030-01-01T00:00:00"),
        lambda values: values.update(created="9999-12-31T23:59:59-23:59"),
        lambda values: values.update(repository="\x1b[2J"),
        lambda values: values.update(packs=values["packs"] * 2),
        lambda values: values.update(packs=[{**values["packs"][0], "name": name} for name in ("a", "A")]),
        lambda values: values.update(packs=[{}] * 2000),
        lambda values: values.clear(),
    ],
)
def test_a_hostile_index_is_refused_as_one_line(
    settings: Settings, publisher: Publisher, change: Callable[[dict[str, Any]], object]
) -> None:
    resign(publisher, "index.1.json", change)
    assert refused(settings).isprintable()


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"a":' * 50_000, b"1" * 10_000, b"\xff\xfe", b"", b"null"]
)
def test_documents_that_are_hard_to_parse_are_refused(content: bytes) -> None:
    for parse in (Index.parse, Root.parse):
        with pytest.raises(JsonValueError):
            parse(content)


@checks(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_of_a_document_is_refused_or_read(publisher: Publisher, data: st.DataObject) -> None:
    """No change makes the parser fail in another way, whoever signed it."""
    name, parse = data.draw(st.sampled_from([("index.1.json", Index.parse), ("root.1.json", Root.parse)]))
    content = (publisher.out / name).read_bytes()
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(content))] * 2)))
    inserted = data.draw(
        st.binary(max_size=9) | st.sampled_from([b"null", b"[", b"{", b"-1", b"1e999", b'"\\ud800"'])
    )
    with contextlib.suppress(JsonValueError):
        parse(content[:start] + inserted + content[min(end, start + 9) :])


def test_files_that_are_no_packs_are_refused_although_they_are_signed(
    settings: Settings, publisher: Publisher, tmp_path: Path
) -> None:
    """A publisher whose pack is damaged, of another model, or not the layer that the index says."""
    path = pack_of(tmp_path / "music.pack", entries(range(3)))
    write_layer(open_pack(path), entries(range(3, 5)))
    publisher.publish(path)
    original = (publisher.out / "index.2.json").read_bytes()
    other_model = pack_of(tmp_path / "other.pack", entries(range(5)), "feed" * 4)
    for number, content in enumerate((b"x" * 1000, other_model.read_bytes(), path.read_bytes()[:-1])):
        sha256 = hashlib.sha256(content).hexdigest()
        (publisher.out / "files" / f"{sha256}.pack").write_bytes(content)
        facts = {"sha256": sha256, "size": len(content)}

        def change(values: dict[str, Any], facts: dict[str, Any] = facts) -> None:
            values["packs"][0]["files"][-1].update(facts)

        (publisher.out / "index.2.json").write_bytes(original)
        resign(publisher, "index.2.json", change)
        again = dataclasses.replace(settings, data_dir=tmp_path / f"data {number}")
        shutil.copytree(settings.data_dir, again.data_dir)
        assert "is not usable" in update(again)["music"].detail
        assert len(titles(again)) == 3
        assert not list(again.packs_dir.glob("**/*.part"))


def test_one_update_at_a_time(settings: Settings) -> None:
    started, done = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(settings):
            started.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    started.wait(60)
    assert "another `overheard packs update` is running" in refused(settings)
    done.set()
    thread.join()
    assert update(settings)["music"].kind == "current"


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[1]", b'{"format": 9}', b'{"format":1,"subscriptions":[{}]}']
)
def test_a_damaged_list_of_subscriptions_is_one_line(settings: Settings, content: bytes) -> None:
    (settings.data_dir / "subscriptions.json").write_bytes(content)
    assert "subscribe again" in refused(settings)
