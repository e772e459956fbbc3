"""Filters, caps, random shares, fusion and diversity, by hand; and strange pools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_egl.bin import al_select
from espnet_egl.errors import BudgetError, ConfigError, DataError
from espnet_egl.selection.budget import Prices
from espnet_egl.selection.diversity import BLOCK, spread
from espnet_egl.selection.filters import Filters
from espnet_egl.selection.ranking import rank
from espnet_egl.selection.select import Rules, Selection, select
from espnet_egl.selection.take import take


def table(**columns: Any) -> pd.DataFrame:
    """Utterances a, b, c, ... of 2 s, with what is given."""
    count = len(next(iter(columns.values())))
    base = {
        "utterance": [chr(97 + i) for i in range(count)],
        "seconds": 2.0,
        "frames": 10,
        "hypotheses": 2,
        "mass": 0.5,
        "confidence": 0.5,
        "best_hypothesis": [f"text {i}" for i in range(count)],
    }
    return pd.DataFrame(base | columns)


def chosen(found: Selection) -> str:
    return "".join(found.chosen["utterance"])


def reasons(found: Selection) -> dict[str, str]:
    return dict(zip(found.filtered["utterance"], found.filtered["reason"], strict=True))


FOUR = {"score_egl": [4.0, 3.0, 2.0, 1.0]}


# ---- budgets ----


def test_money_by_hand() -> None:
    """36 an hour and 1 a clip: 1.02 for 2 s. 3.50 pays for three."""
    rules = Rules(budget="3.5EUR", prices=Prices(36, 1))
    assert chosen(select(table(**FOUR), rules)) == "abc"
    with pytest.raises(BudgetError, match="give --price_per_hour"):
        select(table(**FOUR), Rules(budget="3.5EUR"))
    with pytest.raises(BudgetError, match=r"what all of the pool costs, 4\.08"):
        select(table(**FOUR), Rules(budget="5EUR", prices=Prices(36, 1)))


def test_score_per_second_by_hand() -> None:
    """4, 3, 2 and 1 over 8, 2, 1 and 1 s: 0.5, 1.5, 2 and 1."""
    scored = table(**FOUR, seconds=[8.0, 2.0, 1.0, 1.0])
    rules = Rules(budget="4utt", rank_by="score_per_second")
    assert chosen(select(scored, rules)) == "cbda"


def test_what_does_not_fit_is_passed_over() -> None:
    costs = np.array([3.0, 4.0, 2.0, 1.0])
    assert take(costs, 6.0).tolist() == [True, False, True, True]
    assert take(costs[:0], 6.0).tolist() == []


# ---- filters ----


def test_filters_by_hand() -> None:
    scored = table(
        score_egl=[6.0, 5.0, 4.0, 3.0, 2.0, 1.0],
        seconds=[0.1, 2.0, 2.0, 50.0, 2.0, 2.0],
        speech_seconds=[0.1, 0.0, 1.0, 9.0, 1.0, 1.0],
    )
    filters = Filters(0.3, 20.0, 0.1, labelled={"c"}, blocked={"e"})
    found = select(scored, Rules(budget="6utt", filters=filters))
    assert chosen(found) == "f"
    assert reasons(found) == {
        "a": "too_short",
        "b": "no_speech",
        "c": "labelled_already",
        "d": "too_long",
        "e": "blocked",
    }


def test_speech_has_to_be_measured_first() -> None:
    with pytest.raises(ConfigError, match="scored without --vad true"):
        select(table(**FOUR), Rules(filters=Filters(min_speech=0.1)))


def test_duplicates_by_hand() -> None:
    """b is a's audio; d says what c says, as long, by the same speaker; e by another."""
    scored = table(
        score_egl=[5.0, 4.0, 3.0, 2.0, 1.0, 0.5],
        audio_hash=["x", "x", "1", "2", "3", "4"],
        best_hypothesis=["one", "two", "yes", "yes", "yes", "yes"],
        seconds=[2.0, 2.0, 2.0, 2.009, 2.0, 2.5],
    )
    speakers = dict.fromkeys("abcdf", "s") | {"e": "t"}
    rules = Rules(budget="6utt")
    found = select(scored, rules, speakers)
    assert chosen(found) == "acef"
    assert reasons(found) == {"b": "same_audio", "d": "same_words"}
    assert set(found.filtered["detail"]) == {"as a", "as c"}
    kept = select(scored, Rules(budget="6utt", filters=Filters(drop_duplicates=False)), speakers)
    assert chosen(kept) == "abcdef"
    # Without speakers, words say nothing.
    assert reasons(select(scored, rules)) == {"b": "same_audio"}


def test_transcripts_of_nothing_are_no_duplicates() -> None:
    scored = table(score_egl=[2.0, 1.0], best_hypothesis=["", ""])
    assert chosen(select(scored, Rules(budget="2utt"), dict.fromkeys("ab", "s"))) == "ab"


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"min_seconds": -1}, "below zero"),
        ({"tolerance": 0}, "below zero"),
        ({"min_seconds": 3, "max_seconds": 2}, "--max_seconds 2 is below --min_seconds 3"),
    ],
)
def test_filters_that_make_no_sense_are_refused(conf: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Filters(**conf)  # type: ignore[arg-type]


# ---- caps ----


@pytest.mark.parametrize(
    ("cap", "expected"), [("1utt", "ac"), ("50%", "abcd"), ("25%", "ac"), ("0.0012h", "abcd")]
)
def test_caps_by_hand(cap: str, expected: str) -> None:
    """a and b are s, c and d are t; 0.0012 h are 4.3 s."""
    speakers = dict(zip("abcd", "sstt", strict=True))
    rules = Rules(budget="100%", cap=cap, cap_map=speakers)
    assert chosen(select(table(**FOUR), rules)) == expected


def test_a_cap_needs_a_value_for_everyone() -> None:
    with pytest.raises(DataError, match="--cap_map has no value for 'b'"):
        select(table(**FOUR), Rules(cap="1utt", cap_map={"a": "s"}))


# ---- several methods ----

TWO = {"score_egl": [4.0, 3.0, 2.0, 1.0], "score_confidence": [0.1, 0.2, 0.9, 0.8]}


def test_rank_fusion_by_hand() -> None:
    """Ranks 1 + 4, 2 + 3, 3 + 1, 4 + 2: c, a, b (a tie, by id), d."""
    found = select(table(**TWO), Rules("egl+confidence", "4utt"))
    assert chosen(found) == "cabd"
    assert found.chosen["reason"].tolist() == [
        "confidence rank 1 of 4",
        "egl rank 1 of 4",
        "egl rank 2 of 4",
        "confidence rank 2 of 4",
    ]
    assert found.chosen["score"].tolist() == [0.9, 4.0, 3.0, 0.8]


def test_taking_turns_by_hand() -> None:
    """egl takes a, confidence c, egl b, confidence d."""
    found = select(table(**TWO), Rules("egl+confidence", "4utt", fusion="alternate"))
    assert chosen(found) == "acbd"
    assert [r.split()[0] for r in found.chosen["reason"]] == ["egl", "confidence"] * 2


@pytest.mark.parametrize("method", ["egl+egl", "egl+", "+"])
def test_methods_that_are_no_two_are_refused(method: str) -> None:
    with pytest.raises(ConfigError, match="write different methods"):
        select(table(**TWO), Rules(method))


# ---- a random share ----


def large(count: int = 2000) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    scored = table(score_egl=draw.random(count))
    scored["utterance"] = [f"u{i:04}" for i in range(count)]
    scored["seconds"] = draw.uniform(0.5, 10, count).round(3)
    return scored


def test_a_random_share_is_like_the_pool() -> None:
    scored = large()
    found = select(scored, Rules(budget="40%", random_share=0.5)).chosen
    # Whatever comes back first has some of both.
    assert 0.4 < (found["reason"].head(20) == "random").mean() < 0.6
    drawn = scored[scored["utterance"].isin(found["utterance"][found["reason"] == "random"])]
    assert drawn["seconds"].sum() == pytest.approx(0.2 * scored["seconds"].sum(), rel=0.05)
    # The mean of 400 clips; a sample that passed over long ones would be a second shorter.
    assert drawn["seconds"].mean() == pytest.approx(scored["seconds"].mean(), abs=0.3)
    # In proportion from the whole ranking: forty of every tenth.
    ranks = scored["score_egl"].rank()[drawn.index]
    assert np.histogram(ranks, 10, (0.5, 2000.5))[0].tolist() == [40] * 10
    # The rest are the best, and nobody is there twice.
    rest = found[found["reason"] != "random"]
    assert rest["reason"].iloc[0] in {f"egl rank {i} of 2000" for i in range(1, 4)}
    assert found["utterance"].is_unique


def test_another_seed_draws_others_and_order_does_not_matter() -> None:
    scored = large(300)
    rules = [Rules(budget="30utt", random_share=1.0, seed=seed) for seed in (1, 1, 2)]
    one, same = select(scored, rules[0]), select(scored.iloc[::-1], rules[1])
    assert one.chosen["utterance"].tolist() == same.chosen["utterance"].tolist()
    other = select(scored, rules[2]).chosen["utterance"]
    assert 0 < other.isin(one.chosen["utterance"]).sum() < 15
    assert set(one.chosen["reason"]) == {"random"}


# ---- diversity ----


def test_kmeans_picks_one_of_every_kind() -> None:
    """Ninety clips in three directions: the first three picks are one of each."""
    kinds = np.repeat(np.eye(3), 30, axis=0) * 10
    points = kinds + np.random.default_rng(0).normal(0, 0.01, kinds.shape)
    order = spread(points, 3, seed=0)
    assert sorted(order.tolist()) == list(range(90))
    assert {int(i) // 30 for i in order[:3]} == {0, 1, 2}


def test_many_candidates_are_picked_block_by_block() -> None:
    points = np.random.default_rng(0).normal(size=(3 * BLOCK, 2))
    order = spread(points, 9, seed=0)
    assert sorted(order.tolist()) == list(range(3 * BLOCK))
    assert order.tolist() == spread(points, 9, seed=0).tolist()


def test_points_that_are_all_the_same_are_picked_once() -> None:
    assert sorted(spread(np.zeros((5, 4)), 3).tolist()) == list(range(5))


def test_a_diverse_selection_by_hand() -> None:
    """The best six are of two kinds; of the three best two are, as egl would take them, alike."""
    scored = table(score_egl=[8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    points = np.array([[1, 0]] * 4 + [[0, 1]] * 4, dtype=np.float32)
    rules = Rules(budget="2utt", diversity="kmeans++")
    found = select(scored, rules, embeddings=points)
    assert len({uid in "abcd" for uid in found.chosen["utterance"]}) == 2
    assert all(uid in "abcdef" for uid in found.chosen["utterance"])
    assert found.chosen["reason"].iloc[0].startswith("picked by kmeans++, egl rank ")
    with pytest.raises(ConfigError, match="score the pool with the method badge"):
        select(scored, rules)


# ---- what always holds ----


@settings(max_examples=60, deadline=None)
@given(
    seconds=st.lists(st.floats(0.1, 20), min_size=2, max_size=40),
    share=st.floats(5, 100),
    random_share=st.sampled_from([0.0, 0.3, 1.0]),
    fusion=st.sampled_from(["rank", "alternate"]),
    seed=st.integers(0, 5),
)
def test_the_budget_holds_and_the_order_of_rows_does_not_matter(
    seconds: list[float], share: float, random_share: float, fusion: str, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    count = len(seconds)
    scored = table(
        score_egl=draw.integers(0, 5, count).astype(float), score_confidence=draw.random(count)
    )
    scored["utterance"] = [f"u{i}" for i in range(count)]
    scored["seconds"] = np.round(seconds, 3)
    rules = Rules(
        "egl+confidence", f"{share:.3f}%", fusion=fusion, random_share=random_share, seed=seed
    )
    try:
        found = select(scored, rules).chosen
    except BudgetError:
        assert scored["seconds"].min() > share / 100 * scored["seconds"].sum() - 1e-2
        return
    assert found["seconds"].sum() <= share / 100 * scored["seconds"].sum() + 1e-2
    assert found["utterance"].is_unique
    mixed = select(scored.sample(frac=1, random_state=seed), rules).chosen
    assert found.to_dict("records") == mixed.to_dict("records")


def test_ties_go_by_id_in_every_method() -> None:
    scored = table(score_egl=[1.0] * 4, score_confidence=[1.0] * 4).iloc[::-1]
    for methods in (["egl"], ["egl", "confidence"]):
        for fusion in ("rank", "alternate"):
            order = rank(scored, methods, fusion).index
            assert "".join(scored.loc[order, "utterance"]) == "abcd"


@pytest.mark.parametrize(
    "conf",
    [{"random_share": 1.5}, {"diversity_pool": 0.5}, {"fusion": "mean"}, {"rank_by": "cost"}],
)
def test_rules_out_of_range_are_refused(conf: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"--{next(iter(conf))} must be"):
        Rules(**conf)


# ---- strange pools, through the command ----


def run(directory: Path, scored: pd.DataFrame, *options: str, utt2spk: bool = True) -> Path:
    pool = directory / "pool"
    pool.mkdir(exist_ok=True)
    uids = sorted(scored["utterance"])
    (pool / "wav.scp").write_text("".join(f"{uid} /{uid}.wav\n" for uid in uids))
    if utt2spk:
        (pool / "utt2spk").write_text("".join(f"{uid} s\n" for uid in uids))
    scored.to_csv(directory / "scores.tsv", sep="\t", index=False, quoting=3)
    words = ["--score_file", f"{directory}/scores.tsv", "--data_dir", str(pool)]
    al_select.main([*words, "--output_dir", str(directory / "out"), *options])
    return directory / "out"


def test_one_utterance(tmp_path: Path) -> None:
    out = run(tmp_path, table(score_egl=[1.0]), "--budget", "100%")
    assert (out / "wav.scp").read_text() == "a /a.wav\n"


def test_all_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same = table(score_egl=[1.0] * 4, best_hypothesis=["yes"] * 4)
    out = run(tmp_path, same, "--budget", "100%")
    assert (out / "wav.scp").read_text() == "a /a.wav\n"
    assert len((out / "filtered.tsv").read_text().splitlines()) == 4
    assert "Left out, see filtered.tsv: 3 same_words" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--min_speech", "0.1"), "all is filtered out, 4 utterances (4 no_speech)"),
        (("--min_seconds", "9"), "all is filtered out, 4 utterances (4 too_short)"),
        (("--budget", "0utt"), "nothing would be selected"),
        (("--budget", "5utt"), "larger than the pool's 4 scored utterances"),
        (("--budget", "1h"), "larger than the pool's"),
        (("--method", "entropy"), "scored with egl, not with 'entropy'"),
        (("--diversity", "kmeans++"), "score the pool with the method badge"),
        (("--block_file", "nowhere"), "nowhere: cannot be read"),
        (("--exclude_dir", "nowhere"), "nowhere has neither segments"),
    ],
)
def test_strange_wishes_are_answered(
    tmp_path: Path, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = table(**FOUR, speech_seconds=[0.0] * 4)
    with pytest.raises(SystemExit):
        run(tmp_path, silent, *options)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_an_empty_pool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(tmp_path, table(score_egl=[1.0]).head(0))
    assert "the score table is empty" in capsys.readouterr().err


def test_unusual_ids_huge_durations_and_no_speakers(tmp_path: Path) -> None:
    scored = table(score_egl=[5.0, 4.0, 3.0, 2.0, 1.0], seconds=[1e7, 1.0, 1.0, 1.0, 1.0])
    scored["utterance"] = ["über-größe", "-dash", "quo\"te'", "日本", "a|b;$(x)"]
    out = run(tmp_path, scored, "--budget", "4utt", utt2spk=False)
    lines = (out / "wav.scp").read_text().splitlines()
    assert {line.split()[0] for line in lines} == set(scored["utterance"][:4])
    assert "über-größe 10000000.000" in (out / "utt2dur").read_text()


def test_earlier_selections_and_blocked_ids(tmp_path: Path) -> None:
    first = run(tmp_path, table(**FOUR), "--budget", "2utt").rename(tmp_path / "first")
    (tmp_path / "blocked").write_text("c somebody does not want this\n\n")
    out = run(
        *(tmp_path, table(**FOUR), "--budget", "2utt", "--exclude_dir", str(first)),
        *("--block_file", str(tmp_path / "blocked")),
    )
    assert (out / "wav.scp").read_text() == "d /d.wav\n"
    filtered = (out / "filtered.tsv").read_text().splitlines()
    assert [line.split("\t")[:2] for line in filtered[1:]] == [
        ["c", "blocked"],
        ["a", "labelled_already"],
        ["b", "labelled_already"],
    ]
