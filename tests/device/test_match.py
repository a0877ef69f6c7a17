from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from overheard.catalogue.pack import open_pack, shipped_packs_dir
from overheard.catalogue.search import N_CANDIDATES
from overheard.errors import ModelError
from overheard.events import Track
from overheard.fingerprint.embedder import Queries
from overheard.fingerprint.model import default_model
from overheard.fingerprint.spec import SPEC
from overheard.recognize.matching.alignments import Window
from overheard.recognize.matching.match import Matcher, Playing
from overheard.recognize.matching.scoring import Confidence, Evidence, Scoring
from overheard.recognize.recognizer import Recognizer
from overheard_bench.exhaustive import ExhaustiveCatalogue

STEP = 4
DIM = SPEC.dim


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


class World:
    """Tracks with smoothly changing embeddings, so that the true embedding is known at every frame."""

    def __init__(self, n_tracks: int = 12, n_segments: int = 40, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.knots = unit(self.rng.standard_normal((n_tracks, n_segments + 1, DIM)))
        self.tracks = [self.at(i, np.arange(n_segments) * SPEC.hop_frames) for i in range(n_tracks)]
        self.cohort = unit(self.rng.standard_normal((200, DIM)))
        self.hold()

    def hold(self, *more: np.ndarray) -> None:
        """Create the catalogue from the tracks and the embeddings of some more tracks."""
        catalogue = [*self.tracks, *more]
        numbers = range(len(catalogue))
        tracks = [Track(str(i), f"title {i}", "", "", f"{i}.ogg", "test", 60.0) for i in numbers]
        self.index = ExhaustiveCatalogue(tracks, catalogue, self.cohort)
        self.matcher = Matcher(self.index, SPEC, Scoring())

    def at(self, track: int, frames: np.ndarray) -> np.ndarray:
        position = frames / SPEC.hop_frames
        left = position.astype(int)
        weight = (position - left)[:, None]
        return unit(self.knots[track, left] * (1 - weight) + self.knots[track, left + 1] * weight)

    def query(self, track: int, start_frame: int, n: int, noise: float, step: int = STEP) -> np.ndarray:
        truth = self.at(track, start_frame + np.arange(n) * step)
        return unit(truth + noise / np.sqrt(DIM) * self.rng.standard_normal(truth.shape))

    def match(self, query: np.ndarray, without: tuple[int, ...] = (), playing: str | None = None):
        rows = np.arange(len(query))
        queries = Queries(query, np.full(len(query), 0.8, dtype=np.float32))
        found = self.index.candidates(query, without)
        window = Window(queries, rows * STEP, found, rows, int(rows[-1]) * STEP)
        return self.matcher.weigh(window, playing=None if playing is None else Playing(playing))


@pytest.mark.parametrize("n", [1, 4, 28, 68])
@pytest.mark.parametrize("start_frame", [0, 100, 333, 700])
def test_track_and_offset_are_correct(n: int, start_frame: int) -> None:
    world = World()
    found = world.match(world.query(5, start_frame, n, noise=0.5))
    assert found.track == 5
    assert abs(found.offset_frames - start_frame) <= (SPEC.hop_frames // 2 if n < 8 else STEP)
    assert found.margin > 0.1


def test_long_queries_are_matched_in_noise_in_which_single_segments_are_not() -> None:
    world = World()
    queries = [(track, world.query(track, 200, 60, noise=4.0)) for track in range(12)]
    assert sum(world.match(query).track == track for track, query in queries) >= 11
    alone = sum(world.match(query[:1]).track == track for track, query in queries)
    assert alone < 11


def test_an_excluded_track_is_not_matched_and_the_evidence_is_weaker() -> None:
    world = World()
    query = world.query(3, 320, 40, noise=1.0)
    right, other = world.match(query), world.match(query, without=(3,))
    assert other.track != 3
    scoring = Scoring()
    assert scoring.score(right, 5.0) > scoring.score(other, 5.0)


def test_the_score_is_higher_if_the_expected_similarity_is_lower() -> None:
    world = World()
    query = world.query(3, 320, 40, noise=1.0)
    rows, found = np.arange(len(query)), world.index.candidates(query)
    scoring = Scoring.from_manifest(default_model().manifest)
    scores = []
    for expected in (np.linspace(0.8, 1.0, 40), np.linspace(0.5, 0.7, 40)):
        queries = Queries(query, expected.astype(np.float32))
        window = Window(queries, rows * STEP, found, rows, int(rows[-1]) * STEP)
        evidence = world.matcher.weigh(window)
        assert evidence is not None
        assert evidence.expected_similarity == pytest.approx(expected.mean())
        scores.append(scoring.score(evidence, 5.0))
    assert scores[1] > scores[0] + 1


@pytest.mark.parametrize("shift", [0, 8, 16, 24])
def test_a_copy_does_not_lower_the_margin_at_any_shift_but_a_similar_track_does(shift: int) -> None:
    world, hop = World(), SPEC.hop_frames
    query = world.query(5, 320, 68, noise=0.3)
    copy = world.query(5, shift, 39, noise=0.8, step=hop)  # alike only where it is interpolated
    rival = world.query(5, 0, 40, noise=1.5, step=hop)
    found = []
    for more in ((), (copy,), (rival,), (copy, rival)):
        world.hold(*more)
        found.append(world.match(query))
        assert (found[-1].track, found[-1].offset_frames) == (5, 320)
    alone, copied, rivalled, both = found
    assert rivalled.margin < alone.margin - 0.15
    assert both.margin == pytest.approx(rivalled.margin, abs=0.01)
    # Without a rival the margin is measured to the background, which must not contain the copy either.
    assert copied.background == pytest.approx(alone.background, abs=0.02)
    assert copied.margin == pytest.approx(alone.margin, abs=0.02)


@pytest.mark.parametrize("n_copies", [6, 12, 30])
def test_any_number_of_copies_counts_as_one_recording(n_copies: int) -> None:
    """Encodings of one recording: no copy is a rival, and the copy of the open play stays preferred."""
    world, hop = World(), SPEC.hop_frames
    query = world.query(5, 320, 68, noise=0.3)
    alone = world.match(query)
    copies = [world.query(5, 0, 40, noise=0.3, step=hop) for _ in range(n_copies)]
    rival = world.query(5, 0, 40, noise=1.5, step=hop)
    world.hold(*copies)
    for playing in (None, "5", "12", str(11 + n_copies)):
        found = world.match(query, playing=playing)
        assert str(found.track) == playing or playing is None
        assert found.margin > alone.margin - 0.1
    if n_copies < N_CANDIDATES:  # with more copies no query proposes anything else
        world.hold(*copies, rival)
        assert world.match(query).margin < alone.margin - 0.15


def test_the_copy_of_the_open_play_is_preferred_and_no_other_track_is() -> None:
    world, hop = World(), SPEC.hop_frames
    query = world.query(5, 320, 68, noise=0.3)
    copy, rival = (world.query(5, 0, 40, noise=noise, step=hop) for noise in (0.6, 1.5))
    world.hold(copy, rival)
    best = world.match(query)
    kept = world.match(query, playing="12")
    assert (best.track, kept.track, kept.offset_frames) == (5, 12, 320)
    assert best.similarity - 0.2 < kept.similarity < best.similarity
    for playing in ("5", "13", "3", "gone"):
        assert world.match(query, playing=playing) == best


def test_a_track_that_starts_within_the_window() -> None:
    world = World()
    before = unit(world.rng.standard_normal((20, DIM)))
    query = np.concatenate([before, world.query(7, 0, 48, noise=0.3)])
    found = world.match(query)
    assert (found.track, found.offset_frames) == (7, -20 * STEP)


def test_without_candidates_there_is_no_match() -> None:
    world = World()
    query = world.query(0, 0, 4, noise=0.1)
    assert world.match(query, without=tuple(range(12))) is None


def test_scoring_from_manifest() -> None:
    stored = {"weights": [1, 2, 3, 4, 5, 6], "lengths_s": [2, 10], "penalties": [1, 0], "threshold": 4}
    scoring = Scoring.from_manifest({"scoring": stored})
    assert scoring.weights == (1, 2, 3, 4, 5, 6)
    assert scoring.threshold == 4
    assert Scoring.from_manifest({}) == Scoring()
    assert Scoring.from_manifest({}, compact=True) == Scoring()
    assert Scoring.from_manifest({"scoring": stored}, compact=True) == scoring
    other = stored | {"threshold": 5}
    manifest = {"scoring": other, "compact_scoring": stored}
    assert Scoring.from_manifest(manifest, compact=True) == scoring != Scoring.from_manifest(manifest)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"weights": "none"}, "weights must be an array"),
        ({"weights": [1, 2, 3, 4, 5]}, "weights has 5 values instead of 6"),
        ({"weights": [1, 2, 3, 4, 5, True]}, r"weights\[5\] must be an integer"),
        ({"weights": [1, 2, 3, 4, 5, float("nan")]}, r"weights\[5\] must be a finite number"),
        ({"penalties": [1]}, "penalties has 1 values instead of 2"),
        ({"lengths_s": [10, 2]}, "lengths_s must be increasing"),
        ({"lengths_s": [], "penalties": []}, "lengths_s must be increasing"),
        ({"threshold": "4"}, "threshold must be a finite number"),
        ({"threshold": float("inf")}, "threshold must be a finite number"),
    ],
)
def test_an_invalid_scoring_is_refused(changes: dict[str, object], reason: str) -> None:
    stored = {"weights": [1, 2, 3, 4, 5, 6], "lengths_s": [2, 10], "penalties": [1, 0], "threshold": 4}
    with pytest.raises(ModelError, match=reason) as caught:
        Scoring.from_manifest({"scoring": stored | changes})
    assert caught.value.remedy
    not_objects: list[object] = ["text", [], 3]
    for scoring in not_objects:
        with pytest.raises(ModelError, match="scoring must be an object"):
            Scoring.from_manifest({"scoring": scoring})
    incomplete = {name: value for name, value in stored.items() if name != "threshold"}
    with pytest.raises(ModelError, match="threshold is missing"):
        Scoring.from_manifest({"scoring": incomplete})


def tone(hz: float, seconds: float) -> np.ndarray:
    return (0.1 * np.sin(2 * np.pi * hz * np.arange(round(8000 * seconds)) / 8000)).astype(np.float32)


@pytest.fixture(scope="module")
def starter() -> Recognizer:
    model = default_model()
    return Recognizer(model, [open_pack(shipped_packs_dir() / "starter.pack", model.digest)])


@pytest.mark.parametrize("seconds", [5, 10])
def test_a_steady_tone_is_no_track(starter: Recognizer, seconds: int) -> None:
    """A sine of 440 Hz is similar to a track of the starter pack, all the time."""
    found = starter.identify(tone(440, seconds))
    assert found.best is not None
    assert found.verdict == "unknown"
    assert found.best.confidence < 0.5
    assert found.best.score < found.best.threshold - 1


@pytest.mark.parametrize("seconds", [(3.0, 0.5, 1.0), (3.5, 1.0, 0.5), (0.0, 0.5, 4.5)])
def test_the_pauses_of_a_sound_are_no_track(starter: Recognizer, seconds: tuple[float, ...]) -> None:
    """Tracks begin or end with digital silence; a beep between such silence is none of them."""
    parts = [tone(1000, length) * (number == 1) for number, length in enumerate(seconds)]
    assert starter.identify(np.concatenate(parts)).verdict == "unknown"


def test_segments_that_are_mostly_silent_are_not_embedded(starter: Recognizer) -> None:
    window, _ = starter.window(np.concatenate([tone(1000, 2.9), np.zeros(8000 * 3, np.float32)]))
    lengths = np.linalg.norm(window.queries.embeddings, axis=1)
    np.testing.assert_allclose(lengths, np.where(window.starts <= 64, 1, 0), atol=0.01)
    heard = window.audible()
    assert heard.starts.tolist() == window.starts[lengths > 0].tolist()
    assert len(heard.candidates.segments) == len(heard.rows) == len(heard.starts)


def test_music_is_recognized_beside_digital_silence() -> None:
    """The silent segments count neither for a track nor against it."""
    world = World()
    query = world.query(5, 320, 68, noise=0.3)
    whole = world.match(query)
    query[40:] = 0
    half = world.match(query)
    assert (half.track, half.offset_frames) == (whole.track, whole.offset_frames)
    assert half.n_segments < whole.n_segments
    assert half.similarity == pytest.approx(whole.similarity, abs=0.05)
    assert half.background == pytest.approx(whole.background, abs=0.05)
    query[:] = 0
    assert world.match(query) is None


def test_segments_that_are_alike_count_as_one() -> None:
    alone = Evidence(0, 0, 0.5, 0.4, 0.1, 1.0, 0.6, (0, 60))
    many = dataclasses.replace(alone, n_segments=9.0)
    scoring = Scoring.from_manifest(default_model().manifest)
    tone_like = dataclasses.replace(many, self_similarity=1.0)
    assert tone_like.features() == pytest.approx(alone.features())
    assert scoring.score(tone_like, 10.0) == pytest.approx(scoring.score(alone, 10.0 / 9))
    music_like = dataclasses.replace(many, self_similarity=0.5)
    assert music_like.effective_share == 1
    assert music_like.features() == many.features()
    shares = [
        dataclasses.replace(many, self_similarity=alike).effective_share
        for alike in (0.6, 0.7, 0.8, 0.9, 1.0)
    ]
    assert shares == sorted(shares, reverse=True)
    assert dataclasses.replace(alone, self_similarity=1.0).effective_share == 1


def test_only_segments_that_share_no_sound_tell_whether_a_window_repeats_itself() -> None:
    world = World()
    query = world.query(3, 320, 12, noise=0.0)  # 1.5 s: all of its segments overlap
    rows, found = np.arange(len(query)), world.index.candidates(query)
    queries = Queries(query, np.full(len(query), 0.8, dtype=np.float32))
    assert Window(queries, rows * STEP, found, rows, int(rows[-1]) * STEP).self_similarity(SPEC.n_frames) == 0
    steady = Queries(np.repeat(query[:1], 12, axis=0), queries.expected)
    window = Window(steady, rows * SPEC.hop_frames, found, rows, int(rows[-1]) * SPEC.hop_frames)
    assert window.self_similarity(SPEC.n_frames) == pytest.approx(1.0)


CURVE = {"slope": 1.7, "offset": 0.6, "lowest": 0.001, "highest": 0.99}


def test_confidence_grows_with_the_log_odds_between_its_limits() -> None:
    stored = {"weights": [1, 2, 3, 4, 5, 6], "lengths_s": [2, 10], "penalties": [1, 0], "threshold": 4}
    curve = Scoring.from_manifest({"scoring": stored | {"confidence": CURVE}}).confidence
    values = [curve.of(log_odds) for log_odds in (-1e9, -800.0, -3.0, -1.0, 0.0, 1.0, 3.0, 800.0, 1e9)]
    assert values == sorted(values)
    assert len(set(values[1:-1])) == 7
    assert values[0] == pytest.approx(0.001)
    assert values[-1] == pytest.approx(0.99)
    assert curve.of(-0.6 / 1.7) == pytest.approx((0.001 + 0.99) / 2)


def test_a_confidence_follows_a_change_of_the_log_odds() -> None:
    curve = Confidence(**CURVE)
    for log_odds in (-4.0, 0.0, 2.5):
        assert curve.after(curve.of(log_odds), -3.0) == pytest.approx(curve.of(log_odds - 3.0), abs=1e-6)
    assert 0.001 <= curve.after(0.99, -1000.0) < 0.0011
    assert Confidence(lowest=0.4, highest=0.4).after(0.4, 2.0) == 0.4


def test_a_manifest_without_a_curve_has_the_log_odds_as_confidence() -> None:
    stored = {"weights": [1, 2, 3, 4, 5, 6], "lengths_s": [2, 10], "penalties": [1, 0], "threshold": 4}
    assert Scoring.from_manifest({"scoring": stored}).confidence == Confidence()
    assert Confidence().of(0.0) == 0.5
    assert Confidence().of(2.0) == pytest.approx(1 / (1 + np.exp(-2.0)))


@pytest.mark.parametrize(
    ("curve", "reason"),
    [
        ([], "confidence must be an object"),
        (CURVE | {"slope": -1.7}, "slope is out of range"),
        (CURVE | {"slope": 0}, "slope is out of range"),
        (CURVE | {"slope": "steep"}, "slope must be a finite number"),
        (CURVE | {"offset": float("inf")}, "offset must be a finite number"),
        (CURVE | {"lowest": -0.1}, "lowest is out of range"),
        (CURVE | {"highest": 1.1}, "highest is out of range"),
        (CURVE | {"lowest": 0.9, "highest": 0.5}, "highest is out of range"),
        ({"slope": 1, "offset": 0, "lowest": 0}, "highest is missing"),
    ],
)
def test_an_invalid_curve_is_refused(curve: object, reason: str) -> None:
    stored = {"weights": [1, 2, 3, 4, 5, 6], "lengths_s": [2, 10], "penalties": [1, 0], "threshold": 4}
    with pytest.raises(ModelError, match=f"scoring is invalid .*{reason}") as caught:
        Scoring.from_manifest({"scoring": stored | {"confidence": curve}})
    assert "\n" not in str(caught.value)
