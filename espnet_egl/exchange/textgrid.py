"""Praat's TextGrid: a file a clip, with the tiers ``transcript`` and ``draft``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from espnet_egl.errors import DataError
from espnet_egl.exchange import Task, needs
from espnet_egl.exchange.clip_returns import CLIP, DRAFT, TIER, ClipImporter, part_by_clip
from espnet_egl.exchange.clips import ClipExporter
from espnet_egl.store.files import atomic_path


class ReturnedTextGrid(ClipImporter):
    """The intervals of the tier ``transcript``, in the order of time, are joined."""

    suffix = ".TextGrid"

    def read_tiers(self, path: Path) -> dict[str, list[str]]:
        with needs("textgrid"):
            from praatio import textgrid

        try:
            grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=False)
        # praatio meets a broken file with whatever error its slicing runs into.
        except Exception as e:
            raise DataError(f"{path}: not a TextGrid of Praat ({type(e).__name__}: {e})") from e
        if TIER not in grid.tierNames:
            raise DataError(f"{path}: the tier {TIER} is missing; it has {list(grid.tierNames)}")
        return part_by_clip(
            {
                name: [(*_times(entry), entry.label) for entry in grid.getTier(name).entries]
                for name in grid.tierNames
            }
        )


def _times(entry: Any) -> tuple[float, float]:
    """Begin and end of an interval, or of a point."""
    if hasattr(entry, "time"):
        return entry.time, entry.time
    return entry.start, entry.end


class TextGrid(ClipExporter):
    """Annotators write into the tier ``transcript``, in one interval or several."""

    importer = ReturnedTextGrid
    shows_context = True

    def write(self, task: Task, path: Path) -> None:
        with needs("textgrid"):
            from praatio import textgrid

        whole = task.before + task.seconds + task.behind
        grid = textgrid.Textgrid(0, whole)
        tiers = {TIER: "", DRAFT: task.draft}
        if task.before or task.behind:
            tiers[CLIP] = CLIP
        for name, text in tiers.items():
            # What is around it gets intervals of its own, without text.
            entries = [(task.before, task.before + task.seconds, text)]
            grid.addTier(textgrid.IntervalTier(name, entries, 0, whole))
        with atomic_path(path) as written:
            grid.save(str(written), format="long_textgrid", includeBlankSpaces=True)
