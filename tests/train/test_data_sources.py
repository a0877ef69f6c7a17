"""Sources of training data: layouts, splits and groups."""

from __future__ import annotations

import argparse
import csv
import logging
import os
import subprocess
import sys
from pathlib import Path, PurePath

import numpy as np
import pytest
import scipy.io

import audio_files
import train_corpus
from overheard.errors import AudioError
from overheard_train.data import Data, Recording, add_data_argument, open_data
from overheard_train.data.groups import collection_group, folder_group, split_groups

ROOT = Path(__file__).parents[2]
FMA_COLUMNS = [
    *(("album", "comments"), ("album", "id"), ("artist", "bio"), ("artist", "id"), ("artist", "name")),
    *(("set", "split"), ("set", "subset"), ("track", "bit_rate"), ("track", "title")),
]


def write(path: Path, seconds: float = 0.5, seed: int = 0, rate: int = 8000) -> Path:
    """Write some music in the way that the suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = {".wav": "pcm_s16le", ".flac": "flac", ".mp3": "libmp3lame"}[path.suffix]
    return audio_files.encode(path, audio_files.music(seconds, seed, rate), rate, codec, "mono")


def write_fma(root: Path, tracks: dict[int, tuple[str, int]], header_rows: int = 3) -> Path:
    """Write FMA's table, of track numbers to split and artist's number, as ``DataFrame.to_csv`` does."""
    table = root / "fma_metadata" / "tracks.csv"
    table.parent.mkdir(parents=True)
    with table.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["", *(group for group, _ in FMA_COLUMNS)])
        out.writerow(["", *(name for _, name in FMA_COLUMNS)])
        if header_rows == 3:
            out.writerow(["track_id", *[""] * len(FMA_COLUMNS)])
        for number, (split, artist) in tracks.items():
            bio = "<p>plays,\nsings</p> " * 9000  # some are longer than csv takes by itself
            title = f"Title, {number}"
            out.writerow([number, 0, 1, bio, artist, f"Artist {artist}", split, "small", 256000, title])
    return root


def fma_path(root: Path, subset: str, number: int) -> Path:
    return root / subset / f"{number:06d}"[:3] / f"{number:06d}.mp3"


def by_path(data: Data) -> dict[str, Recording]:
    return {data.name(recording): recording for recording in data.recordings}


def test_a_corpus_follows_its_manifest(tmp_path: Path) -> None:
    corpus = train_corpus.write_corpus(tmp_path / "corpus")
    data = open_data([corpus])
    assert len(data.of(["music"], "train")) == len(data.of(["music"], "valid")) == train_corpus.N_MUSIC
    assert [r.path for r in data.of(["ir_mic"], "valid")] == [corpus / "ir_mic/valid.flac"]
    assert {r.kind for r in data.recordings} == {
        "music",
        "noise",
        "speech",
        "ir_room",
        "ir_room_synth",
        "ir_mic",
    }
    only = open_data([f"noise={corpus}"])
    assert {r.kind for r in only.recordings} == {"noise"}
    assert len(only.recordings) == 4


def test_groups_come_from_the_manifest_or_from_known_file_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = ["kind,split,path,group", "noise,train,a.wav,cafe", "noise,valid,b.wav,", "music,test,c.wav,"]
    lines += ["ir_room,valid,x/air_binaural_lecture_0_1.wav,"]
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    with caplog.at_level(logging.WARNING):
        data = open_data([tmp_path])
    groups = {r.path.name: r.group for r in data.recordings}
    assert groups == {
        "a.wav": f"{tmp_path}: cafe",
        "b.wav": str(tmp_path / "b.wav"),
        "air_binaural_lecture_0_1.wav": "AIR lecture",
    }
    assert "1 rows of another kind or split" in caplog.text


@pytest.mark.parametrize("header_rows", [2, 3])
def test_fma_is_split_by_its_table(tmp_path: Path, header_rows: int) -> None:
    tracks = {2: ("training", 1), 5: ("training", 1), 1070: ("validation", 6), 120001: ("test", 7)}
    root = write_fma(tmp_path / "fma", tracks | {9: ("training", 8)}, header_rows)
    for number in tracks:
        write(fma_path(root, "fma_small", number))
    data = open_data([root])
    splits = {r.path.name: (r.split, r.group) for r in data.recordings}
    assert splits == {
        "000002.mp3": ("train", "FMA artist 1"),
        "000005.mp3": ("train", "FMA artist 1"),
        "001070.mp3": ("valid", "FMA artist 6"),
        "120001.mp3": ("valid", "FMA artist 7"),
    }
    assert {r.kind for r in data.recordings} == {"music"}
    assert len(data.clips(["music"], "valid")) == 2


def test_a_track_in_several_fma_subsets_is_used_once_at_full_length(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_fma(tmp_path / "fma", {2: ("training", 1), 3: ("test", 2)})
    for subset, number in (("fma_small", 2), ("fma_full", 2), ("fma_medium", 3), ("fma_small", 4)):
        write(fma_path(root, subset, number))
    data = open_data([root])
    assert {r.path.relative_to(root).parts[0] for r in data.recordings} == {"fma_full", "fma_medium"}
    assert len(data.recordings) == 2
    assert "1 files are ignored; tracks.csv does not list them" in caplog.text
    small = open_data([root / "fma_small"])
    assert [r.path.name for r in small.recordings] == ["000002.mp3"]


def test_fma_without_its_table_explains_what_to_do(tmp_path: Path) -> None:
    write(fma_path(tmp_path, "fma_small", 2))
    with pytest.raises(AudioError, match=r"lacks FMA's fma_metadata/tracks\.csv; unpack .*music="):
        open_data([tmp_path])
    assert [r.split for r in open_data([f"music={tmp_path}"]).recordings] == ["train"]
    (tmp_path / "tracks.csv").write_text("track_id,title\n2,x\n")
    with pytest.raises(AudioError, match=r"no columns \(set, split\) and \(artist, id\)"):
        open_data([tmp_path])
    (tmp_path / "tracks.csv").write_text(",artist,set\n,id,split\n2,1\n")
    with pytest.raises(AudioError, match="is unreadable"):
        open_data([tmp_path])


def test_musan_is_detected_by_its_folders(tmp_path: Path) -> None:
    root = tmp_path / "musan"
    for name in (
        *("music/fma/music-fma-0000", "music/fma/music-fma-0001", "music/rfm/music-rfm-0000"),
        *("noise/free-sound/noise-free-sound-0000", "noise/free-sound/noise-free-sound-0001"),
        "speech/librivox/speech-librivox-0000",
    ):
        write(root / f"{name}.wav")
    lines = ["music-fma-0000 rock Y A Band", "music-fma-0001 pop,folk N A Band", "odd line"]
    (root / "music/fma/ANNOTATIONS").write_text("\n".join(lines))
    data = open_data([root])
    groups = {r.path.stem: r.group for r in data.recordings}
    assert groups["music-fma-0000"] == groups["music-fma-0001"] == "MUSAN artist A Band"
    assert len(set(groups.values())) == 5
    assert [r.kind for r in data.recordings] == [*["music"] * 3, *["noise"] * 2, "speech"]
    assert open_data([f"musan={root}"]).recordings == data.recordings
    with pytest.raises(AudioError, match="is not MUSAN"):
        open_data([f"musan={root / 'noise'}"])


@pytest.mark.parametrize(
    ("kind", "stems", "group"),
    [
        ("ir_room", ["air_binaural_aula_carolina_0_1_90_3", "air_binaural_aula_carolina_1_3"], "carolina"),
        ("ir_room", ["air_phone_bt_office_hhp", "air_type1_air_binaural_office_1_3"], "AIR office"),
        ("ir_room", ["air_phone_lecture1_hfrp", "air_binaural_lecture_1_2_3"], "AIR lecture"),
        ("ir_room", ["h001_Bedroom_65txts", "h001_Bedroom_65txts_48000"], "h001_Bedroom_65txts"),
        ("noise", ["--0aJtOMp2M_30.000_40.000", "--0aJtOMp2M_50.000"], "YouTube --0aJtOMp2M"),
        ("noise", ["1-100032-A-0", "1-100032-b"], "Freesound 100032"),
        ("noise", ["101415-3-0-2", "101415-3-1-14"], "Freesound 101415"),
        ("noise", ["noise-free-sound-0001"], "noise-free-sound-0001"),
        ("speech", ["84-121123-0000", "84-121550-0031"], "LibriSpeech 84"),
        ("speech", ["03-01-06-01-02-01-12", "03-01-01-02-02-02-12"], "RAVDESS 12"),
    ],
)  # fmt: skip
def test_file_names_of_known_collections_identify_groups(kind: str, stems: list[str], group: str) -> None:
    (actual,) = {collection_group(kind, stem) for stem in stems}
    assert actual is not None
    assert actual.endswith(group)


def test_collections_are_detected_within_their_own_kind_only() -> None:
    assert collection_group("music", "1-100032-A-0") is None
    assert collection_group("noise", "air_binaural_office_1") is None
    assert collection_group("ir_room", "h001_Bedroom") is None


@pytest.mark.parametrize(
    ("kind", "paths", "group"),
    [
        ("music", ["Band/First/01.mp3", "Band/Second/CD 2/07.mp3"], "Band"),
        ("music", ["Rock/Band/First/01.mp3"], "Rock/Band"),
        ("music", ["Album/01.mp3", "Album/Disc1/02.mp3"], "Album"),
        ("music", ["song.mp3"], "song.mp3"),
        ("ir_room", ["reactor/mono/r1_omni.wav", "reactor/b-format/r1-48k.wav", "reactor/x.wav"], "reactor"),
        ("ir_room", ["hall_1.wav", "hall_2_left.wav", "hall-03-R.wav"], "hall"),
        ("ir_room_synth", ["small/Room001/Room001-00001.wav"], "small/Room001"),
        ("ir_mic", ["RCA_77DX_1.wav", "RCA_77DX_2.wav"], "RCA_77DX"),
        ("noise", ["cafe/ch01.wav", "cafe/ch16.wav", "cafe/002.wav"], "cafe"),
        ("noise", ["street-1.wav", "street 02.wav", "street_left.wav"], "street"),
        ("noise", ["cafe/dishes_1.wav"], "cafe/dishes"),
        ("noise", ["floor.wav"], "floor"),
        ("noise", ["1234.wav"], "1234"),
        ("speech", ["p225/p225_001.wav", "p225/p225_366.wav"], "p225/p"),
    ],
)  # fmt: skip
def test_folders_and_numbered_names_identify_groups(kind: str, paths: list[str], group: str) -> None:
    assert {folder_group(kind, PurePath(path)) for path in paths} == {group}


def test_one_group_in_ten_is_always_valid() -> None:
    groups = [f"artist {number}" for number in range(2000)]
    splits = split_groups(groups)
    assert 150 < sum(split == "valid" for split in splits.values()) < 250
    assert splits == split_groups(reversed(groups))
    fewer = split_groups(groups[:700])
    assert all(splits[group] == split for group, split in fewer.items())


def test_two_groups_fill_both_splits() -> None:
    for number in range(40):
        assert sorted(split_groups([f"a{number}", f"b{number}"]).values()) == ["train", "valid"]
        assert set(split_groups([f"a{number}"]).values()) == {"train"}
    assert split_groups([]) == {}


def test_a_folder_of_music_is_split_by_artist_independently_of_its_path(tmp_path: Path) -> None:
    for folder in ("here", "there/deeper"):
        for artist in range(12):
            for album in range(2):
                write(tmp_path / folder / f"artist {artist}" / f"album {album}" / "1.wav")
    here, there = (open_data([tmp_path / folder]) for folder in ("here", "there/deeper"))
    splits = {name: recording.split for name, recording in by_path(here).items()}
    assert splits == {name: recording.split for name, recording in by_path(there).items()}
    assert set(splits.values()) == {"train", "valid"}
    groups = {split: {r.group for r in here.of(["music"], split)} for split in ("train", "valid")}
    assert len(groups["train"]) + len(groups["valid"]) == 12
    assert not groups["train"] & groups["valid"]


def test_a_folder_with_a_single_group_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3):
        write(tmp_path / f"street{number}.wav")
    data = open_data([f"noise={tmp_path}"])
    assert {r.split for r in data.recordings} == {"train"}
    assert "all 3 files are in one group" in caplog.text
    with pytest.raises(AudioError, match=r"hold no noise of the split valid; add some with --data noise="):
        data.clips(["noise"], "valid")


def test_aachen_responses_are_read_in_their_original_format(tmp_path: Path) -> None:
    response = np.zeros((1, 4800))
    response[0, 480], response[0, 960] = 0.02, -0.01
    info = {"fs": 48000.0, "room": "lecture"}
    path = tmp_path / "air_binaural_lecture_0_1_1.mat"
    scipy.io.savemat(path, {"h_air": response, "air_info": info})
    (found,) = open_data([f"ir_room={tmp_path}"]).responses(["ir_room"], "train")
    assert len(found) == pytest.approx(800, abs=2)
    assert np.abs(found).max() == 1
    assert int(np.argmax(np.abs(found))) == pytest.approx(80, abs=1)
    assert found[160] == pytest.approx(-0.5, abs=0.02)


def test_other_matlab_files_are_reported(tmp_path: Path) -> None:
    names = ["air_phone_office_hhp_0.mat", "air_phone_office_hhp_1.mat", "air_phone_office_hhp_2.mat"]
    scipy.io.savemat(tmp_path / names[0], {"h_air": np.ones((1, 9)), "air_info": {"fs": 8000.0}})
    scipy.io.savemat(tmp_path / names[1], {"h": np.ones(9)})
    (tmp_path / names[2]).write_bytes((tmp_path / names[0]).read_bytes()[:300])
    data = open_data([f"ir_room={tmp_path}"])
    assert {recording.group for recording in data.recordings} == {"AIR office"}
    clips = data.clips(["ir_room"], "train")
    assert clips.paths == (names[0],)
    assert [path for path, _ in clips.unreadable] == names[1:]
    assert all(
        "not a response in the format of the Aachen collection" in reason for _, reason in clips.unreadable
    )


def test_a_file_in_two_folders_belongs_to_the_first(tmp_path: Path) -> None:
    for number in range(30):
        write(tmp_path / "all" / f"album {number}" / "1.wav")
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "linked").symlink_to(tmp_path / "all" / "album 1")
    write(tmp_path / "some" / "new" / "2.wav")
    data = open_data([tmp_path / "all", tmp_path / "some"])
    assert len(data.recordings) == 31
    assert len({os.path.realpath(r.path) for r in data.recordings}) == 31
    assert all(Path(data.name(recording)).is_absolute() for recording in data.recordings)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere", "there is no folder nowhere; give an existing one"),
        ("music=nowhere", "there is no folder nowhere"),
        ("musik={0}", "musik is not a kind of data; use music, noise"),
        ("music=", "there is no folder music="),
        ("{0}", "holds no music; give another folder"),
        ("ir_mic={0}", "holds no ir_mic"),
    ],
)
def test_names_without_data_are_one_line_errors(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(AudioError, match=says) as raised:
        open_data([name.format(tmp_path)])
    assert "\n" not in str(raised.value)
    with pytest.raises(AudioError, match="there is no data"):
        open_data([])


def test_names_can_contain_a_tilde_and_equals_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "Music" / "a=b" / "1.wav")
    assert open_data(["music=~/Music"]).recordings[0].path == tmp_path / "Music/a=b/1.wav"
    assert open_data(["~/Music/a=b"]).recordings[0].kind == "music"


def test_data_can_be_repeated_and_replaces_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERHEARD_CORPUS", "elsewhere")
    parser = argparse.ArgumentParser()
    add_data_argument(parser)
    assert parser.parse_args([]).data == ["elsewhere"]
    assert parser.parse_args(["--data", "a", "--data", "noise=b"]).data == ["a", "noise=b"]
    assert parser.parse_args([]).data == ["elsewhere"]


def test_listing_data_does_not_import_tensorflow() -> None:
    code = "import sys, overheard_train.data; print({'tensorflow', 'keras'} & set(sys.modules))"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in ("device", "train"))}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
