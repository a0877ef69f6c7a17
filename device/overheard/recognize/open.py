"""Open model and packs for recognizing."""

from __future__ import annotations

from collections.abc import Sequence

from overheard.catalogue.selection import open_packs
from overheard.fingerprint.model import load_model
from overheard.recognize.pipeline import Recognizer
from overheard.settings import Settings


def open_recognizer(settings: Settings, pack_names: Sequence[str] | None = None) -> Recognizer:
    """Load the model and the packs, once, for identifying or listening."""
    model = load_model(settings.model_path)
    packs = open_packs(settings, model, pack_names)
    return Recognizer(model, packs, settings.gate, settings.track)
