"""Networks of one space share packs, whatever their size; packs of another space are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from overheard.catalogue.labelled import label
from overheard.catalogue.layers import compact, write_layer
from overheard.catalogue.pack import open_pack, write_pack
from overheard.catalogue.pack_model import model_of, network_names
from overheard.catalogue.selection import open_for_model, shipped_packs_dir
from overheard.catalogue.share import merge_packs
from overheard.catalogue.track_list import TrackEntry
from overheard.errors import ModelError, PackError
from overheard.fingerprint.model import PARTS, Model, default_model, digest_of, load_model, quality_digest
from overheard.fingerprint.spec import SPEC
from overheard.index.journal import Journal
from overheard.recognize.pack_kinds import PackKinds
from overheard.recognize.recognizer import Recognizer
from overheard.recognize.unknown_store import UnknownPiece, UnknownStore
from overheard.settings import MODELS_DIR

SHIPPED_DIGEST = "7cc86a325a79258b"  # in every pack since the shipped network was trained


def join_space(folder: Path, **changes: Any) -> Path:
    """Write a model with another network that joins the space of the shipped one."""
    teacher = default_model()
    for suffix in PARTS[1:3]:
        shutil.copyfile(MODELS_DIR / f"overheard{suffix}", folder / f"overheard{suffix}")
    tflite = (MODELS_DIR / "overheard-tiny.tflite").read_bytes()
    quality = (MODELS_DIR / "overheard-tiny.quality.npz").read_bytes()
    quantizer, cohort = ((MODELS_DIR / f"overheard{suffix}").read_bytes() for suffix in PARTS[1:3])
    (folder / "student.tflite").write_bytes(tflite)
    (folder / "student.quality.npz").write_bytes(quality)
    manifest = {
        **teacher.manifest,
        "name": "student",
        "space": teacher.space.to_dict(),
        "digest": digest_of(SPEC, tflite, quantizer, cohort),
        "quality_digest": quality_digest(quality),
        **changes,
    }
    (folder / "student.json").write_text(json.dumps(manifest))
    return folder / "student.json"


@pytest.fixture
def student(tmp_path: Path) -> Model:
    """A model with another network in the space of the shipped one."""
    return load_model(join_space(tmp_path))


def entry(seed: int) -> TrackEntry:
    """A track with random codes."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(256, size=(5, 22), dtype=np.uint8)
    cells = rng.integers(1024 * 64, size=5).astype(np.uint16)
    return TrackEntry(
        title="a", artist="b", path=f"/m/{seed}.flac", duration_s=6.0, packed_cells=cells, codes=codes
    )


def test_the_digest_of_the_shipped_packs_never_changes() -> None:
    model = default_model()
    assert (model.digest, model.space.name) == (SHIPPED_DIGEST, "overheard")
    assert open_for_model(shipped_packs_dir() / "starter.pack", model).digest == SHIPPED_DIGEST


def test_a_space_is_its_spec_quantizer_and_cohort(student: Model) -> None:
    teacher = default_model()
    assert student.space == teacher.space
    assert student.network_digest != teacher.network_digest
    assert student.space.digest != student.space.pack_digest


def test_a_pack_from_before_there_were_spaces_opens_with_every_network(student: Model) -> None:
    for model in (default_model(), student):
        pack = open_for_model(shipped_packs_dir() / "starter.pack", model)
        assert pack.n_tracks
        assert pack.networks == ()


def test_a_pack_of_another_space_is_refused_with_what_to_type(student: Model, tmp_path: Path) -> None:
    other = load_model(MODELS_DIR / "overheard-tiny.json")
    write_pack(tmp_path / "old.pack", "old", other.digest, other.spec, [entry(1)])
    for model in (default_model(), student):
        with pytest.raises(
            PackError, match=r"made for another model \(overheard-tiny\).*overheard index FOLDER"
        ):
            open_for_model(tmp_path / "old.pack", model)
    assert open_for_model(tmp_path / "old.pack", other).n_tracks == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": {"name": "overheard", "digest": "0" * 16, "pack_digest": "0" * 16}}, "of its space"),
        ({"space": {"name": "../x", "digest": "0" * 16, "pack_digest": "0" * 16}}, "letters, digits"),
        ({"space": {"name": "overheard", "digest": "0" * 16, "pack_digest": "7CC8"}}, "16 hex digits"),
        ({"space": {"name": "overheard"}}, "not supported"),
        ({"space": "overheard"}, "not supported"),
        ({"space": {"name": "missing", "digest": "0" * 16, "pack_digest": "0" * 16}}, "cannot read"),
    ],
)
def test_a_manifest_with_an_invalid_space_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message) as raised:
        load_model(join_space(tmp_path, **changes))
    assert "\n" not in str(raised.value)


def test_a_missing_file_of_the_space_is_named_with_what_to_copy(student: Model) -> None:
    student.path.with_name("overheard.quantizer.npz").unlink()
    wanted = r"copy overheard\.quantizer\.npz and overheard\.cohort\.npz"
    with pytest.raises(ModelError, match=wanted):
        load_model(student.path)


def test_a_network_whose_space_was_exported_again_says_so(student: Model) -> None:
    shutil.copyfile(MODELS_DIR / "overheard-tiny.cohort.npz", student.path.with_name("overheard.cohort.npz"))
    with pytest.raises(ModelError, match=r"files of its space overheard.*train and export the network again"):
        load_model(student.path)


def test_packs_record_the_networks_that_made_them(tmp_path: Path) -> None:
    one, two = "1" * 16, "2" * 16
    path = tmp_path / "a.pack"
    write_pack(path, "a", SHIPPED_DIGEST, SPEC, [entry(1)], networks=[one])
    write_layer(open_pack(path), [entry(2)], networks=[two])
    assert open_pack(path).networks == (one, two)
    compact(path)
    assert open_pack(path).networks == (one, two)
    write_pack(tmp_path / "b.pack", "b", SHIPPED_DIGEST, SPEC, [entry(3)], networks=["3" * 16])
    merge_packs([open_pack(path), open_pack(tmp_path / "b.pack")], tmp_path / "c.pack")
    assert open_pack(tmp_path / "c.pack").networks == (one, two, "3" * 16)


def test_packs_of_unknown_music_record_the_network_and_have_its_calibration(tmp_path: Path) -> None:
    scoring = default_model().manifest["scoring"]
    student = load_model(join_space(tmp_path, own_scoring={**scoring, "threshold": 4.5}))
    store = UnknownStore(tmp_path / "unknown" / "unknown.pack", student, max_pieces=200)
    rng = np.random.default_rng(3)
    embeddings = rng.standard_normal((20, SPEC.dim)).astype(np.float32)
    store.put(UnknownPiece(1, 1, 0.0, 0.0), embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True))
    teachers = UnknownStore(store.path, default_model(), max_pieces=200)
    for each, threshold in ((store, 4.5), (teachers, 4.0)):
        assert [piece.unknown_id for piece in each.pieces()] == [1]
        assert each._matcher is not None
        assert each._matcher.scoring.threshold == threshold
    teachers.put(UnknownPiece(1, 2, 0.0, 1.0))  # changes no fingerprint
    assert open_pack(store.path).networks == (student.network_digest,)
    piece = teachers.entry(1)
    assert piece is not None
    label(tmp_path, default_model(), piece, None, "Artist", "Title", teachers.networks)
    assert open_pack(tmp_path / "labelled.pack").networks == (student.network_digest,)


def test_networks_are_shown_by_name() -> None:
    small = load_model(MODELS_DIR / "small.json")
    assert network_names([small.network_digest, "1" * 16]) == ["small", "1" * 16]
    assert model_of(SHIPPED_DIGEST) == "overheard"
    assert model_of("1" * 16) == "1" * 16


def test_a_journal_survives_a_change_of_the_network(tmp_path: Path) -> None:
    path, key = tmp_path / "j.sqlite", f"{SHIPPED_DIGEST}/22"
    for network, seed in (("1" * 16, 1), ("2" * 16, 2)):
        journal = Journal(path, key)
        journal.add([entry(seed)], "", network)
        journal.close()
    journal = Journal(path, key)
    assert len(list(journal.tracks())) == 2
    assert journal.networks == {"1" * 16, "2" * 16}
    journal.clear()
    assert journal.networks == frozenset()
    journal.close()
    assert Journal(path, key).networks == frozenset()


def test_packs_that_the_network_indexed_itself_have_their_own_calibration(tmp_path: Path) -> None:
    scoring = default_model().manifest["scoring"]
    student = load_model(join_space(tmp_path, own_scoring={**scoring, "threshold": 4.5}))
    packs = []
    for name, networks in (("of the teacher", ["1" * 16]), ("of its own", [student.network_digest])):
        write_pack(tmp_path / f"{name}.pack", name, SHIPPED_DIGEST, SPEC, [entry(1)], networks=networks)
        packs.append(open_for_model(tmp_path / f"{name}.pack", student))
    thresholds = [
        Recognizer(student, some).matcher.scoring.threshold for some in (packs[:1], packs[1:], packs)
    ]
    assert thresholds == [4.0, 4.5, 4.5]
    many = tmp_path / "many.pack"
    write_pack(
        many, "many", SHIPPED_DIGEST, SPEC, [entry(seed) for seed in range(2, 12)], networks=["1" * 16]
    )
    packs.append(open_for_model(many, student))
    assert PackKinds.of(packs).scoring(student).threshold == 4.0  # a few tracks of its own change little
    assert PackKinds.joined(PackKinds.of([pack]) for pack in packs) == PackKinds.of(packs)
    assert PackKinds.of([]).scoring(student).threshold == 4.0
