"""Few lines of a sorted table change: the same as if it had been written anew."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_egl.store.splice import splice

CELLS = st.text(st.sampled_from("ab-é\U0001f600"), min_size=1, max_size=4)
TABLE = st.dictionaries(CELLS, st.lists(st.sampled_from("xyz"), min_size=1, max_size=3))


def lines(table: dict[str, list[str]], separator: str) -> str:
    return "".join(f"{k}{separator}{v}\n" for k in sorted(table) for v in table[k])


@settings(max_examples=200, deadline=None)
@given(TABLE, st.sets(CELLS), TABLE, st.sampled_from("\t "), st.booleans())
def test_it_is_the_table_without_some_and_with_others(
    tmp_path_factory: pytest.TempPathFactory,
    old: dict[str, list[str]],
    out: set[str],
    put: dict[str, list[str]],
    separator: str,
    header: bool,
) -> None:
    path: Path = tmp_path_factory.getbasetemp() / "table"
    first = "utterance\tzz\n" if header else ""
    path.write_text(first + lines(old, separator), encoding="utf-8")
    new = {key: [f"{key}{separator}{value}" for value in found] for key, found in put.items()}
    splice(path, out, new, separator, header)
    kept = {key: found for key, found in old.items() if key not in out}
    assert path.read_text(encoding="utf-8") == first + lines(kept | put, separator)
