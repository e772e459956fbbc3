"""How a simulation's budget is shared among its rounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from espnet_egl.bin.al_simulate import _determining
from espnet_egl.errors import BudgetError, ConfigError
from espnet_egl.loop.curve import Point, add_points
from espnet_egl.loop.simulation import Cell, Simulation, plan, run_all


@pytest.mark.parametrize(
    ("budget", "parts"),
    [
        ("9utt", ["5utt", "4utt"]),
        ("2utt", ["1utt", "1utt"]),
        ("3h", ["1.500000h"] * 2),
        ("1500EUR", ["750.000000EUR"] * 2),
    ],
)
def test_every_round_has_its_part(tmp_path: Path, budget: str, parts: list[str]) -> None:
    simulation = Simulation(tmp_path, tmp_path, ("true",), rounds=2)
    assert [simulation._part(Cell("egl", budget, 0), number) for number in (1, 2)] == parts


def test_more_rounds_than_clips_are_refused() -> None:
    assert len(plan(["egl"], ["3utt", "0.1h"], 1, rounds=3)) == 2
    with pytest.raises(ConfigError, match="2utt has no clip for every round of 3"):
        plan(["egl"], ["3utt", "2utt"], 1, rounds=3)


def test_a_part_of_the_pools_hours(tmp_path: Path) -> None:
    header = "utterance\tseconds\tframes\thypotheses\tmass\tconfidence\tbest_hypothesis"
    rows = [f"u{i}\t1800\t9\t1\t1\t1\ta\t{i}" for i in range(4)]
    table = "\n".join([f"{header}\tscore_egl", *rows]) + "\n"
    (tmp_path / "scores.tsv").write_text(table)
    simulation = Simulation(tmp_path, tmp_path, ("true",), rounds=2)
    assert simulation._part(Cell("egl", "50%", 0), 1) == "0.500000h"


def test_what_is_no_budget_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="much"):
        Simulation(tmp_path, tmp_path, ("true",))._part(Cell("egl", "much", 0), 1)


def test_a_plan_goes_seed_by_seed() -> None:
    cells = plan(["random", "egl"], ["5%", "10%"], 2)
    assert [cell.seed for cell in cells] == [0] * 4 + [1] * 4
    with pytest.raises(ConfigError, match="once"):
        plan(["egl", "egl"], ["5%"], 1)


def test_seeds_are_numbered_from_the_first() -> None:
    assert [cell.seed for cell in plan(["egl"], ["5%"], 2, first_seed=3)] == [3, 4]
    with pytest.raises(ConfigError, match="--first_seed at least 0"):
        plan(["egl"], ["5%"], 1, first_seed=-1)


def finish(directory: Path, cell: Cell, rounds: int = 1) -> None:
    """What stage 25 leaves of a cell: the seed model's point, and one a round."""
    home = directory / "cells" / cell.path
    home.mkdir(parents=True)
    size = ("1", "0.1", "0", "9", "20", "19", "21", "12.5")
    points = [Point("c", "", str(cell.seed), "0", "", "test", *size)]
    for number in range(1, rounds + 1):
        points.append(
            Point("c", cell.method, str(cell.seed), str(number), cell.budget, "test", *size)
        )
    add_points(home / "curve.tsv", points)


def tables(directory: Path) -> tuple[bytes, bytes]:
    return (directory / "curve.tsv").read_bytes(), (directory / "times.tsv").read_bytes()


def test_what_was_asked_for_earlier_stays_in_the_curve(tmp_path: Path) -> None:
    cells = plan(["random", "egl"], ["5%", "10%"], 5)
    for cell in cells:
        finish(tmp_path / "parts", cell)
        finish(tmp_path / "whole", cell)
    run_all(Simulation(tmp_path / "whole", tmp_path, ("true",)), cells, 1)
    parts = Simulation(tmp_path / "parts", tmp_path, ("true",))
    run_all(parts, plan(["random", "egl"], ["5%", "10%"], 3), 1)
    run_all(parts, plan(["egl"], ["10%"], 2, first_seed=3), 1)
    assert tables(tmp_path / "parts") == tables(tmp_path / "whole")
    rows = (tmp_path / "parts" / "curve.tsv").read_text().splitlines()[1:]
    assert len(rows) == 1 + 20
    assert rows[0].startswith("c\t\t0\t0\t")


def test_a_budget_that_is_spent_in_part_is_no_point(tmp_path: Path) -> None:
    whole, part = plan(["egl"], ["4utt"], 2)
    finish(tmp_path, whole, rounds=2)
    finish(tmp_path, part, rounds=1)
    simulation = Simulation(tmp_path, tmp_path, ("false",), rounds=2)
    failed = run_all(simulation, [whole, part], 1)
    assert [cell for cell, _ in failed] == [part]
    rows = [row.split("\t")[1:4] for row in (tmp_path / "curve.tsv").read_text().splitlines()[1:]]
    assert rows == [["", "0", "0"], ["egl", "0", "1"], ["egl", "0", "2"]]


def test_what_changes_no_result_may_change_between_two_runs() -> None:
    command = ["./al.sh", "--al_tag", "x", "--al_score_args", "--a-b 1", "--al-truth", "t-1"]
    told = _determining(command)
    free = ["--al-seeds", "3", "--al_report_lang", "ja", "--al_gpu", "true", "--stop-stage", "26"]
    assert _determining([*command, *free, "--al_report_args", "--x 1"]) == told
    assert _determining([w.replace("--al-truth", "--al_truth") for w in command]) == told
    assert told[-4:] == ["--al_score_args", "--a-b 1", "--al_truth", "t-1"]
    assert _determining([*command, "--al_nbest", "5"]) != told
