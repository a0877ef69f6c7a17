"""The parameters of degraded pairs: probabilities and ranges of everything that changes a segment."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Degradation:
    """Changes to the degraded segments of a pair: what lies between a recording and a microphone's signal.

    Attributes
    ----------
    max_shift_s : largest time offset from the clean segment; half the catalogue's hop by default
    room, noise, microphone, band_limit, overdrive, hiss, speed, mask : probability of each change
    snr_db : range of the signal-to-noise ratio, uniform
    noise_resample, noise_resample_range : probability that noise plays at another speed, and that speed
    noise_room : probability that noise comes from another position in a room
    noise_swell_db : largest change of level within white noise
    max_speed : largest change of speed, as a share
    max_mask_frames, max_mask_mels : largest number of frames and of mel bands that a mask covers
    """

    max_shift_s: float = 0.5
    room: float = 0.85
    noise: float = 0.92
    snr_db: tuple[float, float] = (-8.0, 15.0)
    noise_resample: float = 0.4
    noise_resample_range: tuple[float, float] = (0.7, 1.4)
    noise_room: float = 0.3
    noise_swell_db: float = 20.0
    microphone: float = 0.9
    band_limit: float = 0.7
    overdrive: float = 0.3
    hiss: float = 0.3
    speed: float = 0.3
    max_speed: float = 0.006
    mask: float = 0.4
    max_mask_frames: int = 8
    max_mask_mels: int = 12


UNDEGRADED = Degradation(
    max_shift_s=0, room=0, noise=0, microphone=0, band_limit=0, overdrive=0, hiss=0, speed=0, mask=0
)


@dataclasses.dataclass(frozen=True)
class Variation:
    """Changes to all segments of a pair, which turn a small collection into more music.

    Attributes
    ----------
    resample, resample_range : probability of another speed, and the range of that speed
    reverse : probability of playing backwards
    equalize : probability of a random equalizer
    overlay : probability of a second track on top
    """

    resample: float = 0.7
    resample_range: tuple[float, float] = (0.75, 1.33)
    reverse: float = 0.25
    equalize: float = 0.4
    overlay: float = 0.2


NO_VARIATION = Variation(resample=0, reverse=0, equalize=0, overlay=0)
