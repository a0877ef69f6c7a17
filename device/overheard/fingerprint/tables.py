"""Read NumPy tables from ``.npz`` bytes that may be damaged or hostile.

``numpy.load`` is not used: it trusts declared sizes and raises errors of many types for malformed headers.
This reader accepts what ``numpy.savez`` and ``numpy.savez_compressed`` write for plain arrays.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_BYTES = 1 << 28  # uncompressed, 256 MiB; the tables of the largest model take 30 MB

# Source: the .npy format, version 1.0: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
_MAGIC = b"\x93NUMPY\x01\x00"
_PREFIX_BYTES = len(_MAGIC) + 2  # the magic, then the length of the header
_DTYPE = rb"[<>|](?:b1|[iu][1248]|f[248]|[SU][1-9]\d{0,8})"
_SHAPE = rb"(?:\d{1,12}(?:, \d{1,12}){0,7},?)?"
_HEADER = re.compile(
    rb"\{'descr': '(%s)', 'fortran_order': (True|False), 'shape': \((%s)\), \} *\n" % (_DTYPE, _SHAPE)
)
# What `zipfile` raises for damaged archives. OverflowError: an offset of more than 63 bits.
_DAMAGE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, ValueError, OverflowError)


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
        If the bytes are not an ``.npz`` of plain arrays, are damaged, or uncompress to more than `max_bytes`.
    """
    try:
        contents = _read_archive(stored, max_bytes)
    except TablesError:
        raise
    except _DAMAGE as error:
        raise TablesError(f"not a valid archive: {error}") from error
    return {name: _to_array(npy) for name, npy in contents.items()}


def _read_archive(stored: bytes, max_bytes: int) -> dict[str, bytes]:
    """Return the contents of each entry by name, without the suffix."""
    with zipfile.ZipFile(io.BytesIO(stored)) as archive:
        entries = archive.infolist()
        if sum(entry.file_size for entry in entries) > max_bytes:
            raise TablesError(f"more than {max_bytes} bytes when uncompressed")
        if any(entry.flag_bits & 1 for entry in entries):
            raise TablesError("an entry is encrypted")
        if not all(entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries):
            raise TablesError("an entry has an unsupported compression")
        contents = {}
        for entry in entries:
            with archive.open(entry) as file:
                contents[entry.filename.removesuffix(".npy")] = file.read(entry.file_size)
    return contents


def _to_array(npy: bytes) -> npt.NDArray[Any]:
    """Return the array in the contents of an ``.npy`` file. Raises TablesError."""
    start = _PREFIX_BYTES + int.from_bytes(npy[len(_MAGIC) : _PREFIX_BYTES], "little")
    header = _HEADER.fullmatch(npy[_PREFIX_BYTES:start])
    if not npy.startswith(_MAGIC) or header is None:
        raise TablesError("an entry is not a plain NumPy array")
    dtype = np.dtype(header[1].decode("ascii"))
    shape = tuple(int(size) for size in header[3].split(b",") if size)
    if math.prod(shape) * dtype.itemsize != len(npy) - start or math.prod(filter(None, shape)) > MAX_BYTES:
        raise TablesError("an entry does not have the size that its header declares")
    values = np.frombuffer(npy, dtype, offset=start) if math.prod(shape) else np.zeros(0, dtype)
    return values.reshape(shape, order="F" if header[2] == b"True" else "C").copy()


def table(tables: dict[str, npt.NDArray[Any]], name: str, n_dims: int) -> npt.NDArray[Any]:
    """Return the table called `name`, which must have `n_dims` dimensions and finite values.

    Raises
    ------
    TablesError
        If the table is missing, has another number of dimensions, or does not contain finite numbers.
    """
    if name not in tables:
        raise TablesError(f"table {name} is missing")
    values = tables[name]
    if values.ndim != n_dims or values.dtype.kind not in "iuf":
        raise TablesError(f"table {name} has shape {values.shape} and type {values.dtype}")
    with np.errstate(over="ignore"):  # of float64
        if not np.isfinite(values.astype(np.float32)).all():
            raise TablesError(f"table {name} has values that are not finite numbers")
    return values
