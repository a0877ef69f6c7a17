"""Write a repository of packs: a static folder with signed documents, for :mod:`overheard.updates`."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from overheard.errors import UpdateError
from overheard.files import atomic_write, create_folder
from overheard.fingerprint.json_values import JsonValueError
from overheard.updates.documents import (
    FORMAT,
    LATEST,
    MAX_INDEX_BYTES,
    MAX_ROOT_BYTES,
    Index,
    PackEntry,
    Role,
    Root,
)
from overheard.updates.source import FolderSource
from overheard.updates.trust import latest, signed_document
from overheard_export.signing import SigningKey, signature_file

ROOT_LIFE = datetime.timedelta(days=730)
KEPT_INDEXES = 3  # clients that read an older one may still download its files
_INDEX = re.compile(r"index\.(\d{1,10})\.json(?:\.sig)?")
_FILE = re.compile(r"([0-9a-f]{64})\.pack")
_CHUNK_BYTES = 1 << 20


class Repository:
    """A repository that is being changed.

    Parameters
    ----------
    folder : created if it does not exist

    Attributes
    ----------
    root : Root or None
        The newest; None in a new repository.
    index : Index or None

    Raises
    ------
    UpdateError
        If its documents cannot be read, or are not signed with its keys.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root: Root | None = None
        self.index: Index | None = None
        if (folder / LATEST).exists():
            try:
                self._read()
            except UpdateError as error:
                remedy = "restore the folder from a backup or from the web server"
                raise UpdateError(error.problem, remedy) from error

    def _read(self) -> None:
        source = FolderSource(str(self.folder))
        root_version, index_version = latest(source)
        name = f"root.{root_version}.json"
        # Signed by its own key; whether that is the right one, the subscribers know.
        root = signed_document(source, name, MAX_ROOT_BYTES, Root.parse, lambda root: root.root)
        name = f"index.{index_version}.json"
        self.index = signed_document(source, name, MAX_INDEX_BYTES, Index.parse, lambda _: root.index)
        self.root = root

    def file(self, sha256: str) -> Path:
        """Return the path of a file of a pack."""
        return self.folder / "files" / f"{sha256}.pack"

    def add_file(self, path: Path) -> str:
        """Copy a file of a pack into the repository, unless it is there, and return its SHA-256."""
        digest = _sha256(path)
        target = self.file(digest)
        if not target.exists() or _sha256(target) != digest:
            with atomic_write(target) as copy, path.open("rb") as original:
                while chunk := original.read(_CHUNK_BYTES):
                    copy.write(chunk)
            if _sha256(target) != digest:
                target.unlink()
                raise UpdateError(f"{path} changed while it was copied", "try again")
        return digest

    def set_keys(
        self, key: SigningKey, root_key: SigningKey | None, old_key: SigningKey | None, now: datetime.datetime
    ) -> None:
        """Write a new root if the keys change, or if the present one ends within half of its life.

        Parameters
        ----------
        key : signs indexes, and the root unless there is a `root_key`
        root_key : signs the root; None leaves it as it is
        old_key : the root key until now, if that changes
        now : current time

        Raises
        ------
        UpdateError
            If the present root key is needed and is not among these keys.
        """
        old = self.root
        root_role = Role(1, ((root_key or key).public,))
        if old is not None and root_key is None and set(old.root.keys) != set(old.index.keys):
            root_role = old.root  # its key is kept elsewhere
        index_role = Role(1, (key.public,))
        version, repository = 1, secrets.token_hex(16)
        if old is not None:
            same = (old.root, old.index) == (root_role, index_role)
            at_hand = {each.public for each in (key, root_key, old_key) if each is not None}
            vouching = len(at_hand & set(old.root.keys)) >= old.root.threshold
            if same and (old.expires - now > ROOT_LIFE / 2 or not vouching):
                return
            if not vouching:
                raise UpdateError(
                    "the repository has other keys; its present root key must sign the new ones",
                    "give the present key with --old-key, or with --root-key if it stays",
                )
            version, repository = old.version + 1, old.repository
        self.root = Root(repository, version, now, now + ROOT_LIFE, root_role, index_role)
        wanted = set(root_role.keys) | set(old.root.keys if old else ())
        signers = [each for each in (key, root_key, old_key) if each is not None and each.public in wanted]
        self._write_signed(f"root.{version}.json", self.root.to_dict(), signers)

    def publish(
        self, packs: Sequence[PackEntry], key: SigningKey, now: datetime.datetime, life: datetime.timedelta
    ) -> Index:
        """Write a new index, make it the newest, and delete what only old indexes contain."""
        if self.root is None:
            raise RuntimeError("set_keys comes first")
        version = self.index.version + 1 if self.index else 1
        index = Index(self.root.repository, version, now, now + life, tuple(packs))
        _require_valid(index)
        self._write_signed(f"index.{version}.json", index.to_dict(), [key])
        pointer = {"format": FORMAT, "root": self.root.version, "index": version}
        self._write(LATEST, json.dumps(pointer).encode() + b"\n")
        self.index = index
        self._remove_old(version)
        return index

    def _write_signed(self, name: str, values: dict[str, Any], keys: Sequence[SigningKey]) -> None:
        content = _encoded(values)
        self._write(f"{name}.sig", signature_file(content, list(dict.fromkeys(keys))))
        self._write(name, content)

    def _write(self, name: str, content: bytes) -> None:
        with atomic_write(self.folder / name) as file:
            file.write(content)

    def _remove_old(self, newest: int) -> None:
        """Delete old indexes, and files that only they contain."""
        used: set[str] = set()
        for path in self.folder.iterdir():
            match = _INDEX.fullmatch(path.name)
            if match and int(match[1]) <= newest - KEPT_INDEXES:
                path.unlink()
            elif match and path.suffix == ".json":
                with contextlib.suppress(JsonValueError):  # nobody can use a damaged index either
                    index = Index.parse(path.read_bytes())
                    used |= {file.sha256 for pack in index.packs for file in pack.files}
        for path in (self.folder / "files").glob("*.pack"):
            match = _FILE.fullmatch(path.name)
            if match and match[1] not in used:
                path.unlink()


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Repository]:
    """Open a repository for changing it; one program at a time may. Raises UpdateError."""
    create_folder(folder)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UpdateError(f"another program changes {folder}", "wait until it ends") from error
        yield Repository(folder)
    finally:
        os.close(descriptor)


def _require_valid(index: Index) -> None:
    """Raise UpdateError if subscribers would refuse an index."""
    content = _encoded(index.to_dict())
    try:
        if len(content) > MAX_INDEX_BYTES:
            raise JsonValueError(f"it has more than {MAX_INDEX_BYTES} bytes")
        Index.parse(content)
    except JsonValueError as error:
        raise UpdateError(
            f"subscribers would refuse the index: {error}", "divide or rename the packs of the repository"
        ) from error


def _encoded(values: dict[str, Any]) -> bytes:
    return json.dumps(values, indent=1).encode() + b"\n"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
