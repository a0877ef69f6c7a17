"""Open the model and packs that the settings select."""

from __future__ import annotations

from collections.abc import Sequence

from overheard.catalogue.searching_model import open_model
from overheard.catalogue.selection import open_packs
from overheard.recognize.recognizer import Recognizer
from overheard.settings import Settings


def open_recognizer(settings: Settings, pack_names: Sequence[str] | None = None) -> Recognizer:
    """Load the model and the packs for identifying or listening.

    Parameters
    ----------
    settings : Settings
    pack_names : sequence of str or None
        Names or paths of packs; None selects those in the settings, or all.

    Raises
    ------
    ModelError
        If the model cannot be loaded.
    PackError
        If a selected pack, or every pack, is unusable.
    """
    model = open_model(settings, pack_names)
    packs = open_packs(settings, model, pack_names)
    return Recognizer(model, packs, settings.gate, settings.track, scheduled=settings.listen.schedule)
