"""TextGrids that Praat itself has read, edited and saved."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from three_clips import DRAFTS, back, export, nothing_yet, select_dir  # noqa: F401

from espnet_egl.store.tables import read_rows

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("praat") is None, reason="no praat: apt-get install praat"),
]
# What somebody does in its editor: read the draft, listen, cut the interval in two, type, save.
EDIT = """
form Edit
    sentence Audio x
    sentence Grid x
    sentence First x
    sentence Second x
endform
Read from file: audio$
duration = Get total duration
Read from file: grid$
end = Get end time
name$ = Get tier name: 2
draft$ = Get label of interval: 2, 1
appendInfoLine: name$, ":", draft$
appendInfoLine: abs (end - duration) < 0.0001
Set interval text: 1, 1, first$
if second$ <> ""
    Insert boundary: 1, end / 2
    Set interval text: 1, 2, second$
endif
Save as {kind} file: grid$
"""
SAID = {"a": ('zwei "drei"', "東京 é"), "b/1": ("<not_speech>", ""), "c": ("five", "")}


@pytest.mark.parametrize("kind", ["text", "short text"])
def test_what_praat_saves_comes_back(
    export: Callable[..., Path], back: Callable[..., object], tmp_path: Path, kind: str
) -> None:
    directory = export("textgrid")
    assert nothing_yet("textgrid", directory)
    script = tmp_path / "edit.praat"
    script.write_text(EDIT.format(kind=kind), encoding="utf-8")
    for row in read_rows(directory / "clips.tsv"):
        audio = directory / "audio" / row["file"]
        command = ["praat", "--run", str(script), str(audio), str(audio.with_suffix(".TextGrid"))]
        done = subprocess.run(
            [*command, *SAID[row["utterance"]]], capture_output=True, check=True, timeout=60
        )
        seen = done.stdout.decode("utf-8").splitlines()
        assert seen == [f"draft:{DRAFTS[row['utterance']]}", "1"]
    assert back("textgrid") == {
        "a": ('zwei "drei" 東京 é', ""),
        "b/1": ("", "not_speech"),
        "c": ("five", ""),
    }
