"""Where two transcripts differ, for marking the words."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rapidfuzz.distance import Levenshtein

from espnet_egl.report.blocks import MISSING, OTHER, SAME

# Scripts that put no spaces between words: Thai, Lao, Burmese, Khmer, kana, Han.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
UNSPACED += "\uf900-\ufaff\U00020000-\U0003ffff"
# The space before a word, and the word; signs with the marks that belong to them.
WORD = re.compile(
    rf"(\s*)([{UNSPACED}][\u0300-\u036f\u0e31\u0e34-\u0e3a\u0e47-\u0e4e]*|[^\s{UNSPACED}]+)"
)


def words(text: str) -> list[str]:
    """The words of a text; signs of scripts without spaces one by one.

    >>> words("two 東京 words")
    ['two', '東', '京', 'words']
    """
    return [word for _, word in WORD.findall(text)]


def marked(text: str, reference: str) -> list[list[str]]:
    """A text in pieces ``[mark, words]``, by its minimal edits of another.

    The pieces that are not missing are, one after the other, the text with its own spaces.

    Args:
        text: What is shown.
        reference: What it is compared with.

    >>> marked("one tree", "one three four")
    [['same', 'one '], ['other', 'tree'], ['missing', ' four']]
    """
    found, expected = WORD.findall(text.strip()), WORD.findall(reference.strip())
    pieces: list[list[str]] = []
    for edit in Levenshtein.opcodes(words(reference), words(text)):
        if edit.tag == "delete":
            missing = _spelled(expected[edit.src_start : edit.src_end])
            if edit.dest_start == 0 and edit.src_end < len(expected):
                # Before the first word, the space is behind.
                missing += expected[edit.src_end][0]
            pieces.append([MISSING, missing])
            continue
        part = _spelled(found[edit.dest_start : edit.dest_end])
        if edit.tag == "equal":
            pieces.append([SAME, part])
        else:
            # A space is not marked.
            word = part.lstrip()
            pieces += [[SAME, part[: len(part) - len(word)]], [OTHER, word]]
    return _merged(pieces)


def _spelled(parts: Iterable[tuple[str, str]]) -> str:
    return "".join(space + word for space, word in parts)


def _merged(pieces: Iterable[list[str]]) -> list[list[str]]:
    """Neighbours with one mark as one piece; none is empty."""
    merged: list[list[str]] = []
    for mark, text in pieces:
        if merged and merged[-1][0] == mark:
            merged[-1][1] += text
        elif text:
            merged.append([mark, text])
    return merged
