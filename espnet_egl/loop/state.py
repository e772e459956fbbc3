"""Where every round stands, for people to read: ``state.yaml``.

It is told from what the stages left, and nothing is decided by it: it may be thrown away.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from humanfriendly.text import pluralize

from espnet_egl.errors import DataError
from espnet_egl.loop.curve import read_curve
from espnet_egl.loop.ledger import is_handed_over, is_round, read_asked, summarize, totals
from espnet_egl.loop.self_training import TABLE, read_taken
from espnet_egl.store.files import read_manifest
from espnet_egl.store.tables import duration, number_in, read_rows

NEXT = {
    "nothing": "stage 20: score the pool",
    "scored": "stage 21: select",
    "selected": "stage 22: hand over; then people transcribe, and stage 23 takes it back",
    "handed over": "people transcribe; then stage 23 takes it back",
    "returned": "stage 24: train; stage 23 again when more has come back",
    "trained": "stage 25: decode and score",
    "measured": "the next round (--al_round), or stage 26: what was it worth",
}


def describe(directory: str | Path) -> dict[str, Any]:
    """Every round of an active-learning directory, and what to do next in it.

    Args:
        directory: ``al_dir`` of the recipe, with r1, r2, ...

    Returns:
        Round -> what stands in it, in the order of the stages; and ``ledger``, what was asked in
        all, if anything was.

    Raises:
        DataError: There is no round in it, or a file of it is damaged.
    """
    directory = Path(directory)
    rounds = sorted(
        (int(path.name[1:]), path)
        for path in directory.glob("r*")
        if path.is_dir() and is_round(path)
    )
    if not rounds:
        raise DataError(
            f"{directory}: no round (r1, r2, ...) is there; give the directory of active learning, "
            "exp/al_<tag>"
        )
    state = {
        path.name: describe_round(path, directory / "curve.tsv", number) for number, path in rounds
    }
    if asked := read_asked(directory):
        state["ledger"] = summarize(totals(directory, asked))
    return state


def describe_round(path: Path, curve: Path, number: int) -> dict[str, Any]:
    """One round; several selections, where --al_select_tag made them."""
    state: dict[str, Any] = {}
    if (path / "score" / "scores.tsv").exists():
        state["scored"] = {
            "utterances": _lines(path / "score" / "scores.tsv"),
            "skipped": _lines(path / "score" / "skipped.tsv"),
        }
    points = [point for point in read_curve(curve) if point.round == str(number)]
    for selected in sorted(path.glob("select*/manifest.json")):
        tag = selected.parent.name.removeprefix("select")
        state[selected.parent.name] = _selection(path, tag)
    if points:
        state["measured"] = [
            f"{p.method}, {pluralize(int(p.utterances), 'clip')}, {float(p.hours):.3g} h: "
            f"WER {p.wer} % on {p.test_set}"
            for p in points
        ]
    state["next"] = NEXT[_reached(state)]
    return state


def _selection(path: Path, tag: str) -> dict[str, Any]:
    made_with = read_manifest(path / f"select{tag}")
    selection = path / f"select{tag}" / "selection.tsv"
    rows = read_rows(selection, ("utterance", "seconds"))
    found: dict[str, Any] = {
        "method": made_with.get("method"),
        "budget": made_with.get("budget"),
        "clips": len(rows),
        "audio": duration(sum(number_in(row, "seconds", selection) for row in rows)),
    }
    annotate = path / f"annotate{tag}"
    if is_handed_over(annotate):
        found["handed over"] = str(annotate)
    if back := _returned(path / f"labelled{tag}"):
        found["returned"] = back
    trained = path / f"asr{tag}" / "train_seconds"
    if trained.exists():
        found["model"] = str(trained.parent)
    for table in sorted(path.glob(f"self*/{TABLE}")):
        # Those of earlier models are self.1, self.2, ...
        if re.fullmatch(f"self[2-9]?{re.escape(tag)}", table.parent.name):
            taken = read_taken(table.parent)
            found[table.parent.name] = f"{pluralize(taken.clips, 'clip')} by the model itself"
    return found


def _returned(directory: Path) -> dict[str, int]:
    """Clips in each state; none as long as stage 23 is not done."""
    table = directory / "returned.tsv"
    if not table.exists():
        return {}
    states = Counter(row["state"] for row in read_rows(table))
    # Text is written last; where nothing but silence came back, there is none to write.
    silent = not states.keys() & {"labelled", "out"}
    return dict(sorted(states.items())) if silent or (directory / "text").exists() else {}


def _reached(state: dict[str, Any]) -> str:
    stages = [_stage(v) for k, v in state.items() if k.startswith("select")]
    if "measured" in state:
        # Another selection of this round may not be that far.
        return next((name for name in ("selected", "handed over") if name in stages), "measured")
    for name in ("trained", "returned", "handed over", "selected"):
        if name in stages:
            return name
    return "scored" if "scored" in state else "nothing"


def _stage(selection: dict[str, Any]) -> str:
    """How far a selection is."""
    for key, name in (
        ("model", "trained"),
        ("returned", "returned"),
        ("handed over", "handed over"),
    ):
        if key in selection:
            return name
    return "selected"


def _lines(path: Path) -> int:
    """Rows below the header."""
    with path.open("rb") as f:
        return sum(1 for _ in f) - 1
