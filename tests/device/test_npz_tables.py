"""NumPy tables from bytes that may be damaged or hostile."""

from __future__ import annotations

import io
import struct
import zipfile
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from overheard.fingerprint.tables import TablesError, read_tables, table


def npz(**tables: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **tables)  # type: ignore[arg-type]
    return buffer.getvalue()


def archive(contents: bytes, name: str = "a.npy") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, contents)
    return buffer.getvalue()


def npy(values: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def test_round_trip() -> None:
    tables = read_tables(npz(a=np.arange(6, dtype=np.uint16), b=np.eye(3, dtype=np.float16)))
    assert set(tables) == {"a", "b"}
    np.testing.assert_array_equal(table(tables, "a", 1), np.arange(6))
    np.testing.assert_array_equal(table(tables, "b", 2), np.eye(3))


@pytest.mark.parametrize("dtype", ["?", "u1", "<u2", ">u2", "i8", "f2", "f8", "U5", "S3"])
@pytest.mark.parametrize("shape", [(), (4,), (0,), (2, 3), (0, 3), (2, 1, 3, 2)])
def test_every_plain_array_is_read_as_numpy_wrote_it(dtype: str, shape: tuple[int, ...]) -> None:
    values = np.arange(int(np.prod(shape))).astype(dtype).reshape(shape)
    for written in (values, np.asfortranarray(values)):
        read = read_tables(npz(a=written))["a"]
        assert read.dtype == values.dtype
        np.testing.assert_array_equal(read, written)


def test_a_missing_table_and_another_shape_or_type_are_refused() -> None:
    tables = read_tables(npz(a=np.zeros(3), text=np.array(["a"])))
    with pytest.raises(TablesError, match="b is missing"):
        table(tables, "b", 1)
    with pytest.raises(TablesError, match=r"a has shape \(3,\)"):
        table(tables, "a", 2)
    with pytest.raises(TablesError, match="text has shape"):
        table(tables, "text", 1)


def test_a_decompression_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = npz(a=np.zeros(1_000_000))
    assert len(bomb) < 20_000
    assert len(read_tables(bomb)["a"]) == 1_000_000
    with pytest.raises(TablesError, match="more than 100000 bytes when uncompressed"):
        read_tables(bomb, max_bytes=100_000)


@pytest.mark.parametrize(
    "shape",
    [b"(9999999999999,)", b"(99999999999999999999,)", b"(-8,)", b"(0, 999999999999)", b"(7,)", b"(((("],
)
def test_a_header_that_does_not_fit_the_data_is_refused(shape: bytes) -> None:
    honest = npy(np.zeros(8, dtype=np.uint8))
    start = honest.index(b"(8,)")
    header = honest[: start + 4].replace(b"(8,)", shape) + honest[start + 4 :].replace(
        b" " * (len(shape) - 4), b"", 1
    )
    with pytest.raises(TablesError):
        read_tables(archive(header))


def test_pickled_objects_are_refused() -> None:
    with pytest.raises(TablesError, match="not a plain NumPy array"):
        read_tables(npz(a=np.array([{"a": 1}, None], dtype=object)))


def test_encrypted_entries_and_unknown_compression_are_refused() -> None:
    stored = archive(npy(np.zeros(3)))
    central = stored.index(b"PK\x01\x02")
    # Offsets in the local header; 2 higher in the central directory. Methods 1 and 14: shrink and LZMA.
    for offset, value, reason in ((6, 1, "encrypted"), (8, 1, "compression"), (8, 14, "compression")):
        changed = bytearray(stored)
        changed[offset], changed[central + offset + 2] = value, value
        with pytest.raises(TablesError, match=reason):
            read_tables(bytes(changed))


def test_an_entry_that_is_larger_than_declared_is_refused() -> None:
    stored = bytearray(archive(npy(np.zeros(100_000))))
    declared = stored.index(b"PK\x01\x02") + 24
    stored[declared : declared + 4] = (1000).to_bytes(4, "little")
    with pytest.raises(TablesError):
        read_tables(bytes(stored))


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"no archive",
        b"PK\x03\x04 cut off",
        npy(np.zeros(3)),
        archive(b"no table"),
        archive(b"", "a.txt"),
    ],
)
def test_bytes_that_are_not_an_archive_of_tables_are_refused(stored: bytes) -> None:
    with pytest.raises(TablesError):
        read_tables(stored)


@pytest.mark.parametrize("offset", [2**63 + 5, 2**64 - 1, 2**40])
def test_an_entry_at_an_impossible_offset_is_refused(offset: int) -> None:
    stored = npz(a=np.zeros(3))
    directory, end = stored.index(b"PK\x01\x02"), stored.index(b"PK\x05\x06")
    entry, extra = bytearray(stored[directory:end]), struct.pack("<HHQ", 1, 8, offset)
    entry[30:32], entry[42:46] = (
        struct.pack("<H", len(extra)),
        b"\xff" * 4,
    )  # the offset is in the extra field
    last = bytearray(stored[end:])
    last[12:16] = struct.pack("<I", len(entry) + len(extra))
    with pytest.raises(TablesError):
        read_tables(stored[:directory] + bytes(entry) + extra + bytes(last))


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e39])
def test_tables_with_values_that_float32_cannot_hold_are_refused(value: float) -> None:
    tables = read_tables(npz(a=np.array([1.0, value])))
    with pytest.raises(TablesError, match="not finite"):
        table(tables, "a", 1)


def test_any_flipped_byte_gives_tables_or_a_tables_error() -> None:
    stored = npz(a=np.arange(40, dtype=np.float32), b=np.zeros((3, 3)))
    for position in range(len(stored)):
        changed = bytearray(stored)
        changed[position] ^= 1 << position % 8
        try:
            tables = read_tables(bytes(changed))
        except TablesError:
            continue
        assert all(isinstance(values, np.ndarray) for values in tables.values())
