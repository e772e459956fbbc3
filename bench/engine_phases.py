"""What is measured, each as something that takes a few utterances at a time."""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from engine_models import MODELS, pool_of
from stopwatch import Stopwatch

Uids = Sequence[str]


class Bench:
    """A model, its pool, and the hypotheses that all ways get alike.

    Args:
        args: The command line's.
        recognizer: The model.
        keep_audio: Whether scoring passes find audio in memory; else they read it, as jobs do.

    Attributes:
        utterances: Utterance id -> the utterance, its audio in memory.
        slices: What takes a turn together: the engine's batches, which are training's, too.
        lists: Utterance id -> its hypotheses' token ids, and their weights.
    """

    def __init__(self, args: argparse.Namespace, recognizer: Any, keep_audio: bool = False):
        self.args, self.recognizer, self.keep_audio = args, recognizer, keep_audio
        pool = pool_of(args, recognizer.rate)
        self.utterances = {u.uid: u for u in (pool.read(uid) for uid in pool.keys)}
        self.slices = [
            [u.uid for u in batch] for batch in self._scorer("estimate").batches(self.all)
        ]
        self.lists: dict[str, tuple[list[tuple[int, ...]], list[float]]] = {}
        self.sources_found: dict[tuple[str, str], Any] = {}
        # Engines are kept: what they check once a job is no cost of a turn.
        self._passes: dict[tuple[str, str], ScoringPass] = {}
        self._scorers: dict[str, Any] = {}

    @property
    def all(self) -> list[Any]:
        """Every utterance."""
        return list(self.utterances.values())

    @cached_property
    def watch(self) -> Stopwatch:
        """A clock."""
        return Stopwatch(self.args.device)

    def seconds(self, uids: Uids) -> float:
        """Of audio."""
        return sum(self.utterances[uid].seconds for uid in uids)

    def best(self) -> dict[str, list[int]]:
        """Every utterance's transcript for training: the most probable alignment's."""
        from espnet_egl.hypotheses.ctc_sampling import collapse
        from espnet_egl.model.modes import scoring_mode

        found = {}
        for uid, utterance in self.utterances.items():
            with torch.no_grad(), scoring_mode(self.recognizer.model):
                encoded = self.recognizer.encode(utterance.speech)
                probs = self.recognizer.model.ctc.softmax(encoded.hidden)[0]
            blank = self.recognizer.model.blank_id
            (tokens,) = collapse(probs.argmax(1, keepdim=True).cpu(), blank)
            found[uid] = list(tokens) or [2]
        return found

    # ---- hypotheses ----

    def find_lists(self, uids: Uids) -> None:
        """The hypotheses of these, once, from where ``--hyp_source`` says.

        What a scoring pass has found already is taken from there.
        """
        from espnet_egl.model.modes import scoring_mode

        name = self.args.hyp_source
        for uid in (uid for uid in uids if uid not in self.lists):
            with torch.no_grad(), scoring_mode(self.recognizer.model):
                encoded = self.recognizer.encode(self.utterances[uid].speech)
                if (name, uid) not in self.sources_found:
                    self.source(name)(self.recognizer, uid, encoded)
                nbest = self.sources_found[name, uid]
                if name == "beam":
                    # Of random weights a decoder's probability means nothing at all; CTC's does.
                    trained = MODELS[self.args.model].trained
                    nbest = fill(self.recognizer, encoded, nbest, self.args.hypotheses, trained)
            self.lists[uid] = [h.tokens for h in nbest.hypotheses], nbest.weights

    def source(self, name: str) -> Any:
        """Where the hypotheses of a scoring pass come from; what it finds is kept."""
        from espnet_egl.hypotheses import hypothesis_sources

        kind, kept = hypothesis_sources.get(name), self.sources_found

        class Keeping(kind):  # type: ignore[misc, valid-type]
            def __call__(self, recognizer: Any, uid: str, encoded: Any) -> Any:
                kept[name, uid] = super().__call__(recognizer, uid, encoded)
                return kept[name, uid]

        source = Keeping(size=self.args.hypotheses)
        source.prepare(self.recognizer)
        return source

    def _found(self, uids: Uids) -> tuple[list[Any], list[Any]]:
        lists = [self.lists[uid] for uid in uids]
        return [hypotheses for hypotheses, _ in lists], [weights for _, weights in lists]

    # ---- phases ----

    def reference(self, uids: Uids) -> dict[str, float]:
        """The definition: a forward and a backward pass for every hypothesis."""
        from espnet_egl.gradients.parameters import select_parameters
        from espnet_egl.gradients.reference import expected_gradient_length

        parameters = select_parameters(self.recognizer.model)
        return {
            uid: expected_gradient_length(
                self.recognizer, self.utterances[uid].speech, *self.lists[uid], parameters
            )
            for uid in uids
        }

    def engine(self, mode: str, uids: Uids) -> dict[str, list[float]]:
        """The same hypotheses through the engine: value, standard error, backward passes."""
        scorer = self._scorers.setdefault(mode, self._scorer(mode))
        found = {}
        for batch in scorer.batches([self.utterances[uid] for uid in uids]):
            names = [u.uid for u in batch]
            with scorer.engine.encode([u.speech for u in batch]) as encoded:
                results = encoded.expected_gradient_lengths(*self._found(names))
            for uid, result in zip(names, results, strict=True):
                found[uid] = [result.value, result.stderr, result.passes]
        return found

    def scoring_pass(self, source: str, mode: str = "estimate") -> ScoringPass:
        """A whole scoring pass, from audio to table, as stage 20 has it."""
        key = source, mode
        if key not in self._passes:
            scorer = self._scorer(mode, self.source(source))
            kept = self.utterances if self.keep_audio else None
            self._passes[key] = ScoringPass(self.args, self.recognizer, scorer, kept)
        return self._passes[key]

    def _scorer(self, mode: str, source: Any = None) -> Any:
        from espnet_egl.acquisition.egl import EGL
        from espnet_egl.gradients.engine import GradientEngine
        from espnet_egl.scoring.scorer import Scorer

        engine = GradientEngine(self.recognizer, mode=mode, directions=self.args.directions)
        scorer = Scorer(self.recognizer, source, {"egl": EGL()}, engine, self.args.batch_bins)
        if source is not None:
            scorer.prepare()
        return scorer


class ScoringPass:
    """:func:`score_pool`, as often as wanted; what it checks once a job, it checks once.

    Attributes:
        watch: Where its time goes: ``encoder``, ``hypotheses``, of these ``search``,
            ``gradients``; the rest is audio, confidences and tables.
        check: Seconds of the check against plain autograd, which a job does once.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        recognizer: Any,
        scorer: Any,
        kept: Mapping[str, Any] | None = None,
    ):
        self.args, self.recognizer, self.scorer, self._kept = args, recognizer, scorer, kept
        self.watch = Stopwatch(args.device)
        self.check: float | None = None
        self.watch.watch(scorer.source, "hypotheses")
        self.watch.watch_engine(scorer.engine)
        self._verify, scorer.engine.verify = scorer.engine.verify, self._check

    def _check(self, speech: Sequence[Any]) -> None:
        if self.check is None:
            self.check = 0.0
            _, self.check = self.watch.timed(lambda: self._verify(speech))

    def __call__(self, uids: Uids) -> dict[str, float]:
        """Score these.

        Returns:
            Utterance -> its score.
        """
        from espnet_egl.store.tables import read_rows

        shutil.rmtree(self._output, ignore_errors=True)
        self._output.mkdir(parents=True)
        self._score(uids)
        rows = list(read_rows(self._output / "scores.tsv"))
        if len(rows) != len(uids):
            raise SystemExit(f"{len(rows)} of {len(uids)} scored: {self._output}/skipped.tsv")
        return {row["utterance"]: float(row["score_egl"]) for row in rows}

    def finish_again(self) -> float:
        """Seconds that a job takes where one utterance, the pool, is done already."""
        first = next(iter(pool_of(self.args, self.recognizer.rate).keys))
        self([first])
        return self.watch.timed(lambda: self._score([first]))[1]

    @property
    def _output(self) -> Path:
        return self.args.work_dir / "pass"

    def _score(self, uids: Uids) -> None:
        from espnet_egl.scoring.shard import score_pool

        search = self.recognizer.search
        self.recognizer.search = self.watch.counted(search, "search")
        pool = pool_of(self.args, self.recognizer.rate, uids, self._kept)
        try:
            score_pool(pool, self.scorer, self._output, num_workers=0)
        finally:
            self.recognizer.search = search


def fill(recognizer: Any, encoded: Any, nbest: Any, size: int, trained: bool) -> Any:
    """A list of the search with ``size`` hypotheses.

    With few symbols ESPnet's search finds fewer than 100; a wider one would find neighbours of
    what it has, so that the most probable of them are added.
    """
    from espnet_egl.hypotheses.rescoring import rescore

    posterior = "auto" if trained else "ctc"
    tokens = [list(h.tokens) for h in nbest.hypotheses]
    if len(tokens) < size:
        more = neighbours(tokens, 3 * size, encoded.frames, recognizer.model.vocab_size)
        tokens += [list(h.tokens) for h in rescore(recognizer, encoded, more, posterior).hypotheses]
    # By probability again, with the exact one.
    return rescore(recognizer, encoded, tokens[:size], posterior)


def neighbours(found: list[list[int]], count: int, frames: int, vocabulary: int) -> list[Any]:
    """Other transcripts, each a seeded edit of one symbol away from one that was found."""
    from espnet_egl.hypotheses.rescoring import has_ctc_alignment

    draw = random.Random(0)
    unique: dict[tuple[int, ...], None] = {}
    known = {tuple(y) for y in found}
    for _ in range(100 * count):
        tokens = list(draw.choice(found))
        place = draw.randrange(len(tokens) + 1)
        insert = [draw.randrange(2, vocabulary - 1)] if draw.random() < 2 / 3 else []
        tokens[place : place + draw.randrange(2)] = insert
        if tuple(tokens) not in known and has_ctc_alignment(tokens, frames):
            unique[tuple(tokens)] = None
        if len(unique) == count:
            break
    return [list(y) for y in unique]


def count_operators(bench: Bench, size: int) -> float:
    """Dispatched aten events an utterance of a scoring pass from samples, in batches of ``size``.

    They cost time whatever the length: of large models two seconds of speech tell as much.
    """
    from dataclasses import replace

    longest = 2 * bench.recognizer.rate
    scorer = bench.scoring_pass("ctc_sample").scorer
    # One batch, or two of one; the same utterances again if there are fewer.
    count = max(2, size)
    spoken = [
        replace(u, uid=f"{u.uid}-{i}", speech=u.speech[:longest])
        for i, u in enumerate(itertools.islice(itertools.cycle(bench.all), count))
    ]
    spoken.sort(key=lambda u: -len(u.speech))
    batches = [spoken[i : i + size] for i in range(0, count, size)]
    scorer.score(batches[0])
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
        for batch in batches:
            scorer.score(batch)
    events = sum(e.count for e in profiled.key_averages() if e.key.startswith("aten::"))
    return events / sum(map(len, batches))


def profile_of(bench: Bench, uids: Uids) -> Any:
    """PyTorch's averages by operator of an estimate from samples, of a few utterances."""
    batch = [bench.utterances[uid] for uid in uids]
    scorer = bench.scoring_pass("ctc_sample").scorer
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if bench.args.device.startswith("cuda"):
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as profiled:
        scorer.score(batch)
    return profiled.key_averages()
