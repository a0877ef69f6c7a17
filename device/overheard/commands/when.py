"""Times that people type: `2h`, `today`, `20:15`, `2026-11-01`."""

from __future__ import annotations

import datetime
import re

from overheard.errors import OverheardError
from overheard.event_json import iso_utc
from overheard.text import shorten

FORMS = (
    "30m, 2h, 3d or 1w ago; today; yesterday; a time such as 20:15; a date such as 2026-11-01; or a date and "
    "time such as 2026-11-01T20:30"
)
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_when(text: str, now: datetime.datetime, flag: str = "--since") -> datetime.datetime:
    """Convert a text to a time.

    Parameters
    ----------
    text : str
        A span of time before now, "today", "yesterday", a time of the last 24 hours, or an ISO 8601 date or
        time.
    now : datetime.datetime
        The current time, with a time zone.
    flag : str
        For errors.

    Returns
    -------
    datetime.datetime
        The time, with a time zone.

    Raises
    ------
    OverheardError
        If the text is not a time.
    """
    try:
        when = _parse(text, now)
        if not datetime.MINYEAR < when.year < datetime.MAXYEAR:
            raise ValueError("may not exist in UTC")
        return when
    except (ValueError, OverflowError) as error:
        remedy = "use a time such as 2h, 3d, today, yesterday, 20:15 or 2026-11-01"
        raise OverheardError(f"{flag}: invalid time {shorten(text)!r}", remedy) from error


def _parse(text: str, now: datetime.datetime) -> datetime.datetime:
    if ago := re.fullmatch(r"(\d+)\s*([mhdw])", text.strip().lower(), re.ASCII):
        return now - datetime.timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    # A calendar day, not 24 hours: a day is longer or shorter when the clocks change.
    day_before = midnight - datetime.timedelta(days=1)
    if clock := re.fullmatch(r"(\d\d?):(\d\d)", text.strip(), re.ASCII):
        hour, minute = int(clock[1]), int(clock[2])
        today = midnight.replace(hour=hour, minute=minute).astimezone()
        return today if today <= now else day_before.replace(hour=hour, minute=minute).astimezone()
    if text in ("today", "yesterday"):
        return (midnight if text == "today" else day_before).astimezone()
    return datetime.datetime.fromisoformat(text).astimezone()


def to_utc(when: str, flag: str = "--since", later_s: float = 0.0) -> str:
    """Convert a text to ISO 8601 in UTC, some seconds later."""
    return iso_utc(parse_when(when, datetime.datetime.now().astimezone(), flag).timestamp() + later_s)
