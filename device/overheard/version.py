"""The installed version."""

from __future__ import annotations


def version() -> str:
    """Return the installed version, or "(not installed)" in a source checkout."""
    # Imported here, because it takes a tenth of the start of a short command.
    from importlib import metadata

    try:
        return metadata.version("overheard")
    except metadata.PackageNotFoundError:
        return "(not installed)"
