"""The files that a report is made from, each read once."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet_egl.errors import DataError
from espnet_egl.loop import worth
from espnet_egl.loop.ledger import Total, read_asked, totals
from espnet_egl.loop.returns import RETURNED_COLUMNS
from espnet_egl.report import makeup
from espnet_egl.report.language import Language
from espnet_egl.selection.budget import FREE, Prices
from espnet_egl.selection.select import SELECTION_COLUMNS, read_gone
from espnet_egl.store.files import read_manifest
from espnet_egl.store.tables import SKIPPED_COLUMNS, read_rows, read_scores

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Inputs:
    """What a report is made from; None or empty: not there.

    Attributes:
        al_dir: Of all rounds.
        score_dir: Of stage 20.
        select_dir: Of stage 21.
        annotate_dir: Of stage 22.
        labelled_dir: Of stage 23.
        train_dirs: Of the models that stage 24 trained.
        simulation_dir: Of a simulation, with its curve.
        data_dir: The pool's Kaldi data directory.
        curve_file: ``curve.tsv``.
        test_sets: Of it; empty: all.
        pilot_files: A pilot's figures, of every test set.
        gradient_length_file: Of asr_gradient_length.
        gradient_length_data: The Kaldi data directory it is of.
        config: The options' yaml.
        command: As it was typed.
        against: The method to compare with.
        seed_hours: Of the seed set; 0: nothing is foretold.
        prices: Of labelling, in place of the selection's and of the curve's costs.
        simulated: Whether the curve is a simulation's.
        nbest: Hypotheses of a clip that are shown.
        max_clips: Rows of a table of clips.
        max_audio: Clips of a table that can be heard.
        speech_lang: Of the audio, as in HTML's ``lang``.
        say: The report's language.
    """

    al_dir: Path | None = None
    score_dir: Path | None = None
    select_dir: Path | None = None
    annotate_dir: Path | None = None
    labelled_dir: Path | None = None
    train_dirs: tuple[Path, ...] = ()
    simulation_dir: Path | None = None
    data_dir: Path | None = None
    curve_file: Path | None = None
    test_sets: tuple[str, ...] = ()
    pilot_files: tuple[Path, ...] = ()
    gradient_length_file: Path | None = None
    gradient_length_data: Path | None = None
    config: Path | None = None
    command: str = ""
    against: str = "random"
    seed_hours: float = 0.0
    prices: Prices = FREE
    simulated: bool = False
    nbest: int = 5
    max_clips: int = 2000
    max_audio: int = 300
    speech_lang: str = ""
    say: Language = field(default_factory=Language)


@dataclass(frozen=True)
class Files:
    """What the files hold.

    Attributes:
        inputs: Where they are.
    """

    inputs: Inputs

    @cached_property
    def scores(self) -> pd.DataFrame | None:
        """The score table."""
        directory = self.inputs.score_dir
        return None if directory is None else read_scores(directory / "scores.tsv")

    @cached_property
    def selection(self) -> list[dict[str, str]]:
        """The rows of selection.tsv."""
        directory = self.inputs.select_dir
        if directory is None:
            return []
        path = directory / "selection.tsv"
        # Selections of before have no hashes.
        rows = read_rows(path, SELECTION_COLUMNS[:-1])
        scored = None
        if self.scores is not None:
            scored = {*self.scores["utterance"], *self.gone, *self.skipped}
        for row in rows:
            if scored is not None and row["utterance"] not in scored:
                raise DataError(
                    f"{path}: '{row['utterance']}' is not among the scores of "
                    f"{self.inputs.score_dir}; select again (stage 21)"
                )
        return rows

    @cached_property
    def gone(self) -> list[str]:
        """Utterances that were scored and are not in the pool any more."""
        directory = self.inputs.score_dir
        return [] if directory is None else [row[0] for row in read_gone(directory / "scores.tsv")]

    @cached_property
    def skipped(self) -> list[str]:
        """Utterances without a score: they cannot be read, or were set aside."""
        directory = self.inputs.score_dir
        if directory is None or not (path := directory / "skipped.tsv").exists():
            return []
        return [row["utterance"] for row in read_rows(path, SKIPPED_COLUMNS)]

    @cached_property
    def asked(self) -> list[Total]:
        """What annotators were asked, in all and by selection."""
        al_dir = self.inputs.al_dir
        if al_dir is None or not (clips := read_asked(al_dir)):
            return []
        return totals(al_dir, clips)

    @cached_property
    def rules(self) -> dict[str, Any]:
        """The selection's manifest."""
        return {} if self.inputs.select_dir is None else read_manifest(self.inputs.select_dir)

    @cached_property
    def prices(self) -> Prices:
        """Of labelling what is selected."""
        rules = self.rules
        if self.inputs.prices or not rules:
            return self.inputs.prices
        return Prices(rules["price_per_hour"], rules["price_per_clip"])

    @cached_property
    def maps(self) -> dict[str, dict[str, str]]:
        """What is known of the pool's clips."""
        directory = self.inputs.data_dir or self.inputs.select_dir
        return {} if directory is None else makeup.read_maps(directory)

    @cached_property
    def test_sets(self) -> list[str]:
        """Of the curve that has retrained models."""
        path = self.inputs.curve_file
        if path is None:
            return []
        rows = read_rows(path, ("test_set", "round"))
        known = sorted({row["test_set"] for row in rows if row["round"] != "0"})
        if unknown := [name for name in self.inputs.test_sets if name not in known]:
            raise DataError(f"{path}: no round of test set '{unknown[0]}' is in it")
        return list(self.inputs.test_sets) or known

    @cached_property
    def seconds(self) -> float:
        """Of audio that is selected."""
        return sum(float(row["seconds"]) for row in self.selection)

    @cached_property
    def returned(self) -> list[dict[str, str]]:
        """The rows of returned.tsv."""
        directory = self.inputs.labelled_dir
        return [] if directory is None else read_rows(directory / "returned.tsv", RETURNED_COLUMNS)

    @property
    def states(self) -> dict[str, str]:
        """Clip that was handed over -> where its transcript is."""
        return {row["utterance"]: row["state"] for row in self.returned}

    def points(self, test_set: str) -> pd.DataFrame:
        """The learning curves of a test set."""
        assert self.inputs.curve_file is not None
        return worth.read_points(self.inputs.curve_file, test_set)

    def prices_beside(self, points: pd.DataFrame) -> Prices:
        """Those that were asked for; of the selection only where the curve has no costs, which
        may be of time that was measured."""
        told = (points["cost"] > 0).any()
        return self.inputs.prices if told else self.prices
