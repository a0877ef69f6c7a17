"""Remember subscriptions: the keys that are trusted, the newest version seen, and the files installed."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from overheard.catalogue.pack_file import Stamp
from overheard.errors import UpdateError
from overheard.files import atomic_write, create_folder, read_regular
from overheard.fingerprint.json_values import (
    JsonValueError,
    as_string,
    get_array,
    get_integer,
    get_object,
    get_string,
    parse_object,
)
from overheard.settings import Settings
from overheard.updates.documents import FORMAT, PackFile, Root, moment, pack_name
from overheard.updates.keys import hex_digits

STATE_NAME = "subscriptions.json"
_MAX_STATE_BYTES = 1 << 25
_STAMP = re.compile(r"(-?\d{1,20}):(\d{1,20}):(\d{1,20})")


@dataclasses.dataclass(frozen=True)
class Seen:
    """The newest index that was verified: an older one is refused from then on."""

    version: int = 0
    sha256: str = ""
    created: datetime.datetime = datetime.datetime(2, 1, 1, tzinfo=datetime.timezone.utc)


@dataclasses.dataclass(frozen=True)
class InstalledFile:
    """A file that this program put into the folder of packs, or was about to."""

    file: PackFile
    lineage: str
    stamp: Stamp | None = None  # if it is still the same, so are the contents

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object."""
        stamp = self.stamp or Stamp(0, 0, 0, 0)
        text = f"{stamp.mtime_ns}:{stamp.inode}:{stamp.device}"  # JSON readers round large numbers
        return {**dataclasses.asdict(self.file), "lineage": self.lineage, "stamp": text}

    @classmethod
    def parse(cls, values: object) -> InstalledFile:
        """Read a file of a subscription. Raises JsonValueError."""
        if not isinstance(values, dict):
            raise JsonValueError("an installed file must be an object")
        file = PackFile.parse(values)
        match = _STAMP.fullmatch(get_string(values, "stamp"))
        if match is None:
            raise JsonValueError("stamp must be three numbers")
        mtime_ns, inode, device = map(int, match.groups())
        lineage = hex_digits(get_string(values, "lineage"), 16, "lineage")
        return cls(file, lineage, Stamp(file.size, mtime_ns, inode, device))


@dataclasses.dataclass(frozen=True)
class Subscription:
    """A repository that the user subscribed to."""

    url: str
    root: Root
    seen: Seen = Seen()
    packs: tuple[str, ...] = ()  # those that the user chose; empty: all
    installed: Mapping[str, tuple[InstalledFile, ...]] = dataclasses.field(default_factory=dict)  # by pack

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "url": self.url,
            "root": self.root.to_dict(),
            "seen": {**dataclasses.asdict(self.seen), "created": self.seen.created.isoformat()},
            "packs": list(self.packs),
            "installed": {
                name: [known.to_dict() for known in files] for name, files in self.installed.items()
            },
        }

    @classmethod
    def parse(cls, values: object) -> Subscription:
        """Read a subscription. Raises JsonValueError."""
        if not isinstance(values, dict):
            raise JsonValueError("a subscription must be an object")
        seen, installed = get_object(values, "seen"), get_object(values, "installed")
        return cls(
            url=get_string(values, "url"),
            root=Root.parse(json.dumps(get_object(values, "root")).encode()),
            seen=Seen(
                get_integer(seen, "version", 0),
                get_string(seen, "sha256"),
                moment(get_string(seen, "created"), "created"),
            ),
            packs=tuple(pack_name(as_string(name, "a pack")) for name in get_array(values, "packs")),
            installed={
                pack_name(name): tuple(map(InstalledFile.parse, get_array(installed, name)))
                for name in installed
            },
        )


class State:
    """The subscriptions of a user, in a file that only the user can read.

    Parameters
    ----------
    settings : its data folder holds the file

    Raises
    ------
    UpdateError
        If the file cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        self.path = settings.data_dir / STATE_NAME
        self.subscriptions = self._read()

    def _read(self) -> dict[str, Subscription]:
        try:
            values = parse_object(read_regular(self.path, _MAX_STATE_BYTES))
            if get_integer(values, "format") != FORMAT:
                raise JsonValueError("it is of another version of overheard")
            found = map(Subscription.parse, get_array(values, "subscriptions"))
            return {subscription.url: subscription for subscription in found}
        except FileNotFoundError:
            return {}
        except (OSError, JsonValueError) as error:
            raise UpdateError(
                f"{self.path}: cannot be read ({error})", "delete the file, and subscribe again"
            ) from error

    def save(self, subscription: Subscription) -> None:
        """Add or replace a subscription, and write the file. Raises UpdateError."""
        self.subscriptions[subscription.url] = subscription
        self._write()

    def remove(self, url: str) -> None:
        """Remove a subscription, and write the file. Raises UpdateError."""
        del self.subscriptions[url]
        self._write()

    def _write(self) -> None:
        rows = [subscription.to_dict() for subscription in self.subscriptions.values()]
        try:
            with atomic_write(self.path, private=True) as file:
                file.write(json.dumps({"format": FORMAT, "subscriptions": rows}, indent=1).encode())
        except OSError as error:
            raise UpdateError(
                f"{self.path}: cannot be written ({error.strerror or error})", "free disk space"
            ) from error


def repository_of(settings: Settings, name: str) -> str | None:
    """Return the URL of the subscription that a pack came from, or None. Raises UpdateError."""
    subscriptions = State(settings).subscriptions.values()
    return next((each.url for each in subscriptions if each.installed.get(name)), None)


@contextlib.contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """Let one program at a time change subscriptions and their packs. Raises UpdateError if another does."""
    path = settings.data_dir / f"{STATE_NAME}.lock"
    try:
        create_folder(path.parent, private=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UpdateError(f"{path}: cannot be written ({error.strerror or error})") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UpdateError("another `overheard packs update` is running", "wait until it ends") from error
        yield
    finally:
        os.close(descriptor)
