"""What annotators were asked, whatever round or tag it was asked in: nothing is paid for twice."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from humanfriendly.text import pluralize

from espnet_egl.data.kaldi import read_segments
from espnet_egl.data.shards import Clip
from espnet_egl.errors import BudgetError, ConfigError, DataError
from espnet_egl.exchange.matching import AUDIO_DIR
from espnet_egl.loop.shared_ledger import OUT, WITHDRAWN, Line, SharedLedger, writing
from espnet_egl.selection.budget import Prices, parse_amount
from espnet_egl.selection.filters import ASKED, FILTERED_COLUMNS, OVERLAPS, SAME_AUDIO
from espnet_egl.store.files import read_manifest
from espnet_egl.store.tables import number_in, read_rows


@dataclass(frozen=True)
class Asked:
    """A clip that was handed over.

    Attributes:
        uid: Its utterance.
        seconds: Of audio.
        place: The selection that asked, e.g. ``r1/select_b``.
        state: ``out``, or what came back: ``labelled``, ``not_speech``, ``cannot_understand``.
        audio_hash: Of its samples; empty: not known.
    """

    uid: str
    seconds: float
    place: str
    state: str
    audio_hash: str = ""


@dataclass(frozen=True)
class Before:
    """What a selection has to know of those before it.

    Attributes:
        uids: Utterance -> where annotators were asked for it.
        audio: Hash of the audio -> likewise, and for which utterance.
        budget: What it may spend.
    """

    uids: dict[str, str]
    audio: dict[str, str]
    budget: str


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
            seconds = number_in(row, "seconds", table)
            yield Asked(uid, seconds, place, state, row.get("audio_hash", ""))


def _rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    return read_rows(path, columns) if path.exists() else []


def asked_before(
    made: str | Path,
    budget: str,
    budget_total: str | None = None,
    prices: Prices | None = None,
    al_dir: str | Path | None = None,
    ledger: str | Path | None = None,
    again: bool = False,
    data_dir: str | Path | None = None,
) -> Before:
    """What of a pool was asked, and what may still be spent.

    A selection that was made already keeps what it knew then: the same command leaves the same.

    Args:
        made: Where the selection goes.
        budget: Of it alone.
        budget_total: In place of it, of all selections of ``al_dir``.
        prices: Of annotators' work.
        al_dir: The directory of active learning.
        ledger: That other directories write to as well, see :class:`.SharedLedger`.
        again: Whether what was asked may be asked again.
        data_dir: The pool's: what overlaps with a clip that ``al_dir`` asked, in a recording that
            was cut otherwise then, was asked, too.

    Raises:
        BudgetError: The budget is spent.
        ConfigError: ``budget_total`` is of no ``al_dir``.
        DataError: A table, or the ledger, is damaged; the message names the line.
    """
    made = Path(made)
    if budget_total is not None and al_dir is None:
        raise ConfigError("--budget_total counts what --al_dir asked: give both")
    if (made / "manifest.json").exists() and (al_dir or ledger) is not None:
        rows = read_rows(made / "filtered.tsv", FILTERED_COLUMNS)
        known = {row["utterance"]: row["detail"] for row in rows if row["reason"] == ASKED}
        before = read_manifest(made)
        same = budget_total is not None and before.get("budget_total") == budget_total
        return Before(known, {}, before["budget"] if same else budget)
    asked = [] if al_dir is None else read_asked(al_dir, made)
    if budget_total is not None:
        budget = left_of(budget_total, asked, prices or Prices())
    lines = [] if ledger is None else SharedLedger(ledger).asked()
    if again:
        return Before({}, {}, budget)
    own = None if al_dir is None else _name(al_dir)
    clips = [*asked, *(_of_line(line, own) for line in lines)]
    # What this directory knows itself is said in its words.
    clips.reverse()
    pieces = {} if data_dir is None or al_dir is None else _overlaps(asked, al_dir, data_dir)
    return Before(
        pieces | {clip.uid: clip.place for clip in clips},
        {c.audio_hash: f"{c.place}{SAME_AUDIO}{c.uid}" for c in clips if c.audio_hash},
        budget,
    )


def _overlaps(asked: Collection[Asked], al_dir: str | Path, data_dir: str | Path) -> dict[str, str]:
    """Utterance of a pool -> where a piece of it was asked for, and as which utterance."""
    before: dict[str, list[tuple[Clip, Asked]]] = {}
    cuts = {place: _cuts(Path(al_dir) / place) for place in {clip.place for clip in asked}}
    for clip in asked:
        if (cut := cuts[clip.place].get(clip.uid)) is not None:
            before.setdefault(cut.source, []).append((cut, clip))
    found = {}
    for uid, cut in _cuts(Path(data_dir)).items() if before else ():
        for other, clip in before.get(cut.source, ()):
            if other.overlaps(cut):
                found[uid] = f"{clip.place}{OVERLAPS}{clip.uid}"
    return found


def _cuts(directory: Path) -> dict[str, Clip]:
    """Utterance -> its piece of a recording; empty: there are no segments."""
    path = directory / "segments"
    segments = read_segments(path).good if path.exists() else {}
    return {
        uid: Clip(cut.recording, cut.start, math.inf if cut.end is None else cut.end, cut.channel)
        for uid, cut in segments.items()
    }


def _of_line(line: Line, own: str | None) -> Asked:
    place = line.place if line.al_dir == own else f"{line.al_dir}/{line.place}"
    return Asked(line.uid, line.seconds, place, line.state, line.audio_hash)


def _name(al_dir: str | Path) -> str:
    """What a directory is called in a ledger."""
    return str(Path(al_dir).resolve())


def check_not_asked(select_dir: str | Path) -> None:
    """See, before a selection is handed over, that no other one was since it was made.

    Raises:
        DataError: Another one has clips of it, and it was not made to ask again.
    """
    select_dir = Path(select_dir)
    if not is_round(select_dir.parent):
        return
    tag = select_dir.name.removeprefix("select")
    if is_handed_over(select_dir.with_name(f"annotate{tag}")) or not _asks_once(select_dir):
        return
    own = read_rows(select_dir / "selection.tsv", ("utterance",))
    _refuse_twice(select_dir, own, read_asked(select_dir.parents[1], select_dir))


def _asks_once(select_dir: Path) -> bool:
    """Whether a selection was made, and not to ask again."""
    made = (select_dir / "manifest.json").exists()
    return made and not read_manifest(select_dir).get("ask_again")


def _refuse_twice(
    select_dir: Path, own: Iterable[Mapping[str, str]], asked: Iterable[Asked]
) -> None:
    own = list(own)
    uids = {row["utterance"] for row in own}
    audio = {row.get("audio_hash") or None for row in own} - {None}
    twice = [clip for clip in asked if clip.uid in uids or clip.audio_hash in audio]
    if twice:
        places = ", ".join(dict.fromkeys(clip.place for clip in twice))
        raise DataError(
            f"{len(twice)} of the clips of {select_dir}, e.g. '{twice[0].uid}', were handed over "
            f"by {places} since they were selected. Remove {select_dir} and select again (stage 21)"
        )


def claim(ledger: str | Path, select_dir: str | Path, uids: Iterable[str]) -> None:
    """Write into a shared ledger that clips are handed over, before they are.

    Args:
        ledger: See :class:`.SharedLedger`.
        select_dir: Of the selection.
        uids: Its clips that can be handed over.

    Raises:
        DataError: Somebody else asked for one of them, and the selection was not made to ask again;
            or the ledger is damaged.
        StorageError: It cannot be written.
    """
    select_dir = Path(select_dir)
    rows = _selected(select_dir, uids)
    asker = _asker(select_dir)
    with writing(ledger) as (shared, file):
        own = shared.of(*asker)
        new = [
            r for r in rows if r["utterance"] not in own or own[r["utterance"]].state == WITHDRAWN
        ]
        others = (_of_line(line, asker[0]) for line in shared.asked() if line.asker != asker)
        if _asks_once(select_dir):
            _refuse_twice(select_dir, new, others)
        shared.add(_lines(select_dir, rows, {}), file)


def record(ledger: str | Path, select_dir: str | Path, states: Mapping[str, str]) -> None:
    """Write into a shared ledger what became of clips of a selection.

    Args:
        ledger: See :class:`.SharedLedger`.
        select_dir: Of the selection.
        states: Utterance -> state.

    Raises:
        DataError: The ledger is damaged.
        StorageError: It cannot be written.
    """
    with writing(ledger) as (shared, file):
        shared.add(_lines(Path(select_dir), _selected(Path(select_dir), states), states), file)


def _asker(select_dir: Path) -> tuple[str, str]:
    return _name(select_dir.parents[1]), f"{select_dir.parent.name}/{select_dir.name}"


def _selected(select_dir: Path, uids: Iterable[str]) -> list[dict[str, str]]:
    wanted = set(uids)
    rows = read_rows(select_dir / "selection.tsv", ("utterance", "seconds"))
    return [row for row in rows if row["utterance"] in wanted]


def _lines(
    select_dir: Path, rows: Iterable[Mapping[str, str]], states: Mapping[str, str]
) -> Iterator[Line]:
    table = select_dir / "selection.tsv"
    for row in rows:
        uid, seconds = row["utterance"], number_in(row, "seconds", table)
        state = states.get(uid, OUT)
        yield Line(*_asker(select_dir), uid, row.get("audio_hash", ""), seconds, state)


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
            f"--budget_total {total} is spent, asked so far: {said_size(*_size(clips))}; "
            "give a larger one to go on"
        )
    return f"{left:.6f}".rstrip("0").rstrip(".") + unit


@dataclass(frozen=True)
class Total:
    """What a selection asked, or all of them.

    Attributes:
        place: The selection, e.g. ``r1/select_b``; empty: all of them.
        asked: Clips and hours that were handed over.
        back: Of these, what came back, with or without a transcript.
        out: Of these, what did not.
        spent: By the prices that it was selected with; None: there are none.
    """

    place: str
    asked: tuple[int, float]
    back: tuple[int, float]
    out: tuple[int, float]
    spent: float | None


def totals(al_dir: str | Path, asked: Iterable[Asked]) -> list[Total]:
    """What was asked, back, out and spent: in all, then by selection.

    Args:
        al_dir: With r1, r2, ...
        asked: Of it, see :func:`read_asked`.

    Raises:
        DataError: The manifest of a selection is damaged.
    """
    clips = list(asked)
    found = []
    for place in dict.fromkeys(clip.place for clip in clips):
        own = [clip for clip in clips if clip.place == place]
        found.append(_total(place, own, _cost(Path(al_dir) / place, own)))
    costs = [total.spent for total in found if total.spent is not None]
    return [_total("", clips, sum(costs) if costs else None), *found]


def _total(place: str, clips: list[Asked], spent: float | None) -> Total:
    out = [clip for clip in clips if clip.state == OUT]
    back = [clip for clip in clips if clip.state != OUT]
    return Total(place, _size(clips), _size(back), _size(out), spent)


def _cost(select_dir: Path, clips: list[Asked]) -> float | None:
    made = read_manifest(select_dir) if (select_dir / "manifest.json").exists() else {}
    prices = Prices(made.get("price_per_hour", 0.0), made.get("price_per_clip", 0.0))
    return prices.total(*_size(clips)) if prices else None


def _size(clips: list[Asked]) -> tuple[int, float]:
    return len(clips), sum(clip.seconds for clip in clips) / 3600


def summarize(found: Iterable[Total]) -> dict[str, Any]:
    """What :func:`totals` found, for people."""
    every, *places = found
    return {**_said(every), "by selection": {total.place: _said(total) for total in places}}


def _said(total: Total) -> dict[str, str]:
    said = {name: said_size(*getattr(total, name)) for name in ("asked", "back", "out")}
    return said if total.spent is None else {**said, "spent": f"{total.spent:.2f}"}


def said_size(clips: int, hours: float) -> str:
    """As a person says it."""
    return f"{pluralize(clips, 'clip')}, {hours:.3g} h"
