"""Every parameter that, when changed, makes existing fingerprints unreadable."""

from __future__ import annotations

import dataclasses
import hashlib
import json


@dataclasses.dataclass(frozen=True)
class FrontendSpec:
    """Waveform to log-mel frames."""

    sample_rate: int = 8000
    n_fft: int = 1024
    hop_length: int = 250
    n_mels: int = 96
    f_min: float = 100.0  # Hz
    f_max: float = 3900.0  # Hz

    @property
    def frames_per_s(self) -> float:
        """Frames per second of audio."""
        return self.sample_rate / self.hop_length


@dataclasses.dataclass(frozen=True)
class FingerprintSpec:
    """Log-mel frames to embeddings and codes."""

    frontend: FrontendSpec = FrontendSpec()
    n_frames: int = 48  # frames the model sees: 1.6 s
    dynamic_range_db: float = 70.0  # below a segment's loudest bin everything is floor
    dim: int = 96
    hop_frames: int = 32  # catalogue hop: 1 s

    @property
    def hop_s(self) -> float:
        """Seconds between two embeddings of a fingerprint."""
        return self.hop_frames / self.frontend.frames_per_s

    @property
    def segment_samples(self) -> int:
        """Samples that one segment needs."""
        return (self.n_frames - 1) * self.frontend.hop_length + self.frontend.n_fft

    @property
    def segment_s(self) -> float:
        """Seconds that one segment needs."""
        return self.segment_samples / self.frontend.sample_rate

    def to_dict(self) -> dict[str, object]:
        """Return the spec as plain JSON types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> FingerprintSpec:
        """Rebuild a spec from :meth:`to_dict`; unknown or missing names raise TypeError or KeyError."""
        frontend = values["frontend"] if isinstance(values, dict) else None
        if not isinstance(frontend, dict):
            raise TypeError("it and its frontend must be objects")
        for part, kind in ((values, cls), (frontend, FrontendSpec)):
            for field in dataclasses.fields(kind):
                part[field.name]  # a default would be a guess
        return cls(**{**values, "frontend": FrontendSpec(**frontend)})  # type: ignore[arg-type]

    def digest(self) -> str:
        """Return 16 hex digits that change with any parameter."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


SPEC = FingerprintSpec()
