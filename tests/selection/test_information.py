"""Batches that cover a pool's information: by hand, against all batches, and by the command."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from espnet_egl.bin import al_sample
from espnet_egl.data.kaldi import read_table
from espnet_egl.errors import ConfigError, DataError
from espnet_egl.selection.information import (
    BATCH,
    LOOKS,
    UPDATES,
    Background,
    _State,
    cover,
    read_background,
    total,
)
from espnet_egl.selection.select import Rules, select
from espnet_egl.store import embeddings
from espnet_egl.store.embeddings import FACTORS, GRADIENT, factors_of, gradients_of


def along(axis: int, length: float, size: int = 3) -> np.ndarray:
    """(1, S) one factor."""
    return length * np.eye(size)[axis : axis + 1]


def trace(factors: np.ndarray, rows: list[int], wanted: np.ndarray, start: np.ndarray) -> float:
    return float(np.trace(np.linalg.inv(start + total(factors[rows])) @ wanted))


def test_what_a_clip_takes_away_by_hand() -> None:
    """A = diag(2, 4), F = diag(6, 8), V = (1, 0): 6/2 + 8/4 = 5 becomes 6/3 + 8/4 = 4."""
    state = _State(np.diag([2.0, 4.0]), np.diag([6.0, 8.0]))
    first, second = along(0, 1.0, 2), along(1, 2.0, 2)
    # The second: 8/4 becomes 8/8.
    assert state.change(np.stack([first, second]), 1) == pytest.approx([1.0, 1.0])
    state.update(first, 1)
    # Once more: 6/3 becomes 6/4. Taken out again, 6/3 becomes 6/2.
    assert state.change(first[None], 1) == pytest.approx([0.5])
    assert state.change(first[None], -1) == pytest.approx([1.0])
    state.update(first, -1)
    np.testing.assert_allclose(state.inverse, np.diag([0.5, 0.25]))
    np.testing.assert_allclose(state.middle, np.diag([1.5, 0.5]))


def test_updates_do_not_drift() -> None:
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((UPDATES + 50, 2, 6))
    state = _State(np.eye(6), wanted := total(factors))
    for v in factors:
        state.update(v, 1)
    for v in factors[::2]:
        state.update(v, -1)
    inverse = np.linalg.inv(np.eye(6) + total(factors[1::2]))
    np.testing.assert_allclose(state.inverse, inverse, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(state.middle, inverse @ wanted @ inverse, rtol=1e-7, atol=1e-10)
    before = np.trace(state.inverse @ wanted)
    changes = state.change(factors[:2], 1)
    for v, change in zip(factors[:2], changes, strict=True):
        after = np.linalg.inv(state.information + v.T @ v)
        assert before - np.trace(after @ wanted) == pytest.approx(change)


def test_two_copies_are_not_both_taken_while_another_direction_is_open() -> None:
    """EGL would take the copies: they have the longest gradients."""
    factors = np.stack([along(0, 3.0), along(0, 3.0), along(1, 2.2), along(2, 2.0)])
    ones = np.ones(4)
    order = cover(factors, ones, 2, total(factors))
    assert order[:2].tolist() == [0, 2]
    assert cover(factors, ones, 3, total(factors))[:3].tolist() == [0, 2, 3]
    # What the model knows already is not asked for.
    known = total(factors[:1]) * 100
    assert cover(factors, ones, 1, total(factors), known)[0] == 2
    # A target counts in place of the pool, wherever the pool is large.
    assert cover(factors, ones, 1, total(factors[3:]))[0] == 3
    # For the second of audio: less of a gain, for a tenth of the price.
    assert cover(factors, np.array([10.0, 10.0, 1.0, 10.0]), 1.0, total(factors))[0] == 2


def test_nothing_is_looked_at_once_nothing_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    factors = rng.standard_normal((400, 1, 6))
    looks: list[int] = []
    change = _State.change

    def counting(self: _State, found: np.ndarray, sign: int) -> np.ndarray:
        looks.append(len(found))
        return change(self, found, sign)

    monkeypatch.setattr(_State, "change", counting)
    order = cover(factors, np.ones(400), 10, total(factors))
    assert sorted(order.tolist()) == list(range(400))
    # The first look at all, and a few for each of the twenty that are added and ten given back.
    assert sum(looks) - 420 < 30 * LOOKS * BATCH < 400 * BATCH


def test_nearly_the_best_of_all_batches() -> None:
    rng = np.random.default_rng(1)
    found, best, drawn = [], [], []
    for _ in range(8):
        factors = rng.standard_normal((9, 2, 5)) * rng.uniform(0.2, 2, (9, 1, 1))
        wanted = total(factors)
        start = np.eye(5) * np.trace(wanted) / 9 / 5
        order = cover(factors, np.ones(9), 3, wanted)
        assert sorted(order.tolist()) == list(range(9))
        every = [
            trace(factors, list(b), wanted, start) for b in itertools.combinations(range(9), 3)
        ]
        found.append(trace(factors, order[:3].tolist(), wanted, start))
        best.append(min(every))
        drawn.append(np.mean(every))
    assert np.mean(found) < 1.02 * np.mean(best)
    assert np.mean(best) < 0.9 * np.mean(drawn)


def test_strange_pools() -> None:
    nothing = np.zeros((3, 2, 4))
    assert sorted(cover(nothing, np.ones(3), 2, total(nothing))) == [0, 1, 2]
    assert cover(nothing[:0], np.ones(0), 2, total(nothing)).tolist() == []
    # No room for any.
    assert sorted(cover(nothing + 1, np.ones(3), 0.4, total(nothing + 1))) == [0, 1, 2]


def score_table(count: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "utterance": [f"u{i}" for i in range(count)],
            "seconds": [1.0] * count,
            "confidence": [0.5] * count,
            "best_hypothesis": [""] * count,
            "score_egl": np.arange(count, 0, -1.0),
        }
    )


def rows_of(factors: list[np.ndarray]) -> np.ndarray:
    rows = np.zeros((len(factors), GRADIENT * (1 + FACTORS)), np.float32)
    for row, factor in zip(rows, factors, strict=True):
        row[GRADIENT : GRADIENT + factor.size] = factor.ravel()
    return rows


def test_the_selection_says_why() -> None:
    lengths = [(0, 3.0), (0, 3.0), (1, 2.0), (2, 1.5)]
    rows = rows_of([along(axis, length, GRADIENT) for axis, length in lengths])
    rules = Rules(budget="2utt", diversity="fisher")
    found = select(score_table(4), rules, embeddings=rows)
    assert found.chosen["utterance"].tolist() == ["u0", "u2"]
    assert found.chosen["reason"].iloc[1] == "picked by fisher, egl rank 3 of 4"
    target = Background(target=total(factors_of(rows[3:])))  # type: ignore[arg-type]
    found = select(score_table(4), Rules(budget="1utt", diversity="fisher"), None, rows, target)
    assert found.chosen["utterance"].tolist() == ["u3"]
    with pytest.raises(ConfigError, match="score the pool with the method fisher"):
        select(score_table(4), rules, embeddings=rows[:, :GRADIENT])
    with pytest.raises(ConfigError, match="score the pool with the method fisher"):
        select(score_table(4), rules)


def test_a_row_has_the_gradient_and_the_factors() -> None:
    rows = rows_of([along(5, 2.0, GRADIENT)])
    rows[0, :GRADIENT] = 7
    assert (gradients_of(rows) == 7).all()
    factors = factors_of(rows)
    assert factors is not None
    assert factors.shape == (1, FACTORS, GRADIENT)
    assert np.argwhere(factors).tolist() == [[0, 0, 5]]


def test_a_sample_stands_for_the_whole_training_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "wav.scp").write_text("".join(f"u{i} /{i}.wav\n" for i in range(40)))
    al_sample.main(["--data_dir", str(data), "--output_dir", f"{tmp_path}/seed", "--clips", "10"])
    assert capsys.readouterr().out == f"10 of 40 clips of {data}\n"
    drawn = read_table(tmp_path / "seed" / "sample" / "wav.scp")
    assert len(drawn) == 10
    rows = rows_of([along(0, 2.0, GRADIENT)] * 10)
    embeddings.write(tmp_path / "seed" / embeddings.NAME, rows, 10)
    found = read_background(tmp_path / "seed", tmp_path / "seed")
    assert found.known is not None
    assert found.target is not None
    # Each of forty has 4 in its direction; the target is what it is.
    assert (found.known[0, 0], np.trace(found.known)) == (160, 160)
    assert np.trace(found.target) == 40
    # Copies are no clips of their own, but names that look like theirs are.
    names = ["u0", "sp0.9-u0", "again2-u0", "again2-sp0.9-u0", "sp1-u7", "again-u0"]
    (data / "wav.scp").write_text("".join(f"{name} /x.wav\n" for name in names))
    al_sample.main(["--data_dir", str(data), "--output_dir", f"{tmp_path}/copies"])
    assert read_table(tmp_path / "copies/sample/wav.scp").keys() == {"u0", "sp1-u7", "again-u0"}
    (tmp_path / "seed" / "clips").write_text("many\n")
    with pytest.raises(DataError, match="no number"):
        read_background(tmp_path / "seed", None)
    embeddings.write(tmp_path / "seed" / embeddings.NAME, rows[:, :GRADIENT], 10)
    with pytest.raises(ConfigError, match="score with the method fisher"):
        read_background(None, tmp_path / "seed")
    assert read_background(None, None) == Background()
