"""What labelling would buy: rounds over a pool whose transcripts are hidden until selected.

A cell is a method, a budget and a random seed. It lives in a directory of its own and runs the
recipe's own stages there; all cells share the first scoring pass, and a cell with self-training
the first round's selection and model with the one without. Heavy work is submitted by the
stages themselves, through the recipe's cmd.sh: what runs here is only the shells that wait for it.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from dataclasses import dataclass, replace
from pathlib import Path

from espnet_egl.errors import ConfigError, DataError
from espnet_egl.loop.curve import Point, read_curve
from espnet_egl.progress import progress
from espnet_egl.selection.budget import parse_amount
from espnet_egl.store.tables import write_rows

# Stands behind a method whose models train themselves on the rest of the pool, too.
SELF = "+self"
# What of the first round is the same with it and without.
SHARED = ("select", "labelled", "asr", "asr_stats")
# How long training takes is not the same twice; curve.tsv is.
TIME_COLUMN = "seconds"
RESULT_COLUMNS = (
    *("corpus", "method", "seed", "round", "budget", "utterances", "hours", "cost"),
    *("test_set", "cer", "wer", "wer_lo", "wer_hi"),
)


@dataclass(frozen=True)
class Cell:
    """One learning curve's piece.

    Attributes:
        method: What selects; with SELF behind it, there is self-training.
        budget: Of all rounds together.
        seed: Of what is drawn and of training.
    """

    method: str
    budget: str
    seed: int

    @property
    def selects(self) -> str:
        """The method alone."""
        return self.method.removesuffix(SELF)

    @property
    def by_itself(self) -> bool:
        """Whether there is self-training."""
        return self.method.endswith(SELF)

    @property
    def path(self) -> Path:
        """Below the simulation's directory."""
        budget = self.budget.replace("%", "pct")
        return Path(self.method) / budget / f"seed{self.seed}"


@dataclass(frozen=True)
class Simulation:
    """How the cells are run.

    Attributes:
        directory: Where all of it goes.
        score_dir: What stage 20 left of the whole pool: the first round's scores.
        command: What runs the recipe's stages: a program and its options. Stage 23 is given the
            pool's transcripts by them, and takes those of the selection.
        rounds: In which a cell's budget is spent, an equal part each.
        tag: Stands after the methods' names in the learning curve.
        inherited: File descriptors for the stages: what outlives this process keeps its lock.
    """

    directory: Path
    score_dir: Path
    command: tuple[str, ...]
    rounds: int = 1
    tag: str = ""
    inherited: tuple[int, ...] = ()

    def run(self, cell: Cell) -> None:
        """All rounds of a cell; one that is done is not done again.

        Raises:
            DataError: A stage failed; the message names its log.
        """
        home = self.directory / "cells" / cell.path
        if len({point.round for point in read_curve(home / "curve.tsv")} - {"0"}) == self.rounds:
            return
        first = home / "r1"
        first.mkdir(parents=True, exist_ok=True)
        # Beside the pool's scores, those of a sample of the training set and of a target set.
        for name in (self.score_dir.name, "seed", "target"):
            there = self.score_dir.resolve().with_name(name)
            if there.exists() and not (first / name).is_symlink():
                (first / name).symlink_to(there)
        if cell.by_itself:
            self._share(replace(cell, method=cell.selects), home / "r1")
        for number in range(1, self.rounds + 1):
            self._run_round(cell, home, number)

    def _share(self, other: Cell, here: Path) -> None:
        """Refer to what the cell without self-training has, where it is done."""
        there = (self.directory / "cells" / other.path / "r1").resolve()
        if not (there / "done").exists():
            return
        for name in SHARED:
            if (there / name).exists() and not (here / name).exists():
                (here / name).symlink_to(there / name)

    def _run_round(self, cell: Cell, home: Path, number: int) -> None:
        here = home / f"r{number}"
        if (here / "done").exists():
            return
        # Training that was cut short starts over: it would go on with other random numbers.
        for model in [here / "asr", *here.glob("asr_self*")]:
            if not (model / "train_seconds").exists():
                shutil.rmtree(model, ignore_errors=True)
        options = ["--al_dir", str(home), "--al_round", str(number), "--al_seed", str(cell.seed)]
        budget = self._part(cell, number) if self.rounds > 1 else cell.budget
        options += ["--al_method", cell.selects, "--al_budget", budget]
        options += ["--al_self_train", str(cell.by_itself).lower()]
        if cell.selects == "random":
            # The column of scores is one draw; every seed is another.
            options += ["--al_random_share", "1"]
        if number > 1:
            self._stages(here, 20, 20, options)
        self._stages(here, 21, 21, options)
        options += ["--al_curve_name", f"{cell.method}{self.tag}", "--al_curve_budget", cell.budget]
        self._stages(here, 23, 25, options)
        (here / "done").touch()

    def _part(self, cell: Cell, number: int) -> str:
        """A round's share of the whole budget; of hours or clips of the whole pool, or of money."""
        from espnet_egl.store.tables import read_scores

        amount, unit = parse_amount(cell.budget)
        if unit == "utt":
            # The first rounds take what is left over.
            clips, more = divmod(int(amount), self.rounds)
            return f"{clips + (number <= more)}utt"
        if unit == "%":
            seconds = float(read_scores(self.score_dir / "scores.tsv")["seconds"].sum())
            amount, unit = amount / 100 * seconds / 3600, "h"
        return f"{amount / self.rounds:.6f}{unit}"

    def _stages(self, here: Path, first: int, last: int, options: Sequence[str]) -> None:
        log = here / f"stage{first}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [*self.command, *options, "--stage", str(first), "--stop_stage", str(last)]
        with log.open("w", encoding="utf-8") as f:
            done = subprocess.run(  # noqa: S603 - the recipe's own command, no shell
                command,
                stdout=f,
                stderr=f,
                stdin=subprocess.DEVNULL,
                pass_fds=self.inherited,
                check=False,
            )
        if done.returncode != 0:
            end = "".join(log.read_text(encoding="utf-8").splitlines(keepends=True)[-8:])
            raise DataError(f"stages {first}-{last} failed, log: {log}\n{end}")


def plan(
    methods: Sequence[str],
    budgets: Sequence[str],
    seeds: int,
    first_seed: int = 0,
    rounds: int = 1,
) -> list[Cell]:
    """Every cell, seed by seed: cut short, a simulation has whole comparisons.

    Of a seed and a budget, those with self-training come behind those without, whose models they
    share.

    Raises:
        ConfigError: One is named twice, or there are none, or a budget has fewer clips than rounds;
            or no method stands before SELF.
    """
    for kind, values in (("method", methods), ("budget", budgets)):
        if not values or len(set(values)) != len(values):
            raise ConfigError(f"give every {kind} once, and at least one")
    if seeds < 1 or first_seed < 0:
        raise ConfigError("--seeds must be at least 1, and --first_seed at least 0")
    for budget in budgets:
        amount, unit = parse_amount(budget)
        if unit == "utt" and amount < rounds:
            raise ConfigError(
                f"budget {budget} has no clip for every round of {rounds}: give a larger one, or "
                "fewer --rounds"
            )
    if wrong := [m for m in methods if {"", "self"} & {*m.removesuffix(SELF).split("+")}]:
        raise ConfigError(f"{wrong[0]}: write a method and {SELF} behind it, as in random{SELF}")
    methods = sorted(methods, key=lambda method: method.endswith(SELF))
    numbers = range(first_seed, first_seed + seeds)
    return [Cell(m, b, s) for s, b, m in itertools.product(numbers, budgets, methods)]


def run_all(simulation: Simulation, cells: Sequence[Cell], nj: int) -> list[tuple[Cell, str]]:
    """Run the cells, ``nj`` at a time, with a progress bar; ``curve.tsv`` grows as they come.

    Returns:
        The cells that failed, with the message; the others are done.
    """
    failed = []
    pool = ThreadPoolExecutor(nj)
    jobs: dict[Future[None], Cell] = {}
    try:
        for cell in cells:
            # Submitted before, and so begun: to wait for it blocks nobody.
            plain = replace(cell, method=cell.selects)
            before = [job for job, other in jobs.items() if other == plain]
            jobs[pool.submit(_run_after, simulation, cell, before)] = cell
        for job in progress(as_completed(jobs), len(cells), unit="cell"):
            if error := job.exception():
                failed.append((jobs[job], str(error)))
            write_curve(simulation)
    finally:
        # Interrupted, it starts no more of them.
        pool.shutdown(cancel_futures=True)
    return failed


def _run_after(simulation: Simulation, cell: Cell, before: Sequence[Future[None]]) -> None:
    wait(before)
    simulation.run(cell)


def write_curve(simulation: Simulation) -> None:
    """Join the points of all cells that are done, also of those asked for earlier.

    RESULT_COLUMNS go to ``curve.tsv``, the times to ``times.tsv``.
    """
    points = sorted(_points(simulation), key=lambda point: point.key)
    rows = [[getattr(point, name) for name in RESULT_COLUMNS] for point in points]
    write_rows(simulation.directory / "curve.tsv", RESULT_COLUMNS, rows)
    names = ("method", "seed", "round", "budget", TIME_COLUMN)
    times = [[getattr(point, name) for name in names] for point in points]
    write_rows(simulation.directory / "times.tsv", names, times)


def _points(simulation: Simulation) -> list[Point]:
    done: list[Point] = []
    for path in sorted((simulation.directory / "cells").glob("*/*/seed*/curve.tsv")):
        points = read_curve(path)
        # The budget is that of all rounds: before the last it is not spent.
        if any(point.round == str(simulation.rounds) for point in points):
            done += points
    # The seed model is one point, whatever cells it was decoded for.
    first = min((int(point.seed) for point in done), default=0)
    return list({p.key: p for p in done if p.round != "0" or p.seed == str(first)}.values())
