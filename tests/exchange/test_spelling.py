"""What is the same text, and what nobody sees."""

from __future__ import annotations

import pytest

from espnet_egl.exchange.spelling import difference, key, without_directions


def test_forms_of_characters_and_marks_of_direction_make_no_difference() -> None:
    assert key("cafe\u0301") == key("caf\u00e9")
    assert key("\u200f\u0634\u0644\u0648\u0645\u061c") == key("\u0634\u0644\u0648\u0645")
    assert without_directions("\u202aa\u202c\u2066b\u2069") == "ab"
    # It joins no letters: other words, in Persian.
    assert key("\u0645\u06cc\u200c\u0634") != key("\u0645\u06cc\u0634")


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ("caf\u00e9", "cafe\u0301", ""),
        ("one two", "one three", ""),
        ("one", "on\u0435", "U+0065 LATIN SMALL LETTER E and U+0435 CYRILLIC SMALL LETTER IE"),
        (
            "one eleven",
            "on\u0435 \u0435l\u0435v\u0435n",
            "U+0065 LATIN SMALL LETTER E and U+0435 CYRILLIC SMALL LETTER IE",
        ),
        ("a\u200bb and c\u200bd", "ab and cd", "U+200B ZERO WIDTH SPACE and nothing"),
        ("gr\u00fcn", "yellow", ""),
        ("a\u00adb", "ab", "U+00AD SOFT HYPHEN and nothing"),
        ("ab", "a\u200bb", "nothing and U+200B ZERO WIDTH SPACE"),
    ],
)
def test_what_a_person_does_not_see_is_said_in_code_points(
    one: str, other: str, message: str
) -> None:
    found = difference(one, other)
    assert found == (f" (they differ in {message})" if message else "")
