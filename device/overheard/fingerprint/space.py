"""The embedding space of a model: what packs depend on, and what networks of every size share.

A space is a spec, a quantizer and a cohort. Networks that embed into the same space read and write the same
packs; a pack of another space cannot be searched. :mod:`overheard.fingerprint.model` loads both.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from typing import Any

from overheard.fingerprint.json_values import JsonValueError, get_object, get_string
from overheard.fingerprint.spec import FingerprintSpec

_HEX16 = re.compile("[0-9a-f]{16}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclasses.dataclass(frozen=True)
class Space:
    """The identity of a space.

    Attributes
    ----------
    name : str
        Of the model that defined it, whose quantizer and cohort files all its networks share.
    digest : str
        16 hex digits of the spec, the quantizer and the cohort.
    pack_digest : str
        16 hex digits that its packs store as ``fingerprint_digest``. They are the digest of the model that
        defined the space, network included, so that packs from before there were spaces stay valid.
    """

    name: str
    digest: str
    pack_digest: str

    def to_dict(self) -> dict[str, str]:
        """Return the object ``space`` of a model's manifest."""
        return dataclasses.asdict(self)

    @classmethod
    def from_manifest(cls, manifest: dict[str, Any]) -> Space | None:
        """Return the space that a manifest names; None if the model defines its own.

        Raises
        ------
        JsonValueError
            If the manifest does not describe the space correctly.
        """
        if "space" not in manifest:
            return None
        fields = get_object(manifest, "space")
        space = cls(*(get_string(fields, field.name) for field in dataclasses.fields(cls)))
        if not _NAME.fullmatch(space.name):  # it becomes the name of files
            raise JsonValueError("space.name must consist of letters, digits and ._-")
        if not all(map(_HEX16.fullmatch, (space.digest, space.pack_digest))):
            raise JsonValueError("space.digest and space.pack_digest must be 16 hex digits")
        return space


def digest_of(spec: FingerprintSpec, *parts: bytes) -> str:
    """Return 16 hex digits that identify a spec and files: of a space, its quantizer and its cohort."""
    hashes = (spec.digest(), *(hashlib.sha256(part).hexdigest() for part in parts))
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest()[:16]


def file_digest(part: bytes) -> str:
    """Return 16 hex digits that identify one file, such as a network or a quality estimator."""
    return hashlib.sha256(part).hexdigest()[:16]
