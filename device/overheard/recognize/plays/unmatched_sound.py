"""Measure the music without a match: report unknown music, and the silence after it."""

from __future__ import annotations

from overheard.events import MusicUnknown, Silence

_LONG_AGO_S = -1e9


class UnmatchedSound:
    """Counts the seconds of sound that do not belong to a play, and what has been reported about them.

    Only sound that was searched or verified counts, and only music can become unknown music. A pause that is
    shorter than `unknown_s` does not end a stretch.

    Parameters
    ----------
    unknown_s : seconds of sound without a play after which it is unknown
    """

    def __init__(self, unknown_s: float) -> None:
        self._unknown_s = unknown_s
        self.forget()

    def forget(self) -> None:
        """Begin a new stretch with the next sound."""
        self.sounding = False
        self.n_windows = 0  # since the last silence
        self.end_s = _LONG_AGO_S  # of the last window
        self._silent_from_s: float | None = None
        self._reported = False
        self._unmatched_s = self._music_s = self._unmatched_from_s = 0.0
        self._is_music = False

    def sound(self, start_s: float, end_s: float, music: bool) -> None:
        """Count a window of sound, which is music or not. Other sound does not end a silence."""
        if music or self.sounding:
            self._silent_from_s = None
            self.n_windows = self.n_windows + 1 if self.sounding else 1
            self._is_music = music or (self.sounding and self._is_music)
            self.sounding = True
        new_s = max(0.0, end_s - max(start_s, self.end_s))
        if music and self._music_s <= 0:
            self._unmatched_from_s = max(start_s, self.end_s)
        self._unmatched_s += new_s
        self._music_s += new_s * music
        self.end_s = max(self.end_s, end_s)

    @property
    def is_short_music(self) -> bool:
        """Whether there is music with only one searched window, so no second match is possible."""
        return self.sounding and self._is_music and self.n_windows == 1

    def silence(self, now_s: float, hop_s: float) -> list[Silence]:
        """Count silence until this second; report it once.

        Parameters
        ----------
        hop_s : if the last window ended longer ago, there was more sound, which was not searched
        """
        events = []
        if self._silent_from_s is None:
            self._silent_from_s = self.end_s if now_s - self.end_s <= hop_s else now_s
        if self.sounding:
            self.sounding = False
            events.append(Silence(self._silent_from_s))
        if now_s - self._silent_from_s >= self._unknown_s:
            self.forget()
        return events

    @property
    def unmatched_s(self) -> float:
        """Seconds of sound since the last play."""
        return self._unmatched_s

    def lost(self) -> None:
        """Record a gap: the lost sound may have been long, so the stretch does not count as short."""
        self.n_windows += self.sounding

    def explained(self) -> None:
        """Record that the sound so far belongs to a play."""
        self._unmatched_s, self._music_s, self._reported = 0.0, 0.0, False

    def unexplained(self, from_s: float) -> None:
        """Record that a play ended: the sound after this second belongs to no play."""
        self._unmatched_s = self._music_s = max(0.0, self.end_s - from_s)
        self._unmatched_from_s, self._reported = from_s, False

    def unknown(self, extra_s: float) -> list[MusicUnknown]:
        """Report unknown music once per stretch of sound, `extra_s` later than usual."""
        if self._reported or self._music_s < self._unknown_s + extra_s:
            return []
        self._reported = True
        return [MusicUnknown(self._unmatched_from_s, self.end_s)]
