"""Say which model and networks made packs, without opening them, and whether a model is an earlier one."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from overheard.catalogue.layer_files import layer_files
from overheard.catalogue.pack_file import read_file
from overheard.catalogue.pack_format import UnusablePack, read_manifest
from overheard.errors import REINSTALL, ModelError, PackError
from overheard.files import read_regular
from overheard.fingerprint import model_choice
from overheard.fingerprint.json_values import JsonValueError, get_integer, get_string
from overheard.fingerprint.model import MAX_FILE_BYTES, Model
from overheard.fingerprint.model import read_manifest as read_model_manifest
from overheard.fingerprint.space import Space, file_digest
from overheard.settings import MODELS_DIR, Settings


def digest_of_model(manifest: Path) -> str:
    """Return the digest in the packs of a model. Raises ModelError if its manifest is missing or invalid."""
    facts = read_model_manifest(manifest)
    try:
        space = Space.from_manifest(facts)
        return get_string(facts, "digest") if space is None else space.pack_digest
    except JsonValueError as error:
        raise ModelError(f"{manifest} is not a model manifest ({error})", REINSTALL) from error


def model_of(digest: str) -> str:
    """Return which model packs with a digest are for: the name of one that ships, or the digest."""
    for manifest in sorted(MODELS_DIR.glob("*.json")):
        try:
            if read_model_manifest(manifest).get("digest") == digest:
                return manifest.stem
        except ModelError:  # doctor reports it
            continue
    return digest


def network_names(digests: Iterable[str]) -> list[str]:
    """Return which networks have these digests: the names of those that ship, or the digests."""
    shipped = {}
    for network in sorted(MODELS_DIR.glob("*.tflite")):
        with contextlib.suppress(OSError):  # doctor reports it
            shipped[file_digest(read_regular(network, MAX_FILE_BYTES))] = network.stem
    return [shipped.get(digest, digest) for digest in digests]


def digest_of_pack(path: Path) -> str:
    """Return the digest of the model that a pack was made for; empty if the pack cannot be read."""
    return _facts(path)[0]


def tracks_by_digest(packs: Iterable[Path]) -> Counter[str]:
    """Return how many tracks the packs have for each digest; those that cannot be read have none."""
    tracks: Counter[str] = Counter()
    for path in packs:
        digest, n = _facts(path)
        tracks[digest] += n + sum(_facts(layer)[1] for layer in layer_files(path))
    return tracks


def is_earlier(model: Model, settings: Settings) -> bool:
    """Return whether the settings would choose a model with other fingerprints than this one."""
    return settings.model_path is None and model.digest != digest_of_model(model_choice.model_path(settings))


def _facts(path: Path) -> tuple[str, int]:
    """Return digest and number of tracks of a file of a pack, whose other contents are not verified."""
    try:
        manifest = read_manifest(read_file(path)[0])
        return get_string(manifest, "fingerprint_digest"), get_integer(manifest, "n_tracks", 0)
    except (PackError, UnusablePack, JsonValueError):  # whoever opens it reports it
        return "", 0
