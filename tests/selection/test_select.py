from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from espnet_egl.errors import BudgetError, DataError
from espnet_egl.selection.budget import Budget, parse_budget
from espnet_egl.selection.select import Rules
from espnet_egl.selection.select import select as select_by
from espnet_egl.store.tables import duration, read_scores


def table(rows: list[tuple[str, float, float]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "utterance": uid,
                "seconds": seconds,
                "frames": 10,
                "hypotheses": 2,
                "mass": 0.5,
                "confidence": 0.5,
                "best_hypothesis": "a b",
                "score_egl": score,
            }
            for uid, seconds, score in rows
        ]
    )


def select(scored: pd.DataFrame, method: str, budget: str) -> pd.DataFrame:
    return select_by(scored, Rules(method, budget)).chosen


POOL = [("a", 2.0, 1.0), ("b", 3.0, 5.0), ("c", 4.0, 5.0), ("d", 1.0, 0.5)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500utt", Budget(utterances=500)),
        ("1utts", Budget(utterances=1)),
        ("0.5h", Budget(seconds=1800.0)),
        ("20%", Budget(seconds=720.0)),
        (" 100 % ", Budget(seconds=3600.0)),
    ],
)
def test_budgets(text: str, expected: Budget) -> None:
    assert parse_budget(text, 1000, 3600.0) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("20", "write it as"),
        ("lots", "write it as"),
        ("-5utt", "write it as"),
        ("0utt", "more than zero"),
        ("0%", "more than zero"),
        ("2.5utt", "whole number"),
        ("1001utt", "larger than the pool's 1000"),
        ("1.1h", "larger than the pool's 1 "),
        ("101%", "larger than the pool's 1 "),
    ],
)
def test_bad_budgets(text: str, message: str) -> None:
    with pytest.raises(BudgetError, match=message):
        parse_budget(text, 1000, 3600.0)


def test_largest_first_ties_by_id() -> None:
    chosen = select(table(POOL[::-1]), "egl", "3utt")
    assert list(chosen["utterance"]) == ["b", "c", "a"]
    assert list(chosen["reason"]) == [f"egl rank {i} of 4" for i in (1, 2, 3)]


def test_a_budget_of_hours_passes_over_what_no_longer_fits() -> None:
    """60 % of 10 s: b (3 s) fits, c (4 s) does not, a (2 s) and d (1 s) fill it."""
    chosen = select(table(POOL), "egl", "60%")
    assert list(chosen["utterance"]) == ["b", "a", "d"]
    assert list(chosen["rank"]) == [1, 2, 3]
    assert chosen["reason"].iloc[1] == "egl rank 3 of 4"


def test_all_of_it_is_all_of_it() -> None:
    rows = [(f"u{i:03}", 0.1 + i * 0.001, i / 7) for i in range(300)]
    assert len(select(table(rows), "egl", "100%")) == 300


def test_what_cannot_be_selected_says_why() -> None:
    with pytest.raises(DataError, match="empty"):
        select(table(POOL).iloc[:0], "egl", "1utt")
    with pytest.raises(BudgetError, match=r"shorter than the shortest utterance \(1\.00 s\)"):
        select(table(POOL), "egl", "0.0001h")
    with pytest.raises(DataError, match="scored with egl, not with 'confidence'"):
        select(table(POOL), "confidence", "1utt")


@pytest.mark.parametrize("value", ["nan", "inf", "", "much"])
def test_a_score_that_is_no_number_is_named(tmp_path: Path, value: str) -> None:
    path = tmp_path / "scores.tsv"
    rows = table(POOL).astype({"score_egl": object})
    rows.loc[2, "score_egl"] = value
    rows.to_csv(path, sep="\t", index=False)
    with pytest.raises(DataError, match=r"scores\.tsv:4: score_egl of 'c'"):
        read_scores(path)


def test_ids_and_texts_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "scores.tsv"
    rows = table([("0012", 1.0, 1.0), ("NA", 1.0, 2.0), ("true", 1.0, 3.0)])
    rows["best_hypothesis"] = ["", 'a "quoted" word', "null"]
    path.write_text(rows.to_csv(sep="\t", index=False, quoting=3, escapechar=None))
    found = read_scores(path)
    assert list(found["utterance"]) == ["0012", "NA", "true"]
    assert list(found["best_hypothesis"]) == ["", 'a "quoted" word', "null"]


@pytest.mark.parametrize("content", ["", "a\tb\n1\t2\n", "utterance\tseconds\n"])
def test_what_is_no_score_table_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "scores.tsv").write_text(content)
    with pytest.raises(DataError, match="not a score table"):
        read_scores(tmp_path / "scores.tsv")


def test_durations_are_said_as_people_say_them() -> None:
    assert [duration(s) for s in (0.7, 48, 750, 11160)] == [
        *("0.7 s", "48 s", "12.5 minutes", "3.1 hours")
    ]
