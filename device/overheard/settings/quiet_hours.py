"""Hours of the day in which nothing is analysed, such as ``23:00-07:00``, in local time."""

from __future__ import annotations

import dataclasses
import datetime
import re

from overheard.errors import SettingsError
from overheard.text import shorten

_RANGE = re.compile(r"\s*([01]?\d|2[0-3]):([0-5]\d)\s*-\s*([01]?\d|2[0-3]):([0-5]\d)\s*")
_DAY_MINUTES = 24 * 60


@dataclasses.dataclass(frozen=True)
class QuietHours:
    """Ranges of the local time of day. A range may go past midnight.

    What counts is what a clock on the wall shows, so a range that contains a change to or from daylight
    saving time is an hour shorter or longer on that day.
    """

    ranges: tuple[tuple[int, int], ...] = ()  # start and end in minutes since midnight; the end is excluded

    @classmethod
    def parse(cls, text: str) -> QuietHours:
        """Parse ranges that are separated by commas; an empty text has none.

        Raises
        ------
        SettingsError
            If the text is not of this form.

        Examples
        --------
        >>> QuietHours.parse("23:00-07:00, 12:30-13:00").ranges
        ((1380, 420), (750, 780))
        """
        ranges = []
        for part in text.split(",") if text.strip() else []:
            match = _RANGE.fullmatch(part)
            hours = [int(number) for number in match.groups()] if match else [0] * 4
            start, end = 60 * hours[0] + hours[1], 60 * hours[2] + hours[3]
            if start == end:  # also if the text has another form
                problem = f"listen.quiet_hours must be like 23:00-07:00, not {shorten(text, 40)!r}"
                raise SettingsError(problem, "separate several ranges with commas")
            ranges.append((start, end))
        return cls(tuple(ranges))

    def contain(self, unix_time: float) -> bool:
        """Return whether a time is in one of the ranges."""
        return self._range(unix_time) is not None

    def end(self, unix_time: float) -> float:
        """Return the Unix time at which the range that contains a time ends, or the time itself."""
        found = self._range(unix_time)
        if found is None:
            return unix_time
        when, end = datetime.datetime.fromtimestamp(unix_time), found[1]
        day = when.date() + datetime.timedelta(days=60 * when.hour + when.minute >= end)
        return datetime.datetime.combine(day, datetime.time(end // 60, end % 60)).timestamp()

    def _range(self, unix_time: float) -> tuple[int, int] | None:
        when = datetime.datetime.fromtimestamp(unix_time)
        minute = 60 * when.hour + when.minute
        for start, end in self.ranges:
            if (minute - start) % _DAY_MINUTES < (end - start) % _DAY_MINUTES:
                return start, end
        return None
