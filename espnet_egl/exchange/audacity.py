"""Audacity's label tracks: a file a clip, ``start <tab> end <tab> text`` lines in seconds."""

from __future__ import annotations

from pathlib import Path

from espnet_egl.errors import DataError
from espnet_egl.exchange import Task
from espnet_egl.exchange.clip_returns import TIER, ClipImporter
from espnet_egl.exchange.clips import ClipExporter
from espnet_egl.exchange.texts import read_text
from espnet_egl.store.files import write_lines


class ReturnedAudacity(ClipImporter):
    """The labels, in the order of time, are joined."""

    suffix = ".txt"

    def read_tiers(self, path: Path) -> dict[str, list[str]]:
        labels = []
        for number, line in enumerate(read_text(path).split("\n"), 1):
            # A second line of a label, after a backslash, holds its frequencies.
            if line.startswith("\\") or not line.strip():
                continue
            cells = line.rstrip("\r\n").split("\t")
            try:
                # Some languages write a comma before the decimals.
                start, end = (float(cells[i].replace(",", ".")) for i in (0, 1))
                labels.append((start, end, "\t".join(cells[2:])))
            except (ValueError, IndexError):
                raise DataError(
                    f"{path}:{number}: not '<start> <end> <label>' in seconds, with tabs between"
                ) from None
        return {TIER: [text for _, _, text in sorted(labels)]}


class Audacity(ClipExporter):
    """One empty label over the whole clip; a draft stands in the table beside."""

    importer = ReturnedAudacity

    def write(self, task: Task, path: Path) -> None:
        write_lines(path, [f"0.000000\t{task.seconds:.6f}\t"])
