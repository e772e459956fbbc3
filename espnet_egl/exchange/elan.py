"""ELAN's annotation files: one a clip, with the tiers ``transcript`` and ``draft``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from defusedxml import DefusedXmlException, ElementTree

from espnet_egl.errors import DataError
from espnet_egl.exchange import Task, needs
from espnet_egl.exchange.clip_returns import CLIP, DRAFT, TIER, ClipImporter, part_by_clip
from espnet_egl.exchange.clips import ClipExporter
from espnet_egl.store.files import atomic_path

if TYPE_CHECKING:
    # The type alone: defusedxml parses.
    from xml.etree.ElementTree import Element  # nosec B405

NO_FILE = "not a file of ELAN with a tier"


class ReturnedELAN(ClipImporter):
    """The annotations of the tier ``transcript``, in the order of time, are joined."""

    suffix = ".eaf"

    def read_tiers(self, path: Path) -> dict[str, list[str]]:
        try:
            root = ElementTree.parse(path).getroot()
            slots = _times(root)
            tiers = part_by_clip(
                {tier.attrib["TIER_ID"]: _in_order(tier, slots) for tier in root.iter("TIER")}
            )
        except (ElementTree.ParseError, DefusedXmlException, LookupError, ValueError, OSError) as e:
            raise DataError(f"{path}: {NO_FILE} {TIER} ({type(e).__name__}: {e})") from e
        if TIER not in tiers:
            raise DataError(f"{path}: {NO_FILE} {TIER}; its tiers are {list(tiers)}")
        return tiers


def _times(root: Element) -> dict[str, tuple[float, int]]:
    """Slot -> milliseconds and its place; one without a time stands right after the one before."""
    times, last = {}, 0.0
    for place, slot in enumerate(root.iter("TIME_SLOT")):
        last = float(slot.get("TIME_VALUE", last))
        times[slot.attrib["TIME_SLOT_ID"]] = (last, place)
    return times


def _in_order(
    tier: Element, slots: Mapping[str, tuple[float, int]]
) -> list[tuple[float, float, str]]:
    """Begin, end and text of annotations."""
    return [(begin, end, text) for (begin, _), end, text in sorted(_entries(tier, slots))]


def _entries(
    tier: Element, slots: Mapping[str, tuple[float, int]]
) -> Iterator[tuple[tuple[float, int], float, str]]:
    """Begin, end and text of annotations, told apart by their place: several may have one id."""
    for place, found in enumerate(tier.iter("ALIGNABLE_ANNOTATION")):
        begin, _ = slots[found.attrib["TIME_SLOT_REF1"]]
        end, _ = slots[found.attrib["TIME_SLOT_REF2"]]
        yield (begin, place), end, found.findtext("ANNOTATION_VALUE") or ""
    # Without times of their own, they stand in the order of what they are about.
    for place, found in enumerate(tier.iter("REF_ANNOTATION")):
        yield (0.0, place), 0.0, found.findtext("ANNOTATION_VALUE") or ""


class ELAN(ClipExporter):
    """Annotators write into the annotation of the tier ``transcript``, or split it."""

    # ELAN's players are those of the system, and play WAV everywhere.
    audio_format = "wav"
    importer = ReturnedELAN
    shows_context = True

    def write(self, task: Task, path: Path) -> None:
        with needs("elan"):
            from pympi import Elan

        found = Elan.Eaf(author="espnet_egl")
        name = Path(task.audio).name
        kind = Path(name).suffix[1:]
        found.add_linked_file(
            f"file:./{name}", f"./{name}", "audio/x-wav" if kind == "wav" else f"audio/{kind}"
        )
        tiers = {TIER: "", DRAFT: task.draft}
        if task.before or task.behind:
            tiers[CLIP] = CLIP
        begin = round(1000 * task.before)
        for tier, text in tiers.items():
            found.add_tier(tier)
            found.add_annotation(tier, begin, begin + max(1, round(1000 * task.seconds)), text)
        # Else ELAN numbers new annotations from 1, and two have one id. pympi numbers to maxaid.
        found.properties = [("lastUsedAnnotationId", found.maxaid)]
        found.remove_tier("default")
        with atomic_path(path) as written:
            Elan.to_eaf(written, found)
