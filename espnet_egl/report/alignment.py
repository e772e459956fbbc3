"""Where two transcripts differ, for marking the words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein

from espnet_egl.report.blocks import MISSING, OTHER, SAME

# Scripts that put no spaces between words: Thai, Lao, Burmese, Khmer, kana, Han.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
UNSPACED += "\uf900-\ufaff\U00020000-\U0003ffff"
# With the marks that belong to a sign.
WORD = re.compile(rf"[{UNSPACED}][\u0300-\u036f\u0e31\u0e34-\u0e3a\u0e47-\u0e4e]*|[^\s{UNSPACED}]+")


def words(text: str) -> list[str]:
    """The words of a text; signs of scripts without spaces one by one.

    >>> words("two 東京 words")
    ['two', '東', '京', 'words']
    """
    return WORD.findall(text)


def marked(text: str, reference: str) -> list[list[str]]:
    """A text in pieces ``[mark, words]``, by its minimal edits of another.

    Args:
        text: What is shown.
        reference: What it is compared with.

    >>> marked("one tree", "one three four")
    [['same', 'one'], ['other', 'tree'], ['missing', 'four']]
    """
    found, expected = words(text), words(reference)
    pieces: list[list[str]] = []
    for edit in Levenshtein.opcodes(expected, found):
        if edit.tag == "delete":
            pieces.append([MISSING, joined(expected[edit.src_start : edit.src_end])])
        else:
            mark = SAME if edit.tag == "equal" else OTHER
            pieces.append([mark, joined(found[edit.dest_start : edit.dest_end])])
    return _merged(pieces)


def joined(parts: Sequence[str]) -> str:
    """Words as a person writes them: spaces, but not between signs of unspaced scripts."""
    text = " ".join(parts)
    return re.sub(rf"(?<=[{UNSPACED}]) (?=[{UNSPACED}])", "", text)


def _merged(pieces: list[list[str]]) -> list[list[str]]:
    """Neighbours with one mark as one piece."""
    merged: list[list[str]] = []
    for mark, text in pieces:
        if merged and merged[-1][0] == mark:
            merged[-1][1] = joined([merged[-1][1], text])
        else:
            merged.append([mark, text])
    return merged
