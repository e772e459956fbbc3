"""Three clips of a selection, their drafts, and what annotators say of them."""

from __future__ import annotations

from pathlib import Path

from espnet_egl.exchange import importers

RATE = 8000
DRAFTS = {"a": 'zwei "drei" é', "b/1": "three", "c": ""}
SECONDS = {"a": 1.0, "b/1": 0.5, "c": 0.75}
ANSWERS = {"a": ('zwei "drei" é', ""), "b/1": ("", "not_speech"), "c": ("", "cannot_understand")}


def nothing_yet(name: str, directory: Path) -> bool:
    """Whether what was handed over has no answers: a draft is none."""
    importer = importers.build(name, {})
    answers = importer.read(directory / importer.file_name)
    assert len(answers) == len(DRAFTS)
    return not any(answer.transcript or answer.mark for answer in answers)
