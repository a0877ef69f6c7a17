"""Errors that a user can mend. The command line prints each as one line and exits with 2."""

import zipfile


class OverheardError(Exception):
    """Base of all errors that carry a message meant for the user."""


class AudioError(OverheardError):
    """A file or device cannot be read as audio."""


class PackError(OverheardError):
    """A pack is truncated, altered, of a foreign version, or made for another model."""


class ModelError(OverheardError):
    """A model file or its manifest is missing, altered or does not fit."""


class SettingsError(OverheardError):
    """A setting has an unknown name or an impossible value."""


# What numpy raises of files that are no .npz, or hold other tables than were asked for.
NO_TABLES = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OSError,
    EOFError,
    zipfile.BadZipFile,
)
