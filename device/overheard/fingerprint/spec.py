"""Parameters that invalidate existing fingerprints when they change."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from overheard.fingerprint.json_values import JsonValueError, as_integer, as_number, get_object, required

MAX_PARAMETER = 1 << 20  # bounds the memory of a front-end whose parameters come from a file


@dataclasses.dataclass(frozen=True)
class FrontendSpec:
    """Parameters of the conversion from a waveform to log-mel frames."""

    sample_rate: int = 8000  # Hz
    n_fft: int = 1024  # samples: 128 ms
    hop_length: int = 250  # samples: 31.25 ms
    n_mels: int = 96
    f_min: float = 100.0  # Hz
    f_max: float = 3900.0  # Hz

    @property
    def frames_per_s(self) -> float:
        """Frames per second of audio."""
        return self.sample_rate / self.hop_length


@dataclasses.dataclass(frozen=True)
class FingerprintSpec:
    """Parameters of the conversion from log-mel frames to embeddings and codes."""

    frontend: FrontendSpec = FrontendSpec()
    n_frames: int = 48  # frames per segment: 1.6 s
    dynamic_range_db: float = 70.0  # bins further below a segment's loudest bin are clipped
    dim: int = 96  # numbers per embedding
    hop_frames: int = 32  # frames between the segments of a fingerprint: 1 s

    @property
    def hop_s(self) -> float:
        """Seconds between two embeddings of a fingerprint."""
        return self.hop_frames / self.frontend.frames_per_s

    @property
    def segment_samples(self) -> int:
        """Samples per segment."""
        return (self.n_frames - 1) * self.frontend.hop_length + self.frontend.n_fft

    @property
    def segment_s(self) -> float:
        """Seconds per segment."""
        return self.segment_samples / self.frontend.sample_rate

    def to_dict(self) -> dict[str, object]:
        """Return the spec as plain JSON types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FingerprintSpec:
        """Rebuild a spec from :meth:`to_dict`.

        Raises
        ------
        JsonValueError
            If a parameter is missing, unknown, not a number of the right type, not positive, or too large.
        """
        frontend = FrontendSpec(**_parameters(get_object(values, "frontend"), FrontendSpec))
        others = {name: value for name, value in values.items() if name != "frontend"}
        return cls(frontend=frontend, **_parameters(others, cls))

    def digest(self) -> str:
        """Return 16 hex digits that change with any parameter."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _parameters(values: Mapping[str, Any], kind: type[FrontendSpec | FingerprintSpec]) -> dict[str, Any]:
    """Return the validated fields of a spec, except ``frontend``. Every field must be given."""
    fields = [field for field in dataclasses.fields(kind) if field.name != "frontend"]
    unknown = set(values) - {field.name for field in fields}
    if unknown:
        raise JsonValueError(f"unknown parameters {', '.join(sorted(unknown))}")
    for field in fields:
        value = required(values, field.name)  # a default would be a guess
        check = as_integer if isinstance(field.default, int) else as_number
        if not 0 < check(value, field.name) <= MAX_PARAMETER:
            raise JsonValueError(f"{field.name} must be positive and at most {MAX_PARAMETER}")
    # The values stay as they are, because digest() distinguishes 100 from 100.0.
    return {field.name: values[field.name] for field in fields}


SPEC = FingerprintSpec()
