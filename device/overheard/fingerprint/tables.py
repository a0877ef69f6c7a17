"""Read NumPy tables from ``.npz`` bytes that may be damaged or hostile: without pickle, of limited size."""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_BYTES = 1 << 28  # uncompressed, 256 MiB; the tables of the largest model take 30 MB


class TablesError(ValueError):
    """The bytes are not a valid ``.npz`` with the expected tables."""


def read_tables(stored: bytes, max_bytes: int = MAX_BYTES) -> dict[str, npt.NDArray[Any]]:
    """Return all tables of an ``.npz`` by name.

    Parameters
    ----------
    stored : contents of the file
    max_bytes : limit of the uncompressed size

    Raises
    ------
    TablesError
        If the bytes are not an ``.npz``, are damaged, encrypted or pickled, or exceed `max_bytes` when
        uncompressed.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(stored)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > max_bytes:
                raise TablesError(f"more than {max_bytes} bytes when uncompressed")
        with np.load(io.BytesIO(stored), allow_pickle=False) as archive:
            tables = {name: archive[name] for name in archive.files}
    except TablesError:
        raise
    except MemoryError as error:
        raise TablesError("a table's header declares more data than fits into memory") from error
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, RuntimeError) as error:
        # zipfile raises RuntimeError for encrypted entries, NotImplementedError for unknown compression.
        raise TablesError(str(error)) from error
    if not all(isinstance(table, np.ndarray) for table in tables.values()):
        raise TablesError("a file in the archive is not a NumPy table")
    return tables


def table(tables: dict[str, npt.NDArray[Any]], name: str, n_dims: int) -> npt.NDArray[Any]:
    """Return the numeric table called `name`, which must have `n_dims` dimensions.

    Raises
    ------
    TablesError
        If the table is missing, has another number of dimensions, or does not contain numbers.
    """
    if name not in tables:
        raise TablesError(f"table {name} is missing")
    values = tables[name]
    if values.ndim != n_dims or values.dtype.kind not in "iuf":
        raise TablesError(f"table {name} has shape {values.shape} and type {values.dtype}")
    return values
