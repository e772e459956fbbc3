"""When two texts are the same to a person, and what a person cannot see of their difference."""

from __future__ import annotations

import unicodedata

# Marks that only say which way a line runs, and that of the order of bytes.
DIRECTIONS = dict.fromkeys(
    (0xFEFF, 0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)), None
)
# Differences of more characters are seen.
SHORT = 4


def without_directions(text: str) -> str:
    """``text`` without the marks of direction that keyboards and chats put in."""
    return text.translate(DIRECTIONS)


def key(text: str) -> str:
    """Equal for texts that are the same: composed or decomposed, with marks of direction or not."""
    return unicodedata.normalize("NFC", without_directions(text))


def difference(one: str, other: str) -> str:
    """The code points in which two texts differ, where they may look the same; else nothing."""
    pieces = _pieces(key(one), key(other))
    if max(map(len, pieces)) > SHORT or "".join(pieces).isascii():
        return ""
    return f" (they differ in {_points(pieces[0])} and {_points(pieces[1])})"


def _pieces(one: str, other: str) -> tuple[str, str]:
    """The characters in which two texts differ, each once where they stand apart."""
    hidden = tuple("".join(dict.fromkeys(filter(_is_hidden, text))) for text in (one, other))
    seen = tuple("".join(c for c in text if not _is_hidden(c)) for text in (one, other))
    if seen[0] == seen[1]:
        return hidden[0], hidden[1]
    if len(one) == len(other):
        pairs = dict.fromkeys(pair for pair in zip(one, other, strict=True) if len({*pair}) == 2)
        return "".join(a for a, _ in pairs), "".join(b for _, b in pairs)
    start = _common(one, other)
    end = _common(one[start:][::-1], other[start:][::-1])
    return one[start : len(one) - end], other[start : len(other) - end]


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) == "Cf"


def _common(one: str, other: str) -> int:
    """How many characters both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def _points(text: str) -> str:
    named = (f"U+{ord(c):04X} {unicodedata.name(c, 'without a name')}" for c in text)
    return ", ".join(named) or "nothing"
