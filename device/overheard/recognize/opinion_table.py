"""Load the small network that computes the log-odds of music from embeddings of one space."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from overheard.errors import REINSTALL, ModelError
from overheard.files import read_regular
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.json_values import (
    JsonValueError,
    get_integer,
    get_number,
    get_numbers,
    get_object,
    get_string,
    parse_object,
)
from overheard.settings import MODELS_DIR

OPINION_PATH = MODELS_DIR / "detector" / "second-opinion.json"
MANIFEST_VERSION = 1
MAX_FILE_BYTES = 1 << 20
N_HEARD = 8  # segments that an opinion is about, at most


@dataclasses.dataclass(frozen=True)
class OpinionTable:
    """A network with one hidden layer from an embedding to the log-odds of music; valid in one space.

    Attributes
    ----------
    hidden, hidden_bias : (dim, n) and (n,) float32
    output, output_bias : (n,) float32 and float
    gains : (N_HEARD,) float32
        The mean of the log-odds of so many segments is multiplied by this: several say more than one.
    music, no_music : float
        Log-odds from which, and below which, the opinion is certain.
    """

    hidden: FloatArray
    hidden_bias: FloatArray
    output: FloatArray
    output_bias: float
    gains: FloatArray
    music: float
    no_music: float

    def log_odds(self, embeddings: FloatArray) -> FloatArray:
        """Return the log-odds of music for embeddings ``(n, dim)``, each alone; ``(n,)`` float32."""
        active = np.maximum(embeddings @ self.hidden + self.hidden_bias, 0)
        odds: FloatArray = active @ self.output + np.float32(self.output_bias)
        return odds

    def joint_log_odds(self, embeddings: FloatArray) -> float:
        """Return the log-odds of music for the segments of one sound ``(n, dim)`` together; 0 without any."""
        n = len(embeddings)
        return float(self.log_odds(embeddings).mean() * self.gains[min(n, N_HEARD) - 1]) if n else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of the file."""
        return {
            name: [float(f"{each:.5g}") for each in np.ravel(value)]
            if isinstance(value, np.ndarray)
            else value
            for name, value in vars(self).items()
        }


@functools.lru_cache(maxsize=4)
def load_opinion(space_digest: str, path: Path | None = None) -> OpinionTable | None:
    """Load the table of a space from its file; None if the file is of another space.

    Parameters
    ----------
    space_digest : of the model
    path : Path or None
        The file; that which is shipped if None.

    Raises
    ------
    ModelError
        If the file is missing, damaged, or of a version that this overheard does not support.
    """
    path = path or OPINION_PATH
    remedy = REINSTALL if path == OPINION_PATH else "train it again with overheard-train opinion"
    try:
        contents = parse_object(read_regular(path, MAX_FILE_BYTES))
        if get_integer(contents, "manifest_version") != MANIFEST_VERSION:
            raise ModelError(f"{path} is not a second opinion of version {MANIFEST_VERSION}", remedy)
        table = get_object(contents, "table")
        if get_string(contents, "digest") != table_digest(table):
            raise ModelError(f"{path} is modified or partly copied", remedy)
        if get_string(get_object(contents, "space"), "digest") != space_digest:
            return None
        return _table(table)
    except OSError as error:
        raise ModelError(f"cannot read {path} ({error.strerror or error})", remedy) from error
    except JsonValueError as error:
        raise ModelError(f"{path} is not a second opinion ({error})", remedy) from error


def _table(values: dict[str, Any]) -> OpinionTable:
    names = ("hidden", "hidden_bias", "output", "gains")
    hidden, hidden_bias, output, gains = (np.array(get_numbers(values, name), np.float32) for name in names)
    music, no_music = (get_number(values, name, -1000, 1000) for name in ("music", "no_music"))
    n = len(hidden_bias)
    if not n or len(hidden) % n or len(output) != n or len(gains) != N_HEARD:
        raise JsonValueError("the shapes of the weights do not match")
    if no_music >= music or gains.min() <= 0:
        raise JsonValueError("no_music must be below music, and gains must be positive")
    return OpinionTable(
        hidden.reshape(-1, n),
        hidden_bias,
        output,
        get_number(values, "output_bias", -1000, 1000),
        gains,
        music,
        no_music,
    )


def table_digest(table: dict[str, Any]) -> str:
    """Return 16 hex digits that identify the fields of a table."""
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()[:16]
