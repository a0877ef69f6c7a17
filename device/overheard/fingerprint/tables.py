"""Read NumPy tables from ``.npz`` bytes that may be damaged or hostile: no pickle, bounded size."""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_BYTES = 1 << 28  # unpacked; the largest model's tables take 30 MB


class TablesError(ValueError):
    """The bytes are not an intact ``.npz`` with the expected tables."""


def read_tables(stored: bytes, max_bytes: int = MAX_BYTES) -> dict[str, npt.NDArray[Any]]:
    """Return all tables of an ``.npz`` by name.

    Raises
    ------
    TablesError
        If the bytes are no ``.npz``, are damaged, or unpack to more than `max_bytes`.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(stored)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > max_bytes:
                raise TablesError(f"unpacks to more than {max_bytes} bytes")
        with np.load(io.BytesIO(stored), allow_pickle=False) as archive:
            tables = {name: archive[name] for name in archive.files}
    except TablesError:
        raise
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, RuntimeError) as error:
        # RuntimeError: an encrypted entry, or (NotImplementedError) an unknown compression.
        raise TablesError(str(error)) from error
    if not all(isinstance(table, np.ndarray) for table in tables.values()):
        raise TablesError("an entry is not a NumPy table")
    return tables


def table(tables: dict[str, npt.NDArray[Any]], name: str, n_dims: int) -> npt.NDArray[Any]:
    """Return one table with the given number of dimensions.

    Raises
    ------
    TablesError
        If it is missing, has another number of dimensions, or holds no numbers.
    """
    if name not in tables:
        raise TablesError(f"table {name} is missing")
    found = tables[name]
    if found.ndim != n_dims or found.dtype.kind not in "iuf":
        raise TablesError(f"table {name} has shape {found.shape} and type {found.dtype}")
    return found
