"""Stage 23: transcripts that come back, checked, as a labelled Kaldi data directory."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from humanfriendly.text import pluralize

from espnet_egl.data.kaldi import read_durations, read_table, subset_data_dir, write_table
from espnet_egl.errors import DataError
from espnet_egl.exchange import Answer, Unused, printable
from espnet_egl.exchange.spelling import difference, key
from espnet_egl.selection.budget import Prices
from espnet_egl.store.tables import duration, number_in, one_line, read_rows, write_rows

RETURNED_COLUMNS = ("utterance", "state", "seconds", "reason", "annotator_seconds", "detail")
# Of a round's clips: all, those that a method chose, those that were drawn at random.
PARTS = ("all", "chosen", "random")
UNUSED_COLUMNS = ("utterance", "where", "reason")
# How many examples a message names, and how many places of what was not used.
EXAMPLES = 3
PLACES = 10
CHANGED_DRAFT = (
    "the draft was changed and the transcript is empty: a draft is no answer, move it into the "
    "transcript"
)


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
        unused: What came back and was not taken.
    """

    labelled: dict[str, str]
    marked: dict[str, str]
    out: list[str]
    unknown_tokens: dict[str, list[str]]
    worked: dict[str, float]
    unused: list[Unused] = field(default_factory=list)

    @property
    def states(self) -> dict[str, str]:
        """Utterance -> its state: labelled, its mark, or out."""
        return (
            dict.fromkeys(self.out, "out") | self.marked | dict.fromkeys(self.labelled, "labelled")
        )

    @property
    def not_usable(self) -> list[str]:
        """Of :attr:`out`, those that something came back for."""
        came = {found.uid for found in self.unused}
        return [uid for uid in self.out if uid in came]


def check(
    answers: Iterable[Answer],
    selected: Sequence[str],
    unknown_tokens: Callable[[str], list[str]] = lambda _: [],
    unused: Sequence[Unused] = (),
    drafts: Mapping[str, str] | None = None,
) -> Returns:
    """Sort answers by what they say.

    Args:
        answers: Of one file or several; the same clip may come twice if it says the same: composed
            and decomposed characters are the same.
        selected: The utterances that were handed over.
        unknown_tokens: Of a transcript, the tokens outside the model's list.
        unused: What came back beside the answers.
        drafts: Utterance -> the draft that was handed over.

    Raises:
        DataError: An answer is to no selected utterance, or two contradict each other.
    """
    given: dict[str, Answer] = {}
    changed: dict[str, Unused] = {}
    worked: dict[str, float] = {}
    wanted = {key(uid): uid for uid in selected} | {uid: uid for uid in selected}
    for answer in answers:
        uid = wanted.get(answer.uid) or wanted.get(key(answer.uid))
        if uid is None:
            raise DataError(
                f"{answer.where}: '{answer.uid}' was not handed over in this round; take the line "
                "out, or give the file to the round it belongs to"
            )
        if answer.worked is not None:
            # Two exports of one project tell of the same work, the later of all.
            worked[uid] = max(answer.worked, worked.get(uid, 0.0))
        if not answer.transcript and not answer.mark:
            if drafts and _is_changed(answer.draft, drafts.get(uid)):
                changed[uid] = Unused(answer.where, CHANGED_DRAFT, uid)
            continue
        other = given.setdefault(uid, answer)
        if (key(other.transcript), other.mark) != (key(answer.transcript), answer.mark):
            raise DataError(
                f"{answer.where}: '{uid}' came back already, as "
                f"'{other.transcript or other.mark}' ({other.where}); keep one of them"
                f"{difference(other.transcript, answer.transcript)}"
            )
    labelled = {
        uid: _as_the_model_spells(a.transcript, unknown_tokens)
        for uid, a in given.items()
        if a.transcript
    }
    unknown = {uid: unknown_tokens(text) for uid, text in labelled.items()}
    return Returns(
        labelled=labelled,
        marked={uid: a.mark for uid, a in given.items() if a.mark},
        out=[uid for uid in selected if uid not in given],
        unknown_tokens={uid: tokens for uid, tokens in unknown.items() if tokens},
        worked=worked,
        unused=[*unused, *(found for uid, found in changed.items() if uid not in given)],
    )


def _is_changed(draft: str | None, handed_over: str | None) -> bool:
    """Whether somebody changed a draft; one that was taken out says nothing."""
    if not draft or handed_over is None:
        return False
    return key(one_line(draft)) != key(printable(handed_over))


def _as_the_model_spells(text: str, unknown_tokens: Callable[[str], list[str]]) -> str:
    """The transcript as it came, unless the model knows more of it composed or decomposed."""
    if text.isascii():
        return text
    forms = [text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD"))]
    return min(forms, key=lambda form: len(unknown_tokens(form)))


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
        came = "; what came back and is not used is named above" if returns.unused else ""
        raise DataError(f"no clip has a transcript yet: fill some in and run stage 23 again{came}")
    text = output_dir / "text"
    earlier = read_table(text) if text.exists() else {}
    labelled = returns.labelled
    if changed := [u for u, old in earlier.items() if key(labelled.get(u, "")) != key(old)]:
        raise DataError(
            f"{text}: '{changed[0]}' came back as '{earlier[changed[0]]}' earlier, now as "
            f"'{labelled.get(changed[0], '')}'; what is here is not overwritten: give all "
            f"files that came back, or move {output_dir} away"
            f"{difference(earlier[changed[0]], labelled.get(changed[0], ''))}"
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
        write_table(text, labelled | earlier)


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
    rows, states = [], returns.states
    came: dict[str, list[str]] = defaultdict(list)
    for found in returns.unused:
        came[found.uid].append(f"{one_line(found.where)}: {one_line(found.reason)}")
    for uid in sorted(states):
        state = states[uid]
        unknown = returns.unknown_tokens.get(uid, [])
        details = [f"tokens unknown to the model: {' '.join(unknown)}"] if unknown else []
        details += [f"not used: {what}" for what in dict.fromkeys(came[uid])]
        worked = f"{returns.worked[uid]:.3f}" if uid in returns.worked else ""
        rows.append([uid, state, f"{durations[uid]:.3f}", reasons[uid], worked, "; ".join(details)])
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
    not_usable = returns.not_usable
    still_out = [uid for uid in returns.out if uid not in set(not_usable)]
    for what, uids in (("Still out", still_out), ("Came back without an answer", not_usable)):
        if uids:
            lines.append(f"{what}: {size(uids)}, e.g. {', '.join(uids[:EXAMPLES])}.")
    if returns.worked:
        total = sum(returns.worked.values())
        lines.append(
            f"Annotators worked {duration(total)} on {pluralize(len(returns.worked), 'clip')}."
        )
    if returns.unknown_tokens:
        tokens = sorted({t for found in returns.unknown_tokens.values() for t in found})
        lines.append(
            f"Tokens that the model does not know: {' '.join(tokens[:20])}, in "
            f"{pluralize(len(returns.unknown_tokens), 'transcript')}, which returned.tsv lists; it "
            "learns <unk> for them. "
            "Where they are slips of the pen, mend what came back, move the directory below away, "
            "and run stage 23 again."
        )
    return "\n".join(lines)


def describe_unused(files: Sequence[str | Path], unused: Iterable[Unused]) -> str:
    """What came back and was not taken, per file: how many of a kind, and where.

    Args:
        files: The files and folders that came back.
        unused: Of them.
    """
    # A table of files tells of those beside and below it.
    names = {str(path) for file in files for path in (Path(file), Path(file).parent)}
    per_file: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for found in unused:
        of = max((n for n in names if found.where.startswith(n)), key=len, default="what came back")
        per_file[of][found.reason].append(found.where.removeprefix(of).lstrip(":/ ") or of)
    lines = []
    for of, kinds in per_file.items():
        lines.append(f"Not used of {of}, {sum(map(len, kinds.values()))}:")
        for reason, places in kinds.items():
            count = len(places)
            places = [n if k == 1 else f"{n} ({k})" for n, k in Counter(places).items()]
            more = f" and {len(places) - PLACES} more" if len(places) > PLACES else ""
            lines.append(f"  {count} x {reason}: {', '.join(places[:PLACES])}{more}")
    return "\n".join(lines)


def write_unused(unused: Sequence[Unused], path: Path) -> None:
    """List all that was not taken, UNUSED_COLUMNS; no file where there is none."""
    if unused:
        rows = ([found.uid, one_line(found.where), one_line(found.reason)] for found in unused)
        write_rows(path, UNUSED_COLUMNS, rows)
    else:
        path.unlink(missing_ok=True)
