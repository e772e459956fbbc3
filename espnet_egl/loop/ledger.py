"""What annotators were asked, whatever round or tag it was asked in: nothing is paid for twice."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from humanfriendly.text import pluralize

from espnet_egl.errors import BudgetError, DataError
from espnet_egl.exchange.matching import AUDIO_DIR
from espnet_egl.selection.budget import Prices, parse_amount
from espnet_egl.store.files import read_manifest
from espnet_egl.store.tables import number_in, read_rows

OUT = "out"


@dataclass(frozen=True)
class Asked:
    """A clip that was handed over.

    Attributes:
        uid: Its utterance.
        seconds: Of audio.
        place: The selection that asked, e.g. ``r1/select_b``.
        state: ``out``, or what came back: ``labelled``, ``not_speech``, ``cannot_understand``.
    """

    uid: str
    seconds: float
    place: str
    state: str


def is_round(path: Path) -> bool:
    """Whether a directory is named as those of rounds are: r1, r2, ..."""
    return re.fullmatch(r"r[0-9]+", path.name) is not None


def is_handed_over(annotate_dir: Path) -> bool:
    """Whether stage 22 left anything for annotators.

    Audio and the list of what cannot be read stand there before what is handed over.
    """
    return any(there.name not in (AUDIO_DIR, "skipped.tsv") for there in annotate_dir.glob("[!.]*"))


def read_asked(al_dir: str | Path, besides: str | Path | None = None) -> list[Asked]:
    """Every clip that was handed over from a directory of active learning, or came back.

    Args:
        al_dir: With r1, r2, ...
        besides: A selection that is not asked about: the one being made.

    Raises:
        DataError: A table is damaged; the message names its line.
    """
    own = None if besides is None else Path(besides).resolve()
    selections = (
        path.parent
        for path in sorted(Path(al_dir).glob("r*/select*/selection.tsv"))
        if is_round(path.parents[1]) and path.parent.resolve() != own
    )
    return [asked for selection in selections for asked in _of_selection(selection)]


def _of_selection(select_dir: Path) -> Iterator[Asked]:
    tag = select_dir.name.removeprefix("select")
    annotate, labelled = (select_dir.with_name(f"{n}{tag}") for n in ("annotate", "labelled"))
    returned = labelled / "returned.tsv"
    if not (is_handed_over(annotate) or returned.exists()):
        return
    states = {r["utterance"]: r["state"] for r in _rows(returned, ("utterance", "state"))}
    unread = {row["utterance"] for row in _rows(annotate / "skipped.tsv", ("utterance",))}
    table = select_dir / "selection.tsv"
    place = f"{select_dir.parent.name}/{select_dir.name}"
    for row in read_rows(table, ("utterance", "seconds")):
        uid = row["utterance"]
        state = states.get(uid, OUT)
        # What could not be read never reached anybody, unless somebody answered it.
        if uid not in unread or state != OUT:
            yield Asked(uid, number_in(row, "seconds", table), place, state)


def _rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    return read_rows(path, columns) if path.exists() else []


def check_not_asked(select_dir: str | Path) -> None:
    """See, before a selection is handed over, that no other one was since it was made.

    Raises:
        DataError: Another one has clips of it, and it was not made to ask again.
    """
    select_dir = Path(select_dir)
    if not is_round(select_dir.parent):
        return
    tag = select_dir.name.removeprefix("select")
    if is_handed_over(select_dir.with_name(f"annotate{tag}")):
        return
    if not (select_dir / "manifest.json").exists() or read_manifest(select_dir).get("ask_again"):
        return
    own = {r["utterance"] for r in read_rows(select_dir / "selection.tsv", ("utterance",))}
    twice = [clip for clip in read_asked(select_dir.parents[1], select_dir) if clip.uid in own]
    if twice:
        places = ", ".join(dict.fromkeys(clip.place for clip in twice))
        raise DataError(
            f"{len(twice)} of the clips of {select_dir}, e.g. '{twice[0].uid}', were handed over "
            f"by {places} since they were selected. Remove {select_dir} and select again (stage 21)"
        )


def left_of(total: str, asked: Iterable[Asked], prices: Prices) -> str:
    """What of a budget for all rounds is left, as a budget of its own.

    >>> left_of("2h", [Asked("a", 1800.0, "r1/select", "out")], Prices())
    '1.5h'

    Raises:
        BudgetError: Nothing is left, or the budget is a share of a pool, which may grow.
    """
    amount, unit = parse_amount(total)
    if unit == "%":
        raise BudgetError(f"--budget_total {total}: give utterances, hours or money, as in 10h")
    clips = list(asked)
    hours = sum(clip.seconds for clip in clips) / 3600
    spent = {"utt": float(len(clips)), "h": hours}.get(unit, prices.total(len(clips), hours))
    left = round(amount - spent, 6)
    if left <= 0:
        raise BudgetError(
            f"--budget_total {total} is spent: {_size(clips)} were asked so far; "
            "give a larger one to go on"
        )
    return f"{left:.6f}".rstrip("0").rstrip(".") + unit


def summarize(asked: Iterable[Asked]) -> dict[str, Any]:
    """Clips and hours: asked, back and out, in all and by selection."""
    clips = list(asked)
    places = dict.fromkeys(clip.place for clip in clips)
    by_place = {place: _counts([c for c in clips if c.place == place]) for place in places}
    return {**_counts(clips), "by selection": by_place}


def _counts(clips: list[Asked]) -> dict[str, str]:
    out = [clip for clip in clips if clip.state == OUT]
    back = [clip for clip in clips if clip.state != OUT]
    return {"asked": _size(clips), "back": _size(back), "out": _size(out)}


def _size(clips: list[Asked]) -> str:
    hours = sum(clip.seconds for clip in clips) / 3600
    return f"{pluralize(len(clips), 'clip')}, {hours:.3g} h"
