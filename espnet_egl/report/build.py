"""From the files of rounds to a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet_egl.data.kaldi import read_table, read_utterances
from espnet_egl.errors import BudgetError, DataError
from espnet_egl.loop import worth
from espnet_egl.loop.pilot import Figures, tell
from espnet_egl.loop.returns import RETURNED_COLUMNS
from espnet_egl.loop.tables import Table, amount, comparison, number_of_clips
from espnet_egl.report import clips, findings, makeup, plots, provenance, rankings
from espnet_egl.report.audio import UNHEARD
from espnet_egl.report.blocks import Block, Grid, Listing, Paragraphs, Report, Section
from espnet_egl.report.language import Language
from espnet_egl.selection.budget import FREE, Prices
from espnet_egl.selection.ranking import split_methods
from espnet_egl.selection.select import SELECTION_COLUMNS
from espnet_egl.store.files import read_manifest
from espnet_egl.store.tables import methods_of, number_in, read_rows, read_scores

if TYPE_CHECKING:
    import pandas as pd

# A data directory, its utterances, the most -> utterance and its file, relative to the page.
Cut = Callable[[Path, Sequence[str]], dict[str, str]]


@dataclass(frozen=True)
class Inputs:
    """What a report is made from; None or empty: not there.

    Attributes:
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
class Builder:
    """Reads what there is, and tells it.

    Attributes:
        inputs: The files.
        cut: Makes clips that a browser plays.
    """

    inputs: Inputs
    cut: Cut

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
        rows = read_rows(path, SELECTION_COLUMNS)
        scored = None if self.scores is None else set(self.scores["utterance"])
        for row in rows:
            if scored is not None and row["utterance"] not in scored:
                raise DataError(
                    f"{path}: '{row['utterance']}' is not among the scores of "
                    f"{self.inputs.score_dir}; select again (stage 21)"
                )
        return rows

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

    def build(self) -> Report:
        """The whole report.

        Raises:
            DataError: A file is missing or malformed.
        """
        say = self.inputs.say
        sections = [
            Section("worth", say("What labelling bought"), self._worth()),
            Section("methods", say("What the methods have in common"), self._methods()),
            Section("makeup", say("What the pool and the selection consist of"), self._makeup()),
            Section("selected", say("The selected clips"), self._selected()),
            Section("left", say("What was left out, and why"), self._left_out()),
            Section("wrong", say("Likely wrong transcripts"), self._suspects()),
            Section("made", say("How this was made"), self._made()),
        ]
        return Report(
            say("Active learning: what was chosen, and what it was worth"),
            [(heading, lines) for heading, lines in self._answer() if lines],
            [section for section in sections if section.blocks],
            self.inputs.speech_lang,
        )

    def _answer(self) -> list[tuple[str, list[str]]]:
        say, found = self.inputs.say, []
        for test_set in self.test_sets:
            points = self._points(test_set)
            found.append(
                findings.measured(
                    points,
                    test_set,
                    self.rules.get("method", ""),
                    self.inputs.against,
                    self.inputs.seed_hours,
                    self._prices_beside(points),
                    say,
                )
            )
        bought = [line for finding in found for line in finding.bought]
        # Of several test sets, what nothing is foretold of is said once.
        foretold = dict.fromkeys(tuple(finding.following) for finding in found)
        following = [line for lines in foretold for line in lines]
        sure = list(dict.fromkeys(line for finding in found for line in finding.sure))
        if not found:
            bought = [say("Nothing is measured yet: no model was trained on what was selected.")]
            following = [
                say(
                    "That is told by the learning curve, when transcripts are back (stages 23 to "
                    "26). A pilot of 300 clips tells whether labelling pays here, and choosing."
                )
            ]
            sure = [
                say(
                    "A score says what the model expects to learn from a clip, not what it will "
                    "learn. Whether this choice is better than drawing at random is not known yet."
                )
            ]
        return [
            (say("What was selected"), self._what_was_selected()),
            (say("What it costs"), self._what_it_costs()),
            (say("What it bought so far"), bought),
            (say("What the next budget should buy"), following),
            (say("How sure that is"), sure),
        ]

    def _what_was_selected(self) -> list[str]:
        if not self.selection:
            return []
        say, rules = self.inputs.say, self.rules
        words = {
            "audio": amount(self._seconds, say),
            "method": rules["method"],
            "budget": rules["budget"],
        }
        if self.scores is None:
            clips = number_of_clips(len(self.selection), say)
            lines = [say("{clips}, {audio}, by {method} (budget {budget}).", clips=clips, **words)]
        else:
            lines = [
                say(
                    "{clips} of {pool} clips, {audio} of {total}, by {method} (budget {budget}).",
                    clips=len(self.selection),
                    pool=len(self.scores),
                    total=amount(float(self.scores["seconds"].sum()), say),
                    **words,
                )
            ]
        if self.inputs.simulated:
            lines.append(
                say(
                    "This is one selection of a simulation, random seed {seed}; the learning "
                    "curves have all of them.",
                    seed=rules["seed"],
                )
            )
        drawn = sum(row["reason"] == "random" for row in self.selection)
        if drawn:
            lines.append(
                say("{n} of them are drawn at random: they tell what the pool is like.", n=drawn)
            )
        if self._states:
            done = sum(state != "out" for state in self._states.values())
            lines.append(say("{n} of them came back from transcription.", n=done))
        return lines

    def _what_it_costs(self) -> list[str]:
        say, prices = self.inputs.say, self.prices
        if not self.selection:
            return []
        if prices:
            estimate = say(
                "{total:.2f}, at {hour:g} an hour of audio and {clip:g} a clip.",
                total=prices.total(len(self.selection), self._seconds / 3600),
                hour=prices.per_hour,
                clip=prices.per_clip,
            )
        else:
            estimate = say(
                "{audio} of listening and typing. No prices were given: with --price_per_hour "
                "and --price_per_clip the report counts money.",
                audio=amount(self._seconds, say),
            )
        return [estimate, *self._worked()]

    def _worked(self) -> list[str]:
        """How long annotators worked, where their tool tells."""
        directory, say = self.inputs.labelled_dir, self.inputs.say
        if directory is None:
            return []
        seconds = [
            number_in(row, "annotator_seconds", directory / "returned.tsv")
            for row in self._returned
            if row["annotator_seconds"]
        ]
        if not seconds:
            return []
        worked = amount(sum(seconds), say)
        return [
            say(
                "Annotators worked {worked} on {clips}.",
                worked=worked,
                clips=number_of_clips(len(seconds), say),
            )
        ]

    @cached_property
    def _seconds(self) -> float:
        return sum(float(row["seconds"]) for row in self.selection)

    @cached_property
    def _returned(self) -> list[dict[str, str]]:
        directory = self.inputs.labelled_dir
        return [] if directory is None else read_rows(directory / "returned.tsv", RETURNED_COLUMNS)

    @property
    def _states(self) -> dict[str, str]:
        return {row["utterance"]: row["state"] for row in self._returned}

    def _points(self, test_set: str) -> pd.DataFrame:
        assert self.inputs.curve_file is not None
        return worth.read_points(self.inputs.curve_file, test_set)

    def _prices_beside(self, points: pd.DataFrame) -> Prices:
        """Those that were asked for; of the selection only where the curve has no costs, which
        may be of time that was measured."""
        told = (points["cost"] > 0).any()
        return self.inputs.prices if told else self.prices

    def _worth(self) -> list[Block]:
        say = self.inputs.say
        blocks: list[Block] = []
        for path in self.inputs.pilot_files:
            blocks.append(Paragraphs(tell(Figures.read(path), say)))
        for test_set in self.test_sets:
            points = self._points(test_set)
            axes = ["hours", "utterances"] + ["cost"] * bool((points["cost"] > 0).any())
            seeds = points[points["round"] > 0].groupby("method")["seed"].nunique().max()
            blocks.append(Paragraphs([_band_note(int(seeds), say)]))
            for axis in axes:
                blocks.append(
                    plots.learning_curves(points, axis, test_set, self.inputs.against, say)
                )
            blocks += map(Grid, self._comparison(test_set, self._prices_beside(points)))
        return blocks

    def _comparison(self, test_set: str, prices: Prices) -> list[Table]:
        assert self.inputs.curve_file is not None
        return comparison(
            self.inputs.curve_file,
            test_set,
            self.inputs.against,
            self.inputs.seed_hours,
            prices,
            self.inputs.say,
        )

    def _methods(self) -> list[Block]:
        table, say = self.scores, self.inputs.say
        if table is None or table.empty:
            return []
        methods = methods_of(table)
        if not methods:
            return []
        own = split_methods(self.rules["method"])[0] if self.rules else "egl"
        first = own if own in methods else methods[0]
        methods = [first, *(m for m in methods if m != first)]
        uids = [row["utterance"] for row in self.selection]
        blocks: list[Block] = [plots.histograms(table, uids, methods, say)]
        if len(methods) < 2:
            return blocks
        blocks.insert(0, plots.ranks(table, methods, first, say))
        title = say("Rank correlation over the pool (Spearman)")
        blocks.append(Grid(_square(title, rankings.correlations(table, methods), "{:.2f}", say)))
        budget = self.rules.get("budget", "20%")
        try:
            found = rankings.choices(table, methods, budget, self.prices)
        except BudgetError:
            # Of an earlier pool, or of clips that filters let through.
            return blocks
        title = say(
            "Audio that two methods have in common, of each row's selection of {budget}",
            budget=budget,
        )
        shares = 100 * rankings.overlaps(found)
        blocks.append(Grid(_square(title, shares, "{:.0f} %", say)))
        return blocks

    def _makeup(self) -> list[Block]:
        if self.scores is None or not self.selection:
            return []
        pool = self.scores.set_index("utterance")["seconds"]
        chosen = pool[pool.index.isin([row["utterance"] for row in self.selection])]
        return list(makeup.shares(pool, chosen, self.maps, self.inputs.say))

    def _selected(self) -> list[Block]:
        if not self.selection:
            return []
        inputs, shown = self.inputs, self.selection[: self.inputs.max_clips]
        assert inputs.select_dir is not None
        uids = [row["utterance"] for row in shown]
        nbest = None if inputs.score_dir is None else inputs.score_dir / "nbest.tsv"
        labelled = inputs.labelled_dir
        known = clips.Known(
            nbest=clips.read_nbest(nbest, uids, inputs.nbest) if nbest and nbest.exists() else {},
            scores=None if self.scores is None else self.scores.set_index("utterance"),
            maps=self.maps,
            states=self._states,
            texts={} if labelled is None else read_table(labelled / "text"),
            audio=self.cut(inputs.select_dir, uids[: inputs.max_audio]),
        )
        blocks: list[Block] = [clips.selected(self.selection, known, inputs.max_clips, inputs.say)]
        if len(uids) > inputs.max_audio:
            text = inputs.say("The first {n} can be heard.", n=inputs.max_audio)
            blocks.insert(0, Paragraphs([text]))
        return blocks

    def _left_out(self) -> list[Block]:
        inputs, say = self.inputs, self.inputs.say
        measured = inputs.gradient_length_file
        candidates = (
            (say("not scored"), inputs.score_dir, "skipped.tsv"),
            (say("filtered"), inputs.select_dir, "filtered.tsv"),
            (say("not handed over"), inputs.annotate_dir, "skipped.tsv"),
            # What has no gradient length is the likeliest to be transcribed wrong.
            (say("transcribed, not measured"), measured and measured.parent, "skipped.tsv"),
        )
        paths = {
            what: directory / name
            for what, directory, name in candidates
            if directory is not None and (directory / name).exists()
        }
        found = clips.read_left_out(paths)
        if not found:
            return []
        audio = self._audio_of(found[: inputs.max_clips])
        counts, records = clips.left_out(found, audio, inputs.max_clips, inputs.say)
        return [Grid(counts), records]

    def _audio_of(self, found: Sequence[clips.LeftOut]) -> dict[str, str]:
        """Of what was left out though it can be heard; nothing where the pool is gone."""
        directory = self.inputs.data_dir
        if directory is None or not (directory / "wav.scp").exists():
            return {}
        # A clip may have been left out twice, by its id in two files.
        uids = dict.fromkeys(clip.uid for clip in found if clip.reason not in UNHEARD)
        known = uids.keys() & read_utterances(directory)
        return self.cut(directory, [u for u in uids if u in known][: self.inputs.max_audio])

    def _suspects(self) -> list[Block]:
        inputs = self.inputs
        if inputs.gradient_length_file is None:
            return []
        rows = clips.read_suspects(inputs.gradient_length_file, inputs.max_clips)
        audio, uids = {}, [row["utterance"] for row in rows]
        if inputs.gradient_length_data is not None:
            audio = self.cut(inputs.gradient_length_data, uids[: inputs.max_audio])
        text = inputs.say(
            "Transcribed clips by the length of the training loss's gradient: a transcript that "
            "does not fit its audio stands near the top."
        )
        records = clips.suspects(rows, inputs.gradient_length_data, audio, inputs.say)
        return [Paragraphs([text]), records]

    def _made(self) -> list[Block]:
        inputs, say = self.inputs, self.inputs.say
        blocks: list[Block] = []
        if inputs.command:
            blocks.append(Listing(say("Command"), inputs.command))
        if inputs.config is not None:
            text = inputs.config.read_text(encoding="utf-8")
            blocks.append(Listing(say("Configuration"), text))
        blocks.append(Grid(provenance.versions_table(say), folded=True))
        blocks.append(Grid(provenance.files_table(self._files(), say), folded=True))
        tables = {title: settings for title, settings in self._settings() if settings}
        for title, settings in tables.items():
            blocks.append(Grid(provenance.manifest_table(title, settings, say), folded=True))
        return blocks

    def _settings(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Of every stage: what it is called, and what its results were made with."""
        inputs, say = self.inputs, self.inputs.say
        if inputs.score_dir is not None:
            found = provenance.scoring_manifest(inputs.score_dir)
            yield say("What the scores were made with"), found
            yield say("What scoring came to"), provenance.run_record(inputs.score_dir)
        yield say("What the selection was made with"), self.rules
        for directory in inputs.train_dirs:
            title = say("What a model was trained with: {directory}", directory=directory)
            yield title, provenance.training_manifest(directory)
        if inputs.simulation_dir is not None:
            found = read_manifest(inputs.simulation_dir)
            found |= provenance.run_record(inputs.simulation_dir)
            yield say("What the simulation was made with"), found

    def _files(self) -> list[Path]:
        inputs = self.inputs
        candidates = [inputs.curve_file, inputs.gradient_length_file]
        for directory, names in (
            (inputs.score_dir, ("scores.tsv", "nbest.tsv", "skipped.tsv")),
            (inputs.select_dir, ("selection.tsv", "filtered.tsv")),
            (inputs.annotate_dir, ("skipped.tsv",)),
            (inputs.labelled_dir, ("text", "returned.tsv")),
        ):
            candidates += [] if directory is None else [directory / name for name in names]
        return [path for path in candidates if path is not None and path.exists()]


def _band_note(seeds: int, say: Language) -> str:
    if seeds > 1:
        return say("The bands are 95 % intervals over {n} random seeds.", n=seeds)
    return say("The bands are 95 % intervals over the utterances of the test set.")


def _square(title: str, matrix: pd.DataFrame, form: str, say: Language) -> Table:
    rows = [
        [str(name), *(form.format(v) if v == v else "-" for v in matrix.loc[name])]
        for name in matrix.index
    ]
    return Table(title, [say("method"), *map(str, matrix.columns)], rows)
