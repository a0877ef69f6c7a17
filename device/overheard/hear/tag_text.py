"""Decode the text of tags that do not state their encoding, such as Cyrillic or Japanese in ID3.

Statistical detectors need longer texts than titles: here an encoding is judged by the share of the letters
that form plausible words in it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable

_WORD = re.compile(r"[^\W\d_]+")
_OTHER = re.compile(r"[^\w\x00-\x7f]")
_PUNCTUATION = frozenset("¡¿«»‘’‚“”„–—…·°®©™№\u3000、。・「」『』〈〉《》【】！？（）：～〜＆")  # noqa: RUF001
_DEFAULT = "cp1252"
_ID3V1_BYTES = 30  # of each text
_CYRILLIC = r"\u0400-\u045f"
_GREEK = r"\u0370-\u03ff"


def legacy_bytes(text: str, declared: bool) -> bytes | None:
    """Return the bytes of a text whose encoding is unknown, or None if the text is right as it is.

    Parameters
    ----------
    text : str
        Decoded with ``surrogateescape``.
    declared : bool
        Whether the file's format prescribes the encoding. If not, text of the first 256 characters of Unicode
        is probably bytes of another encoding in a field for Latin-1.
    """
    if any("\udc80" <= char <= "\udcff" for char in text):
        return text.encode("utf-8", "surrogateescape")
    if declared or not any(char >= "\x80" for char in text) or max(text) > "\xff":
        return None
    return text.encode("latin-1")


def encoding_of(texts: Iterable[bytes]) -> str:
    """Return the encoding in which most letters of these texts, such as an album's tags, form words.

    Western European text is the default.
    """
    unknown = [text for text in texts if _decode(text, "utf-8") is None]
    scores = {name: _score(unknown, name, rule) for name, rule in _RULES.items()}
    best = max(scores, key=lambda name: scores[name])  # the first of equal ones
    return best if scores[best] > 0 else _DEFAULT


def decode_text(text: bytes, encoding: str) -> str:
    """Decode a text as UTF-8 if it is, else in this encoding, or else as Western European text."""
    for name in ("utf-8", encoding, _DEFAULT):
        decoded = _decode(text, name)
        if decoded is not None:
            return decoded
    return text.decode("latin-1")


def _decode(text: bytes, encoding: str) -> str | None:
    """Return the text without a last character that ID3v1 cut off, or None if it is invalid."""
    try:
        return text.decode(encoding)
    except UnicodeDecodeError as error:
        is_cut = error.start > 0 and error.end == len(text) and len(text) == _ID3V1_BYTES
        return text[: error.start].decode(encoding) if is_cut else None


def _score(texts: list[bytes], encoding: str, rule: Callable[[str], float]) -> float:
    """Return the share of letters outside ASCII that are plausible, between 0 and 1; 0 if some cannot be."""
    total = plausible = 0.0
    for text in texts:
        decoded = _decode(text, encoding)
        if decoded is None:
            return 0.0
        for word in _WORD.findall(decoded):
            n_letters = sum(char > "\x7f" for char in word)
            total += n_letters
            plausible += n_letters * rule(word)
        # Outside words, punctuation is plausible, and drawing or control characters are not.
        others = _OTHER.findall(decoded)
        total += len(others)
        plausible += sum(char in _PUNCTUATION for char in others)
    return plausible / total if total else 0.0


def _western(word: str) -> float:
    n_letters = sum(char > "\x7f" for char in word)
    return float(_has_case_of_word(word) and (len(word) <= 3 or 2 * n_letters <= len(word)))


def _has_case_of_word(word: str) -> bool:
    return word.islower() or word.isupper() or (word[0].isupper() and word[1:].islower())


@dataclasses.dataclass(frozen=True)
class _Alphabet:
    """Words of one alphabet, in lower or upper case or with an initial capital."""

    letters: str

    def __call__(self, word: str) -> float:
        return float(bool(re.fullmatch(f"[{self.letters}]+", word)) and _has_case_of_word(word))


@dataclasses.dataclass(frozen=True)
class _DoubleBytes:
    """Characters of two bytes, of which the frequent ones have these first bytes."""

    encoding: str
    ranges: tuple[tuple[int, int], ...]

    def __call__(self, word: str) -> float:
        letters = [char for char in word if char > "\x7f"]
        return sum(map(self._is_frequent, letters)) / len(letters) if letters else 0.0

    def _is_frequent(self, char: str) -> bool:
        encoded = char.encode(self.encoding)
        return len(encoded) == 2 and any(low <= encoded[0] <= high for low, high in self.ranges)


_RULES: dict[str, Callable[[str], float]] = {
    _DEFAULT: _western,
    "cp1251": _Alphabet(_CYRILLIC),
    "koi8_r": _Alphabet(_CYRILLIC),
    "cp1253": _Alphabet(_GREEK),
    "cp932": _DoubleBytes("cp932", ((0x81, 0x83), (0x88, 0x97))),  # punctuation and kana; level 1
    "cp949": _DoubleBytes("cp949", ((0xB0, 0xC8),)),  # Hangul
    "gbk": _DoubleBytes("gbk", ((0xB0, 0xD7),)),  # level 1
    "big5": _DoubleBytes("big5", ((0xA4, 0xC6),)),  # level 1
    "euc_jp": _DoubleBytes("euc_jp", ((0xA4, 0xA5), (0xB0, 0xCF))),  # kana; level 1
}
