"""Texts of labelled clips are as the seed set's, whatever most of them have for times."""

from __future__ import annotations

from pathlib import Path

import pytest

from espnet_egl.loop.s2t_texts import S2TTexts
from espnet_egl.model.prompts import Prompts


@pytest.mark.parametrize(
    ("third", "written"),
    [
        ("<0.00> a<1.20>", "<eng><asr><0.00> b c<1.30>"),
        ("<notimestamps> a", "<eng><asr><notimestamps> b c"),
        (" a", "<eng><asr> b c"),
        ("<laugh> a", "<eng><asr> b c"),
    ],
)
def test_as_most_of_the_seed_set(tmp_path: Path, third: str, written: str) -> None:
    texts = [third, third, "<notimestamps> x" if third[:2] == "<0" else "<0.00> x<1.00>"]
    rows = "".join(f"u{i} <eng><asr>{text}\n" for i, text in enumerate(texts))
    (tmp_path / "text").write_text(rows + "u9 no symbols\n")
    for name in ("text.prev", "text.ctc"):
        (tmp_path / name).write_text("u0 <na>\n")
    found = S2TTexts.like(tmp_path, Prompts())
    assert found is not None
    assert found.write("new", "b c", 1.304) == {
        "text": written,
        "text.prev": "<na>",
        "text.ctc": "b c",
    }
