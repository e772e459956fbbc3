"""How a simulation's budget is shared among its rounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from espnet_egl.errors import BudgetError, ConfigError
from espnet_egl.loop.simulation import Cell, Simulation, plan


@pytest.mark.parametrize(
    ("budget", "part"),
    [("9utt", "4utt"), ("1utt", "1utt"), ("3h", "1.500000h"), ("1500EUR", "750.000000EUR")],
)
def test_every_round_has_its_part(tmp_path: Path, budget: str, part: str) -> None:
    simulation = Simulation(tmp_path, tmp_path, ("true",), rounds=2)
    assert simulation._part(Cell("egl", budget, 0)) == part


def test_a_part_of_the_pools_hours(tmp_path: Path) -> None:
    header = "utterance\tseconds\tframes\thypotheses\tmass\tconfidence\tbest_hypothesis"
    rows = [f"u{i}\t1800\t9\t1\t1\t1\ta\t{i}" for i in range(4)]
    table = "\n".join([f"{header}\tscore_egl", *rows]) + "\n"
    (tmp_path / "scores.tsv").write_text(table)
    simulation = Simulation(tmp_path, tmp_path, ("true",), rounds=2)
    assert simulation._part(Cell("egl", "50%", 0)) == "0.500000h"


def test_what_is_no_budget_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="much"):
        Simulation(tmp_path, tmp_path, ("true",))._part(Cell("egl", "much", 0))


def test_a_plan_goes_seed_by_seed() -> None:
    cells = plan(["random", "egl"], ["5%", "10%"], 2)
    assert [cell.seed for cell in cells] == [0] * 4 + [1] * 4
    with pytest.raises(ConfigError, match="once"):
        plan(["egl", "egl"], ["5%"], 1)


def test_seeds_are_numbered_from_the_first() -> None:
    assert [cell.seed for cell in plan(["egl"], ["5%"], 2, first_seed=3)] == [3, 4]
    with pytest.raises(ConfigError, match="--first_seed at least 0"):
        plan(["egl"], ["5%"], 1, first_seed=-1)
