"""ELAN's annotation files: one a clip, with the tiers ``transcript`` and ``draft``."""

from __future__ import annotations

from pathlib import Path

from espnet_egl.errors import DataError
from espnet_egl.exchange import Task, needs
from espnet_egl.exchange.clips import ClipExporter, ClipImporter
from espnet_egl.store.files import atomic_path

TIER = "transcript"


class ReturnedELAN(ClipImporter):
    """The annotations of the tier ``transcript``, in the order of time, are joined."""

    suffix = ".eaf"

    def read_texts(self, path: Path) -> list[str]:
        with needs("elan"):
            from pympi import Elan

        try:
            found = Elan.Eaf(str(path), suppress_version_warning=True)
            entries = found.get_annotation_data_for_tier(TIER)
            return [entry[2] for entry in sorted(entries)]
        # pympi meets a broken file with whatever error its walk through the XML runs into.
        except Exception as e:
            raise DataError(
                f"{path}: not a file of ELAN with a tier {TIER} ({type(e).__name__}: {e})"
            ) from e


class ELAN(ClipExporter):
    """Annotators write into the annotation of the tier ``transcript``, or split it."""

    # ELAN's players are those of the system, and play WAV everywhere.
    audio_format = "wav"
    importer = ReturnedELAN

    def write(self, task: Task, path: Path) -> None:
        with needs("elan"):
            from pympi import Elan

        found = Elan.Eaf(author="espnet_egl")
        name = Path(task.audio).name
        kind = Path(name).suffix[1:]
        found.add_linked_file(
            f"file:./{name}", f"./{name}", "audio/x-wav" if kind == "wav" else f"audio/{kind}"
        )
        for tier, text in ((TIER, ""), ("draft", task.draft)):
            found.add_tier(tier)
            found.add_annotation(tier, 0, max(1, round(1000 * task.seconds)), text)
        found.remove_tier("default")
        with atomic_path(path) as written:
            Elan.to_eaf(written, found)
