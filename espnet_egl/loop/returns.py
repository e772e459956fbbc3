"""Stage 23: transcripts that come back, checked, as a labelled Kaldi data directory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from humanfriendly.text import pluralize

from espnet_egl.data.kaldi import read_durations, read_table, subset_data_dir, write_table
from espnet_egl.errors import DataError
from espnet_egl.exchange import Answer
from espnet_egl.selection.budget import Prices
from espnet_egl.store.tables import duration, number_in, one_line, read_rows, write_rows

RETURNED_COLUMNS = ("utterance", "state", "seconds", "reason", "annotator_seconds", "detail")
# Of a round's clips: all, those that a method chose, those that were drawn at random.
PARTS = ("all", "chosen", "random")
# How many examples a message names.
EXAMPLES = 3


@dataclass(frozen=True)
class Returns:
    """Every selected utterance in one of three states.

    Attributes:
        labelled: Utterance -> transcript.
        marked: Utterance -> why it has none: not_speech, cannot_understand.
        out: Utterances that are still with the annotators.
        unknown_tokens: Utterance -> tokens of its transcript that the model does not have.
        worked: Utterance -> seconds that annotators worked on it, where their tool tells; also of
            what is still out, if some was begun.
    """

    labelled: dict[str, str]
    marked: dict[str, str]
    out: list[str]
    unknown_tokens: dict[str, list[str]]
    worked: dict[str, float]


def check(
    answers: Iterable[Answer],
    selected: Sequence[str],
    unknown_tokens: Callable[[str], list[str]] = lambda _: [],
) -> Returns:
    """Sort answers by what they say.

    Args:
        answers: Of one file or several; the same clip may come twice if it says the same.
        selected: The utterances that were handed over.
        unknown_tokens: Of a transcript, the tokens outside the model's list.

    Raises:
        DataError: An answer is to no selected utterance, or two contradict each other.
    """
    given: dict[str, Answer] = {}
    worked: dict[str, float] = {}
    wanted = set(selected)
    for answer in answers:
        if answer.uid not in wanted:
            raise DataError(
                f"{answer.where}: '{answer.uid}' was not handed over in this round; take the line "
                "out, or give the file to the round it belongs to"
            )
        if answer.worked is not None:
            # Two exports of one project tell of the same work, the later of all.
            worked[answer.uid] = max(answer.worked, worked.get(answer.uid, 0.0))
        if not answer.transcript and not answer.mark:
            continue
        other = given.setdefault(answer.uid, answer)
        if (other.transcript, other.mark) != (answer.transcript, answer.mark):
            raise DataError(
                f"{answer.where}: '{answer.uid}' came back already, as "
                f"'{other.transcript or other.mark}' ({other.where}); keep one of them"
            )
    labelled = {uid: a.transcript for uid, a in given.items() if a.transcript}
    unknown = {uid: unknown_tokens(text) for uid, text in labelled.items()}
    return Returns(
        labelled=labelled,
        marked={uid: a.mark for uid, a in given.items() if a.mark},
        out=[uid for uid in selected if uid not in given],
        unknown_tokens={uid: tokens for uid, tokens in unknown.items() if tokens},
        worked=worked,
    )


def reveal(truth: str | Path, selected: Sequence[str]) -> list[Answer]:
    """The transcripts of what was selected, and of nothing else, as if people had written them.

    Args:
        truth: The pool's transcripts, Kaldi's ``text``; one without words is not speech.
        selected: Utterances.

    Raises:
        DataError: It lacks one of them.
    """
    texts = read_table(truth)
    if missing := [uid for uid in selected if uid not in texts]:
        raise DataError(
            f"{truth} lacks '{missing[0]}', which was selected; what is not speech has its id "
            "there alone"
        )
    answers = ((uid, one_line(texts[uid])) for uid in selected)
    return [Answer(u, text, "" if text else "not_speech", str(truth)) for u, text in answers]


def write_labelled(returns: Returns, select_dir: str | Path, output_dir: str | Path) -> None:
    """Write the labelled utterances as a Kaldi data directory, and ``returned.tsv``.

    A directory that holds a part of the same answers grows; nothing in it is changed. Where
    everything came back without speech, ``returned.tsv`` is all there is.

    Raises:
        DataError: Nothing is labelled, and clips are out; or what came back earlier is not in
            these answers, or differs.
    """
    select_dir, output_dir = Path(select_dir), Path(output_dir)
    if not returns.labelled and returns.out:
        raise DataError("no clip has a transcript yet: fill some in and run stage 23 again")
    text = output_dir / "text"
    earlier = read_table(text) if text.exists() else {}
    if changed := [u for u, old in earlier.items() if returns.labelled.get(u) != old]:
        raise DataError(
            f"{text}: '{changed[0]}' came back as '{earlier[changed[0]]}' earlier, now as "
            f"'{returns.labelled.get(changed[0], '')}'; what is here is not overwritten: give all "
            f"files that came back, or move {output_dir} away"
        )
    for uid, mark in _marks(output_dir).items():
        if returns.marked.get(uid) != mark:
            raise DataError(
                f"{output_dir / 'returned.tsv'}: '{uid}' came back as '{mark}' earlier, and does "
                f"not now; give all files that came back, or move {output_dir} away"
            )
    durations = read_durations(select_dir / "utt2dur").all()
    if returns.labelled:
        subset_data_dir(select_dir, output_dir, returns.labelled, durations)
    reasons = {
        row["utterance"]: row["reason"]
        for row in read_rows(select_dir / "selection.tsv", ("utterance", "reason"))
    }
    if missing := [uid for uid in durations if uid not in reasons]:
        raise DataError(f"{select_dir / 'selection.tsv'} lacks '{missing[0]}'; run stage 21 again")
    rows = _rows(returns, durations, reasons)
    write_rows(output_dir / "returned.tsv", RETURNED_COLUMNS, rows)
    # Written last: a directory without it is not labelled yet.
    if returns.labelled:
        write_table(text, returns.labelled)


def _marks(directory: Path) -> dict[str, str]:
    path = directory / "returned.tsv"
    if not path.exists() and not (directory / "text").exists():
        return {}
    rows = read_rows(path, RETURNED_COLUMNS[:2])
    return {
        row["utterance"]: row["state"] for row in rows if row["state"] not in ("labelled", "out")
    }


def _rows(
    returns: Returns, durations: Mapping[str, float], reasons: Mapping[str, str]
) -> list[list[str]]:
    rows = []
    for uid in sorted([*returns.labelled, *returns.marked, *returns.out]):
        state = "labelled" if uid in returns.labelled else returns.marked.get(uid, "out")
        unknown = returns.unknown_tokens.get(uid, [])
        detail = f"tokens unknown to the model: {' '.join(unknown)}" if unknown else ""
        worked = f"{returns.worked[uid]:.3f}" if uid in returns.worked else ""
        rows.append([uid, state, f"{durations[uid]:.3f}", reasons[uid], worked, detail])
    return rows


def read_handled(directory: str | Path, part: str = "all") -> dict[str, float]:
    """What annotators worked on, with or without a transcript in the end.

    Args:
        directory: What :func:`write_labelled` left.
        part: One of PARTS.

    Returns:
        Utterance -> seconds.

    Raises:
        DataError: ``returned.tsv`` is missing or damaged.
    """
    rows = _rows_of(directory, part, RETURNED_COLUMNS[:4])
    path = Path(directory) / "returned.tsv"
    return {
        row["utterance"]: number_in(row, "seconds", path) for row in rows if row["state"] != "out"
    }


def read_worked(directory: str | Path, part: str = "all") -> float:
    """How long annotators worked on it, also on what is still out, in seconds.

    Args:
        directory: What :func:`write_labelled` left.
        part: One of PARTS.

    Raises:
        DataError: As :func:`read_handled`; or it does not tell of every clip that came back.
    """
    rows = _rows_of(directory, part, RETURNED_COLUMNS[:5])
    if unknown := [row for row in rows if row["state"] != "out" and not row["annotator_seconds"]]:
        raise DataError(
            f"{Path(directory) / 'returned.tsv'} does not tell how long annotators worked on "
            f"'{unknown[0]['utterance']}': leave out --price_per_annotator_hour"
        )
    path = Path(directory) / "returned.tsv"
    return sum(
        number_in(row, "annotator_seconds", path) for row in rows if row["annotator_seconds"]
    )


def read_cost(
    directories: Sequence[str | Path],
    part: str,
    made_with: Mapping[str, Any],
    given: Mapping[str, float],
) -> float:
    """What annotators' work cost.

    Args:
        directories: What :func:`write_labelled` left, of every round.
        part: One of PARTS.
        made_with: The selection's manifest, with its prices; empty: there are none.
        given: ``price_per_hour``, ``price_per_clip`` in place of these, and
            ``price_per_annotator_hour``: time that was measured, which the selection's prices
            only estimate.

    Raises:
        DataError: See :func:`read_handled`, and with the last :func:`read_worked`.
    """
    names = ("price_per_hour", "price_per_clip")
    measured = "price_per_annotator_hour" in given
    prices = {} if measured else {name: made_with.get(name, 0.0) for name in names}
    per_hour, per_clip = ((prices | dict(given)).get(name, 0.0) for name in names)
    seconds: dict[str, float] = {}
    for directory in directories:
        seconds |= read_handled(directory, part)
    cost = Prices(per_hour, per_clip).total(len(seconds), sum(seconds.values()) / 3600)
    if measured:
        worked = sum(read_worked(directory, part) for directory in directories)
        cost += Prices(given["price_per_annotator_hour"]).total(0, worked / 3600)
    return cost


def _rows_of(directory: str | Path, part: str, columns: Sequence[str]) -> list[dict[str, str]]:
    return [
        row
        for row in read_rows(Path(directory) / "returned.tsv", columns)
        if part in ("all", "random" if row["reason"] == "random" else "chosen")
    ]


def describe(returns: Returns, durations: Mapping[str, float]) -> str:
    """What came back and what is still out, for the end of the stage."""

    def size(uids: Iterable[str]) -> str:
        uids = list(uids)
        return f"{pluralize(len(uids), 'clip')}, {duration(sum(durations[uid] for uid in uids))}"

    lines = [f"Transcribed: {size(returns.labelled)}."]
    for mark in sorted(set(returns.marked.values())):
        marked = [uid for uid, found in returns.marked.items() if found == mark]
        lines.append(f"Marked {mark}, which are not trained on: {size(marked)}.")
    if returns.out:
        examples = ", ".join(returns.out[:EXAMPLES])
        lines.append(f"Still out: {size(returns.out)}, e.g. {examples}.")
    if returns.worked:
        total = sum(returns.worked.values())
        lines.append(
            f"Annotators worked {duration(total)} on {pluralize(len(returns.worked), 'clip')}."
        )
    if returns.unknown_tokens:
        tokens = sorted({t for found in returns.unknown_tokens.values() for t in found})
        lines.append(
            f"{len(returns.unknown_tokens)} transcripts have tokens that the model does not know "
            f"({' '.join(tokens[:20])}); it learns <unk> for them; returned.tsv lists them. "
            "Where they are slips of the pen, mend what came back, move the directory below away, "
            "and run stage 23 again."
        )
    return "\n".join(lines)
