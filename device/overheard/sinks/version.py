"""How sinks introduce themselves to other programs."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def _version() -> str:
    try:
        return version("overheard")
    except PackageNotFoundError:  # a source checkout
        return "0"


VERSION = _version()
USER_AGENT = f"overheard/{VERSION} ( https://github.com/overheard/overheard )"
