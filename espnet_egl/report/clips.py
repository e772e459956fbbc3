"""The tables of single clips: what was selected, what was left out, likely wrong transcripts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet_egl.data.kaldi import read_table
from espnet_egl.loop.tables import Table
from espnet_egl.loop.worth import Say
from espnet_egl.report import makeup
from espnet_egl.report.alignment import marked
from espnet_egl.report.blocks import CLIP, NUMBER, SAME, TEXTS, Column, Records
from espnet_egl.store.tables import SKIPPED_COLUMNS, methods_of, one_line, read_rows, score_column

if TYPE_CHECKING:
    import pandas as pd

# Digits of a score that mean something.
DIGITS = 4
# Values that a list to choose from has at most.
MOST_CHOICES = 50


@dataclass(frozen=True)
class Known:
    """What is known of selected clips beside their selection.

    Attributes:
        nbest: Utterance -> its hypotheses, the most probable first: log P and text.
        scores: The score table by utterance, or None.
        maps: See :func:`.makeup.read_maps`.
        states: Utterance -> what came back of it.
        texts: Utterance -> the transcript that came back.
        audio: Utterance -> its file, relative to the page.
    """

    nbest: Mapping[str, Sequence[tuple[float, str]]] = field(default_factory=dict)
    scores: pd.DataFrame | None = None
    maps: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    audio: Mapping[str, str] = field(default_factory=dict)


def read_nbest(path: str | Path, uids: Sequence[str], most: int) -> dict[str, list[Any]]:
    """Utterance -> (log P, text) of its best hypotheses.

    Raises:
        DataError: It is missing or malformed.
    """
    from espnet_egl.store.tables import read_nbest

    table = read_nbest(path, set(uids))
    table = table[table["rank"] <= most]
    found: dict[str, list[Any]] = {}
    rows = zip(table["utterance"], table["log_prob"], table["text"], strict=True)
    for uid, log_prob, text in rows:
        found.setdefault(uid, []).append((float(log_prob), text))
    return found


def selected(selection: Sequence[Mapping[str, str]], known: Known, most: int, say: Say) -> Records:
    """A row a selected clip.

    Args:
        selection: Rows of ``selection.tsv``.
        known: What else there is to show.
        most: Rows of the table.
        say: The language.
    """
    shown = selection[:most]
    methods = [] if known.scores is None else methods_of(known.scores)
    columns = [
        Column(say("rank"), NUMBER),
        Column(say("clip"), CLIP),
        Column(say("what the model heard"), TEXTS),
        Column(say("seconds"), NUMBER, 2),
        Column(say("confidence"), NUMBER, 3),
        Column(say("reason")),
    ]
    if known.states:
        columns.append(Column(say("state"), filter=True))
        columns.append(Column(say("transcript"), TEXTS))
    for name, values in known.maps.items():
        few = len({values.get(row["utterance"]) for row in shown}) <= MOST_CHOICES
        columns.append(Column(makeup.map_name(name, say), filter=few))
    for method in methods:
        scores = known.scores[score_column(method)] if known.scores is not None else ()
        columns.append(Column(say("score by {method}", method=method), NUMBER, _digits(scores)))
    rows = [_selected_row(row, known, methods, say) for row in shown]
    notes = []
    if len(selection) > most:
        notes.append(
            say("The first {n} of {total}; all are in selection.tsv.", n=most, total=len(selection))
        )
    if "confidence" in methods:
        notes.append(say("The score by confidence is 1 minus the confidence."))
    return Records("clips", say("The selected clips"), columns, rows, " ".join(notes))


def _selected_row(
    row: Mapping[str, str], known: Known, methods: Sequence[str], say: Say
) -> list[Any]:
    uid, best = row["utterance"], row["best_hypothesis"]
    cells: list[Any] = [
        int(row["rank"]),
        [uid, known.audio.get(uid, "")],
        _hypotheses(known.nbest.get(uid, []), best),
        _rounded(row["seconds"]),
        _rounded(row["confidence"]),
        _reason(row["reason"], say),
    ]
    if known.states:
        cells.append(_state(known.states.get(uid, "out"), say))
        text = known.texts.get(uid)
        cells.append([] if text is None else [["", marked(text, best)]])
    cells += [values.get(uid, "") for values in known.maps.values()]
    for method in methods:
        assert known.scores is not None
        # What is gone from the pool since then has no score any more.
        there = uid in known.scores.index
        cells.append(_rounded(known.scores.at[uid, score_column(method)]) if there else None)
    return cells


def _hypotheses(found: Sequence[tuple[float, str]], best: str) -> list[list[Any]]:
    """With their probabilities; all but the first with what differs from it marked."""
    if not found:
        return [["", [[SAME, best]]]]
    return [
        [_percent(log_prob), marked(text, best) if number else [[SAME, text]]]
        for number, (log_prob, text) in enumerate(found)
    ]


def _percent(log_prob: float) -> str:
    percent = 100 * math.exp(log_prob)
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.2g} %"


def _reason(reason: str, say: Say) -> str:
    return say("drawn at random") if reason == "random" else reason


def _state(state: str, say: Say) -> str:
    names = {
        "labelled": say("transcribed"),
        "out": say("still out"),
        "not_speech": say("not speech"),
        "cannot_understand": say("cannot be understood"),
    }
    return names.get(state, state)


@dataclass(frozen=True)
class LeftOut:
    """A clip that was not scored, selected whatever its score, handed over or measured.

    Attributes:
        uid: Its utterance.
        stage: Where it was left out.
        reason: Why.
        detail: More of it.
    """

    uid: str
    stage: str
    reason: str
    detail: str


def read_left_out(paths: Mapping[str, Path]) -> list[LeftOut]:
    """All that was left out.

    Args:
        paths: Where a file's clips were left out -> ``skipped.tsv`` or ``filtered.tsv``.

    Raises:
        DataError: A file is missing or malformed.
    """
    return [
        LeftOut(row["utterance"], stage, row["reason"], one_line(row["detail"]))
        for stage, path in paths.items()
        for row in read_rows(path, SKIPPED_COLUMNS)
    ]


def left_out(
    found: Sequence[LeftOut], audio: Mapping[str, str], most: int, say: Say
) -> tuple[Table, Records]:
    """What was left out, by reason and one by one.

    Args:
        found: At least one.
        audio: Utterance -> its file, relative to the page.
        most: Rows of the table.
        say: The language.
    """
    counts = Counter((clip.stage, clip.reason) for clip in found)
    by_reason = Table(
        say("By reason"),
        [say("stage"), say("reason"), say("clips")],
        [[stage, reason, str(n)] for (stage, reason), n in sorted(counts.items())],
    )
    columns = [
        Column(say("clip"), CLIP),
        Column(say("stage"), filter=True),
        Column(say("reason"), filter=True),
        Column(say("detail")),
    ]
    rows = [
        [[clip.uid, audio.get(clip.uid, "")], clip.stage, clip.reason, clip.detail]
        for clip in found[:most]
    ]
    notes = []
    if len(found) > most:
        notes.append(say("The first {n} of {total}.", n=most, total=len(found)))
    if audio:
        notes.append(say("{n} of them can be heard.", n=len(audio)))
    title = say("What was left out")
    return by_reason, Records("left_out", title, columns, rows, " ".join(notes))


def read_suspects(path: str | Path, most: int) -> list[dict[str, str]]:
    """The transcripts with the largest gradient lengths.

    Raises:
        DataError: It is no ``gradient_length.tsv``.
    """
    return read_rows(path, ("utterance", "gradient_length", "loss", "tokens"))[:most]


def suspects(
    rows: Sequence[Mapping[str, str]],
    data_dir: str | Path | None,
    audio: Mapping[str, str],
    say: Say,
) -> Records:
    """Transcribed clips that are likely to be transcribed wrong.

    Args:
        rows: Of :func:`read_suspects`.
        data_dir: The Kaldi data directory they are of, for their text; None: it is not told.
        audio: Utterance -> its file, relative to the page.
        say: The language.

    Raises:
        DataError: Its text is missing or malformed.
    """
    texts = {} if data_dir is None else read_table(Path(data_dir) / "text")
    columns = [
        Column(say("rank"), NUMBER),
        Column(say("clip"), CLIP),
        Column(say("transcript"), TEXTS),
        Column(
            say("gradient length"), NUMBER, _digits([float(r["gradient_length"]) for r in rows])
        ),
        Column(say("loss"), NUMBER, 2),
        Column(say("tokens"), NUMBER),
    ]
    cells = [
        [
            rank,
            [row["utterance"], audio.get(row["utterance"], "")],
            [["", [[SAME, texts.get(row["utterance"], "")]]]],
            _rounded(row["gradient_length"]),
            _rounded(row["loss"]),
            int(row["tokens"]),
        ]
        for rank, row in enumerate(rows, 1)
    ]
    title = say("Likely wrong transcripts, the likeliest first")
    return Records("suspects", title, columns, cells)


def _digits(values: Any) -> int:
    """Behind the point, for numbers of this size."""
    largest = max((abs(v) for v in map(float, values) if math.isfinite(v)), default=0.0)
    if largest == 0:
        return 0
    return min(6, max(0, DIGITS - 1 - math.floor(math.log10(largest))))


def _rounded(value: Any) -> float | None:
    """A number for the page; None where JSON has none."""
    number = float(value)
    return float(f"{number:.6g}") if math.isfinite(number) else None
