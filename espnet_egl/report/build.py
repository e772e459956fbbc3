"""From the files of rounds to a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet_egl.data.kaldi import read_table, read_utterances
from espnet_egl.errors import BudgetError
from espnet_egl.loop.pilot import Figures, tell
from espnet_egl.loop.tables import Table, comparison, number_of_clips
from espnet_egl.report import clips, headline, makeup, plots, provenance, rankings
from espnet_egl.report.answer import answer
from espnet_egl.report.audio import UNHEARD
from espnet_egl.report.blocks import Block, Grid, Listing, Paragraphs, Report, Section
from espnet_egl.report.inputs import Files, Inputs
from espnet_egl.report.language import Language
from espnet_egl.selection.budget import Prices
from espnet_egl.selection.ranking import split_methods
from espnet_egl.store.files import read_manifest
from espnet_egl.store.tables import methods_of

if TYPE_CHECKING:
    import pandas as pd

# A data directory, its utterances, the most -> utterance and its file, relative to the page.
Cut = Callable[[Path, Sequence[str]], dict[str, str]]


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
    def files(self) -> Files:
        """What they hold."""
        return Files(self.inputs)

    def build(self) -> Report:
        """The whole report.

        Raises:
            DataError: A file is missing or malformed.
        """
        say = self.inputs.say
        sections = [
            Section("worth", say("What labelling bought"), self._worth()),
            Section("asked", say("What annotators were asked"), self._asked()),
            Section("methods", say("What the methods have in common"), self._methods()),
            Section("makeup", say("What the pool and the selection consist of"), self._makeup()),
            Section("selected", say("The selected clips"), self._selected()),
            Section("left", say("What was left out, and why"), self._left_out()),
            Section("wrong", say("Likely wrong transcripts"), self._suspects()),
            Section("made", say("How this was made"), self._made()),
        ]
        return Report(
            say("Active learning: what was chosen, and what it was worth"),
            [(heading, lines) for heading, lines in answer(self.files) if lines],
            [section for section in sections if section.blocks],
            self.inputs.speech_lang,
            headline.figures(self.files),
            headline.picture(self.files),
        )

    def _worth(self) -> list[Block]:
        say = self.inputs.say
        blocks: list[Block] = []
        for path in self.inputs.pilot_files:
            blocks.append(Paragraphs(tell(Figures.read(path), say)))
        for test_set in self.files.test_sets:
            points = self.files.points(test_set)
            axes = ["hours", "utterances"] + ["cost"] * bool((points["cost"] > 0).any())
            seeds = points[points["round"] > 0].groupby("method")["seed"].nunique().max()
            blocks.append(Paragraphs([_band_note(int(seeds), say)]))
            for axis in axes:
                blocks.append(
                    plots.learning_curves(points, axis, test_set, self.inputs.against, say)
                )
            blocks += map(Grid, self._comparison(test_set, self.files.prices_beside(points)))
        return blocks

    def _asked(self) -> list[Block]:
        say = self.inputs.say
        if not self.files.asked:
            return []
        head = [say("selection"), say("asked"), say("back"), say("still out"), say("spent")]
        rows = [
            [
                total.place or say("all"),
                *(
                    say("{clips}, {hours:.3g} h", clips=number_of_clips(c, say), hours=h)
                    for c, h in (total.asked, total.back, total.out)
                ),
                "-" if total.spent is None else f"{total.spent:.2f}",
            ]
            for total in self.files.asked
        ]
        return [Grid(Table(say("Clips and hours, by round and tag"), head, rows))]

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
        table, say = self.files.scores, self.inputs.say
        if table is None or table.empty:
            return []
        methods = methods_of(table)
        if not methods:
            return []
        own = split_methods(self.files.rules["method"])[0] if self.files.rules else "egl"
        first = own if own in methods else methods[0]
        methods = [first, *(m for m in methods if m != first)]
        uids = [row["utterance"] for row in self.files.selection]
        blocks: list[Block] = [plots.histograms(table, uids, methods, say)]
        if len(methods) < 2:
            return blocks
        blocks.insert(0, plots.ranks(table, methods, first, say))
        title = say("Rank correlation over the pool (Spearman)")
        blocks.append(Grid(_square(title, rankings.correlations(table, methods), "{:z.2f}", say)))
        budget = self.files.rules.get("budget", "20%")
        try:
            found = rankings.choices(table, methods, budget, self.files.prices)
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
        if self.files.scores is None or not self.files.selection:
            return []
        pool = self.files.scores.set_index("utterance")["seconds"]
        chosen = pool[pool.index.isin([row["utterance"] for row in self.files.selection])]
        return list(makeup.shares(pool, chosen, self.files.maps, self.inputs.say))

    def _selected(self) -> list[Block]:
        inputs, selection = self.inputs, self.files.selection
        if not selection:
            return []
        shown = selection[: inputs.max_clips]
        assert inputs.select_dir is not None
        uids = [row["utterance"] for row in shown]
        nbest = None if inputs.score_dir is None else inputs.score_dir / "nbest.tsv"
        labelled = inputs.labelled_dir
        known = clips.Known(
            nbest=clips.read_nbest(nbest, uids, inputs.nbest) if nbest and nbest.exists() else {},
            scores=None if self.files.scores is None else self.files.scores.set_index("utterance"),
            maps=self.files.maps,
            states=self.files.states,
            texts={} if labelled is None else read_table(labelled / "text"),
            audio=self.cut(inputs.select_dir, uids[: inputs.max_audio]),
        )
        blocks: list[Block] = [
            clips.selected(self.files.selection, known, inputs.max_clips, inputs.say)
        ]
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
        yield say("What the selection was made with"), self.files.rules
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
