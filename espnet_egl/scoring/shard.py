"""Stage 20: one pass over the pool computes every requested method's score.

A shard keeps a journal, one JSON line per utterance, written as it goes. A killed job
started again reads it, scores what is missing there, and ends with the same bytes.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from espnet_egl.acquisition import AbsAcquisition, Evidence, Truth
from espnet_egl.acquisition.confidence import Confidence
from espnet_egl.acquisition.egl import EGL
from espnet_egl.data.pool import Pool, read_ahead
from espnet_egl.errors import ConfigError, DataError, EGLError, StorageError, UtteranceError
from espnet_egl.gradients.engine import GradientEngine
from espnet_egl.hypotheses import AbsHypothesisSource
from espnet_egl.hypotheses.rescoring import MASS_TOLERANCE, has_ctc_alignment
from espnet_egl.model.recognizer import Encoded, Recognizer, scoring_mode
from espnet_egl.progress import progress
from espnet_egl.scoring.journal import Journal
from espnet_egl.scoring.records import Summary, peak_memory
from espnet_egl.scoring.verification import COLUMNS, Verifier, describe, sample, write_verified
from espnet_egl.store import embeddings
from espnet_egl.store.files import verify_checksums, write_checksums, write_lines
from espnet_egl.store.tables import (
    BASE_COLUMNS,
    NBEST_COLUMNS,
    SKIPPED_COLUMNS,
    known_columns,
    one_line,
    read_word_lines,
    score_column,
    score_row,
    word_row,
    write_rows,
    write_words,
)
from espnet_egl.types import NBest, ScoredUtterance, Skipped, Utterance

logger = logging.getLogger(__name__)

# One clip that breaks the model is listed; so many in a row are a broken set-up.
FAILURES_IN_A_ROW = 10
FAILED = "unexpected_error"
# What a clip on a disk that is gone looks like, and a broken one.
UNREADABLE = frozenset({"unreadable_audio", "failed_pipe", FAILED})

# Of a shard, with a checksum: what merging takes from it.
TABLES = ("scores.tsv", "nbest.tsv", "skipped.tsv", "words.ctm", embeddings.NAME)

# Utterances read before they are cut into batches of similar length.
WINDOW = 128

# Of a batch, in samples: half a minute at 16 kHz.
BATCH_BINS = 500_000


@dataclass(frozen=True)
class Scorer:
    """All that turns utterances into rows.

    Attributes:
        recognizer: The model.
        source: Where hypotheses come from.
        methods: Name -> method.
        engine: Needed if any method needs gradients.
        batch_bins: An upper bound for (utterances x samples of the longest) of a batch.
        confidence: What measures every best hypothesis and its words, whether or not it is
            one of the methods.
        temperature: Of P(y | x) in EGL, see :meth:`.NBest.tempered`.
        texts: Utterance -> transcript, for methods that need the truth.
        skip_untranscribed: Leave out what has no transcript that could be trained on, where
            methods are fitted; else oracles give it 0, and the others what they always give.
        detector: Measures the seconds of speech, if they are wanted.
    """

    recognizer: Recognizer
    source: AbsHypothesisSource
    methods: Mapping[str, AbsAcquisition]
    engine: GradientEngine | None = None
    batch_bins: int = BATCH_BINS
    confidence: Confidence = field(default_factory=Confidence)
    temperature: float = 1.0
    texts: Mapping[str, str] | None = None
    skip_untranscribed: bool = True
    detector: Callable[[Utterance], float] | None = None

    def prepare(self) -> None:
        """Check the options against the model.

        Raises:
            ConfigError: They do not fit it.
        """
        self.source.prepare(self.recognizer)
        self.confidence.prepare(self.recognizer)
        for name, method in self.methods.items():
            method.prepare(self.recognizer)
            if method.needs_truth and self.texts is None:
                raise ConfigError(
                    f"--methods {name} needs the transcripts: give them with --text. It is an "
                    "oracle, for utterances that are transcribed already"
                )

    @property
    def columns(self) -> list[str]:
        """Of the score table, after BASE_COLUMNS."""
        details = [column for method in self._in_order().values() for column in method.columns]
        speech = [] if self.detector is None else ["speech_seconds"]
        return [*map(score_column, self._in_order()), *details, *speech, "audio_hash"]

    def _in_order(self) -> dict[str, AbsAcquisition]:
        """The methods, those last that look at what the others found."""
        return dict(sorted(self.methods.items(), key=lambda item: item[1].needs_columns))

    @property
    def wants_true_gradients(self) -> bool:
        """Whether the transcript's own gradient is asked for."""
        return any(m.needs_truth and m.needs_gradients for m in self.methods.values())

    def batches(self, utterances: Sequence[Utterance]) -> list[list[Utterance]]:
        """Cut utterances into batches of similar length, the longest first."""
        if self.engine is None or not self.engine.batches:
            return [[utterance] for utterance in utterances]
        found: list[list[Utterance]] = []
        for utterance in sorted(utterances, key=lambda u: (-len(u.speech), u.uid)):
            if found and len(found[-1][0].speech) * (len(found[-1]) + 1) <= self.batch_bins:
                found[-1].append(utterance)
            else:
                found.append([utterance])
        return found

    def score(self, batch: Sequence[Utterance]) -> list[ScoredUtterance | Skipped]:
        """Score utterances together; where that fails, fewer of them.

        Raises:
            ConfigError: And other errors that no other utterance would mend.
        """
        try:
            return self._score(batch)
        except UtteranceError as e:
            if len(batch) == 1:
                return [Skipped(batch[0].uid, e.reason, e.detail)]
        except EGLError:
            raise
        except Exception as e:
            if len(batch) == 1:
                logger.exception(f"{batch[0].uid}: unexpected error")
                reason = "out_of_memory" if is_out_of_memory(e) else FAILED
                return [Skipped(batch[0].uid, reason, f"{type(e).__name__}: {e}")]
            names = " ".join(u.uid for u in batch)
            logger.warning(f"{names} together: {type(e).__name__}: {e}; in halves")
        # Outside of the handlers: the exception holds on to the failed batch's memory.
        middle = len(batch) // 2
        return [*self.score(batch[:middle]), *self.score(batch[middle:])]

    def _score(self, batch: Sequence[Utterance]) -> list[ScoredUtterance | Skipped]:
        evidence = self._evidence(batch, self._truths(batch))
        # After the engine's recording: methods may run the model themselves.
        with torch.no_grad(), scoring_mode(self.recognizer.model):
            return [e if isinstance(e, Skipped) else self._row(e) for e in evidence]

    def _evidence(
        self, batch: Sequence[Utterance], truths: Sequence[Truth | None]
    ) -> list[Evidence | Skipped]:
        if self.engine is None:
            (utterance,), (truth,) = batch, truths
            with torch.no_grad(), scoring_mode(self.recognizer.model):
                encoded = self.recognizer.encode(utterance.speech)
                nbest = self.source(self.recognizer, utterance.uid, encoded)
            return [Evidence(utterance, self.recognizer, encoded, nbest, truth=truth)]
        with self.engine.encode([u.speech for u in batch]) as encoded_batch:
            utterances = encoded_batch.utterances
            found = [self._find(u, e) for u, e in zip(batch, utterances, strict=True)]
            gradients = encoded_batch.expected_gradient_lengths(
                [() if isinstance(n, Skipped) else [h.tokens for h in n.hypotheses] for n in found],
                [() if isinstance(n, Skipped) else n.tempered(self.temperature) for n in found],
            )
        return [
            nbest
            if isinstance(nbest, Skipped)
            else Evidence(utterance, self.recognizer, encoded, nbest, gradient, truth)
            for utterance, encoded, nbest, gradient, truth in zip(
                batch, utterances, found, gradients, truths, strict=True
            )
        ]

    def _truths(self, batch: Sequence[Utterance]) -> list[Truth | None]:
        """What the transcripts tell, of a batch; None where there is none to train on.

        Raises:
            UtteranceError: One has no transcript, or none that the model could have spoken, and
                such are to be skipped.
        """
        if self.texts is None:
            return [None] * len(batch)
        tokens = [self._transcript(utterance.uid) for utterance in batch]
        lengths: list[float | None] = [None] * len(batch)
        if self.wants_true_gradients:
            assert self.engine is not None
            with self.engine.encode([u.speech for u in batch]) as encoded:
                pairs = zip(tokens, encoded.utterances, strict=True)
                tokens = [y and self._aligned(y, one) for y, one in pairs]
                gradients = encoded.expected_gradient_lengths(
                    [[y] if y else [] for y in tokens], [[1.0] if y else [] for y in tokens]
                )
            lengths = [gradient.value for gradient in gradients]
        return [
            Truth(self.recognizer.to_text(y), length) if y else None
            for y, length in zip(tokens, lengths, strict=True)
        ]

    def _transcript(self, uid: str) -> list[int] | None:
        assert self.texts is not None
        if uid not in self.texts:
            return self._no_truth(UtteranceError("no_transcript", f"{uid} is not in --text"))
        try:
            return self.recognizer.to_tokens(self.texts[uid])
        except UtteranceError as e:
            return self._no_truth(e)

    def _aligned(self, y: list[int], encoded: Encoded) -> list[int] | None:
        if not self.recognizer.has_ctc_loss() or has_ctc_alignment(y, encoded.frames):
            return y
        detail = f"{len(y)} tokens cannot be aligned with {encoded.frames} frames"
        return self._no_truth(UtteranceError("no_alignment", detail))

    def _no_truth(self, error: UtteranceError) -> list[int] | None:
        if self.skip_untranscribed:
            raise error
        return None

    def _find(self, utterance: Utterance, encoded: Encoded) -> NBest | Skipped:
        try:
            with torch.no_grad():
                return self.source(self.recognizer, utterance.uid, encoded)
        except UtteranceError as e:
            return Skipped(utterance.uid, e.reason, e.detail)

    def _row(self, evidence: Evidence) -> ScoredUtterance | Skipped:
        utterance, nbest = evidence.utterance, evidence.nbest
        frames = evidence.encoded.frames
        confidence = self.confidence.confidence(evidence)
        known = known_columns(utterance, frames, nbest, confidence.utterance)
        scores: dict[str, float] = {}
        details: dict[str, float] = {}
        speech = {} if self.detector is None else {"speech_seconds": self.detector(utterance)}
        known |= speech
        for name, method in self._in_order().items():
            if method.needs_columns:
                evidence = replace(evidence, columns=known)
            scores[name] = float(method.score(evidence))
            more = dict(zip(method.columns, method.details(evidence), strict=True))
            details |= more
            known |= {score_column(name): scores[name]} | more
        details |= speech
        finite = [*(scores | details).items(), ("confidence", confidence.utterance)]
        finite += [(f"confidence of {w.text}", w.confidence) for w in confidence.words]
        for name, value in finite:
            if not math.isfinite(value):
                return Skipped(utterance.uid, "not_finite_score", f"{name} gave {value}")
        gradient = evidence.gradient
        embedding = () if gradient is None else tuple(gradient.embedding.tolist())
        return ScoredUtterance(
            utterance.uid,
            utterance.seconds,
            frames,
            nbest,
            confidence,
            utterance.audio_hash,
            scores,
            details,
            embedding,
        )


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def score_pool(
    pool: Pool,
    scorer: Scorer,
    output_dir: str | Path,
    write_nbest: int = 5,
    num_workers: int = 1,
    verify: int = 0,
    seed: int = 0,
) -> Summary:
    """Score a shard and leave ``scores.tsv``, ``skipped.tsv``, ``nbest.tsv``, ``words.ctm``.

    Args:
        pool: The shard's utterances.
        scorer: What scores them, prepared.
        output_dir: Where tables and journal go.
        write_nbest: How many hypotheses of every utterance ``nbest.tsv`` keeps.
        num_workers: Processes that read audio ahead.
        verify: How many utterances are scored again by the definition at the end, if EGL is
            among the methods: ``verified.tsv``.
        seed: Which ones.

    Raises:
        DataError: Utterance after utterance fails for an unknown reason, or a score is not
            what the definition says.
        StorageError: The pool's disk is gone, or that of the output.
    """
    output_dir = Path(output_dir)
    started = time.monotonic()
    run_seconds = 0.0
    journal = Journal(output_dir / "journal.jsonl")
    with contextlib.closing(journal):
        if journal.done:
            logger.info(f"Resuming: {len(journal.done)} of {len(pool)} utterances are done")
        pending: list[dict[str, Any]] = []
        for result in progress(
            _results(pool, scorer, journal, num_workers), len(pool), len(journal.done)
        ):
            pending.append(_entry(result, write_nbest))
            if isinstance(result, Skipped):
                logger.warning(f"{result.uid} skipped: {result.reason}: {result.detail}")
                if result.reason == FAILED:
                    _stop_after_failures(pending, result)
                    continue
            else:
                run_seconds += result.seconds
            while pending:
                journal.append(pending.pop(0))
        for entry in pending:
            journal.append(entry)
        elapsed = time.monotonic() - started
        rows = _verified(pool, scorer, journal, verify, seed)
        write_verified(output_dir, rows)
        if rows:
            logger.info(describe(dict(zip(COLUMNS, row, strict=True)) for row in rows))
        summary = _write_tables(journal, output_dir, scorer.columns)
        write_checksums(output_dir, [name for name in TABLES if (output_dir / name).exists()])
    summary.elapsed, summary.run_seconds = elapsed, run_seconds
    summary.peak_gib = peak_memory()
    summary.write(output_dir)
    return summary


def _results(
    pool: Pool, scorer: Scorer, journal: Journal, num_workers: int
) -> Iterator[ScoredUtterance | Skipped]:
    """What has to be scored yet.

    Batches are cut from windows of the pool, whatever is done already, so that a run that
    was killed continues with the very batches of one that was not.
    """
    done = frozenset(journal.done)
    windows = [pool.keys[i : i + WINDOW] for i in range(0, len(pool.keys), WINDOW)]
    finished = list(itertools.takewhile(done.issuperset, windows))
    windows = windows[len(finished) :]
    pool.keys = [key for window in windows for key in window]
    items = read_ahead(pool, num_workers)
    # What was decided on before a kill decides again.
    verified = scorer.engine is None or any(
        _verify(scorer, [u for key in window if isinstance(u := pool.read(key), Utterance)])
        for window in (finished if windows else ())
    )
    witness = _any_scored(journal)
    for window in windows:
        found = list(itertools.islice(items, len(window)))
        utterances = [i for i in found if isinstance(i, Utterance)]
        witness = utterances[-1].uid if utterances else witness
        skipped = [i for i in found if isinstance(i, Skipped) and i.uid not in done]
        _check_disk(pool, skipped, witness)
        yield from skipped
        if utterances and not verified:
            verified = _verify(scorer, utterances)
        for batch in scorer.batches(utterances):
            if not done.issuperset(u.uid for u in batch):
                logger.debug(f"Scoring {' '.join(u.uid for u in batch)}")
                yield from (r for r in scorer.score(batch) if r.uid not in done)


def _any_scored(journal: Journal) -> str | None:
    return next((entry["uid"] for entry in journal.entries() if "row" in entry), None)


def _check_disk(pool: Pool, skipped: Sequence[Skipped], witness: str | None) -> None:
    """Tell clips that cannot be read from a disk that is gone: what was read before tells.

    Args:
        pool: Reads again.
        skipped: Of a window.
        witness: An utterance that could be read, if there was any.

    Raises:
        StorageError: It cannot any more, or nothing ever could.
    """
    lost = [s for s in skipped if s.reason in UNREADABLE]
    if not lost:
        return
    if back := next((s for s in lost if isinstance(pool.read(s.uid), Utterance)), None):
        raise StorageError(
            f"'{back.uid}' could not be read ({back.detail}), and a moment later it could: the "
            "disk with the pool comes and goes. Nothing of it is written down; run the same "
            "command again"
        )
    if witness is None:
        gone = len(lost) >= FAILURES_IN_A_ROW
    else:
        gone = isinstance(pool.read(witness), Skipped)
    if gone:
        before = f"'{witness}', which was read before, no more" if witness else "nothing else"
        raise StorageError(
            f"{len(lost)} utterances cannot be read, e.g. '{lost[0].uid}' ({lost[0].detail}), and "
            f"{before}: is the disk with the pool there? Nothing of them is written down; run the "
            "same command again when it is, or take them out of the pool"
        )


def _verified(
    pool: Pool, scorer: Scorer, journal: Journal, count: int, seed: int
) -> list[list[str]]:
    """Rows of verified.tsv: a sample of the shard scored again by the definition."""
    methods = {name: m for name, m in scorer.methods.items() if type(m) is EGL}
    if not methods or count == 0:
        return []
    name, method = next(iter(methods.items()))
    assert scorer.engine is not None
    place = [*BASE_COLUMNS, *scorer.columns].index(score_column(name))
    scores = {e["uid"]: float(e["row"][place]) for e in journal.entries() if "row" in e}
    verifier = Verifier(scorer.recognizer, scorer.source, method, scorer.engine, scorer.temperature)
    rows = []
    for uid in sample(scores, count, seed):
        utterance = pool.read(uid)
        if isinstance(utterance, Skipped):
            raise StorageError(
                f"'{uid}' was scored and cannot be read any more ({utterance.detail}): is the "
                "disk with the pool there? Run the same command again when it is"
            )
        rows.append(verifier.verify(utterance, scores[uid]))
    return rows


def _verify(scorer: Scorer, utterances: Sequence[Utterance]) -> bool:
    """Let the engine compare its ways on the longest and the shortest of a batch."""
    assert scorer.engine is not None
    # The longest: of what short ones never reach, the blocks of a streaming encoder, it has all.
    for batch in sorted(scorer.batches(utterances), key=lambda batch: -len(batch[0].speech)):
        ends = batch if len(batch) < 2 else batch[:: len(batch) - 1]
        try:
            scorer.engine.verify([u.speech for u in ends])
        except UtteranceError:
            continue  # too short, or not finite: another batch will do, or another window
        return True
    return False


def _stop_after_failures(pending: Sequence[Any], last: Skipped) -> None:
    if len(pending) >= FAILURES_IN_A_ROW:
        raise DataError(
            f"{len(pending)} utterances in a row failed, the last, {last.uid}, with "
            f"{last.detail}: the log has the traceback; nothing of them is written"
        )


def _entry(result: ScoredUtterance | Skipped, nbest: int) -> dict[str, Any]:
    if isinstance(result, Skipped):
        return {"uid": result.uid, "skipped": [result.reason, one_line(result.detail)]}
    entry = {
        "uid": result.uid,
        "row": score_row(result),
        "nbest": [[f"{h.log_prob:.6g}", one_line(h.text)] for h in result.nbest.hypotheses[:nbest]],
        "words": [word_row(word) for word in result.confidence.words],
    }
    if result.embedding:
        entry["embedding"] = embeddings.to_text(result.embedding)
    return entry


def _write_tables(journal: Journal, output_dir: Path, columns: Sequence[str]) -> Summary:
    summary = Summary()

    def rows(key: str) -> Iterator[list[str]]:
        for entry in journal.entries():
            if key in entry:
                yield from _rows_of(entry, key)

    for entry in journal.entries():
        if "skipped" in entry:
            summary.skipped[entry["skipped"][0]] += 1
        else:
            summary.scored += 1
            summary.seconds += float(entry["row"][1])
    write_words(output_dir / "words.ctm", rows("words"))
    write_rows(output_dir / "nbest.tsv", NBEST_COLUMNS, rows("nbest"))
    write_rows(output_dir / "skipped.tsv", SKIPPED_COLUMNS, rows("skipped"))
    found = (embeddings.from_text(e["embedding"]) for e in journal.entries() if "embedding" in e)
    embeddings.write(output_dir / embeddings.NAME, found, summary.scored)
    write_rows(output_dir / "scores.tsv", [*BASE_COLUMNS, *columns], rows("row"))
    return summary


def _rows_of(entry: dict[str, Any], key: str) -> list[list[str]]:
    if key == "row":
        return [entry["row"]]
    if key == "skipped":
        return [[entry["uid"], *entry["skipped"]]]
    if key == "words":
        return [[entry["uid"], *cells] for cells in entry["words"]]
    return [[entry["uid"], str(rank), *cells] for rank, cells in enumerate(entry["nbest"], 1)]


def merge_shards(
    shards: Sequence[str | Path], output_dir: str | Path, keys: set[str], skipped: str | Path
) -> Summary:
    """Join the shards' tables, sorted, and check that nothing was lost.

    Args:
        shards: The shards' output directories.
        output_dir: Where the joined tables go.
        keys: Every utterance that had to be scored.
        skipped: A table of utterances that were set aside before scoring.

    Returns:
        What all shards came to.

    Raises:
        DataError: A table is missing or damaged, or an utterance is missing, unknown or there
            twice.
    """
    output_dir = Path(output_dir)
    directories = [Path(shard) for shard in shards]
    for directory in directories:
        verify_checksums(directory)
    headers = {
        name: _header([d / name for d in directories])
        for name in ("nbest.tsv", "skipped.tsv", "scores.tsv")
    }
    groups = _check_utterances(directories, keys)
    for directory in directories:
        _check_numbers(headers["scores.tsv"], _body(directory / "scores.tsv"), directory.parent)
    aside = list(_body(Path(skipped)))
    summary = _summarize(directories, aside)
    _join_embeddings(groups, output_dir, summary.scored)
    bodies = {
        "nbest.tsv": _sorted(groups, "nbest.tsv"),
        "skipped.tsv": sorted([*_sorted(groups, "skipped.tsv"), *aside], key=_sort_key),
        "scores.tsv": _sorted(groups, "scores.tsv"),
    }
    for name, body in bodies.items():
        write_lines(output_dir / name, itertools.chain([headers[name]], body))
    words = _sorted(groups, "words.ctm", read_word_lines, lambda line: line.split(" ", 1)[0])
    write_lines(output_dir / "words.ctm", words)
    column = BASE_COLUMNS.index("confidence")
    cells = (line.split("\t") for line in _body(output_dir / "scores.tsv"))
    write_lines(output_dir / "utt2confidence", (f"{row[0]} {row[column]}" for row in cells))
    summary.add_times(directories)
    return summary


def _check_utterances(directories: Sequence[Path], keys: set[str]) -> list[list[Path]]:
    """See that the shards have every utterance once.

    Returns:
        The shards in the order of their utterances, those together whose utterances lie between
        one another's: no more than so many have to be in memory to sort them all.

    Raises:
        DataError: They do not.
    """
    found = Counter(dict.fromkeys(keys, 0))
    spans = []
    for directory in directories:
        tables = (_body(directory / name) for name in ("skipped.tsv", "scores.tsv"))
        uids = [line.split("\t", 1)[0] for lines in tables for line in lines]
        found.update(uids)
        spans.append((min(uids, default=""), max(uids, default="")))
    lost = sorted(uid for uid, count in found.items() if count == 0)
    twice = sorted(uid for uid, count in found.items() if count > 1)
    unknown = sorted(found.keys() - keys)
    if lost or unknown or twice:
        raise DataError(
            f"the shards do not add up to the pool: {len(lost)} utterances lost {lost[:3]}, "
            f"{len(unknown)} unknown {unknown[:3]}, {len(twice)} twice {twice[:3]}; "
            f"remove {directories[0].parent} and score again"
        )
    groups: list[list[Path]] = []
    end = ""
    for (low, high), directory in sorted(zip(spans, directories, strict=True)):
        if not groups or low > end:
            groups.append([])
        groups[-1].append(directory)
        end = max(end, high)
    return groups


def _check_numbers(header: str, lines: Iterable[str], logdir: Path) -> None:
    """Refuse rows whose numbers cannot be: a shard's table that was damaged or changed.

    Raises:
        DataError: A row has other cells than columns, a number is not finite, a mass above 1.
    """
    columns = header.split("\t")
    text = {"utterance", "best_hypothesis", "audio_hash"}
    numeric = [i for i, column in enumerate(columns) if column not in text]
    bounds = ((columns.index("mass"), 1 + MASS_TOLERANCE), (columns.index("confidence"), 1.0))
    for line in lines:
        cells = line.split("\t")
        try:
            good = len(cells) == len(columns)
            good = good and all(math.isfinite(float(cells[i])) for i in numeric)
            good = good and all(0 <= float(cells[i]) <= most for i, most in bounds)
        except ValueError:
            good = False
        if not good:
            raise DataError(
                f"the scores of '{cells[0]}' are not what scoring writes ({line!r:.200}): a table "
                f"of {logdir}/output.* was damaged; remove its directory and score again"
            )


def _join_embeddings(groups: Sequence[Sequence[Path]], output_dir: Path, count: int) -> None:
    """Embeddings of the shards, if they have any, in the joined table's order."""
    if any((d / embeddings.NAME).exists() for group in groups for d in group):
        rows = (row for group in groups for row in _sorted_embeddings(group))
        embeddings.write(output_dir / embeddings.NAME, rows, count)


def _sorted_embeddings(shards: Sequence[Path]) -> Iterator[np.ndarray]:
    lines = [line for shard in shards for line in _body(shard / "scores.tsv")]
    paths = [shard / embeddings.NAME for shard in shards]
    found = [embeddings.read(path) for path in paths if path.exists()]
    places = [(array, row) for array in found for row in range(len(array))]
    if len(places) != len(lines):
        raise DataError(
            f"{len(places)} embeddings for {len(lines)} rows of scores.tsv: "
            f"remove {shards[0].parent} and score again"
        )
    order = sorted(range(len(lines)), key=lambda i: _sort_key(lines[i]))
    return (places[i][0][places[i][1]] for i in order)


def _sort_key(line: str) -> tuple[str, int]:
    """By utterance, then by the N-best list's rank where there is one."""
    uid, second, *_ = line.split("\t", 2)
    return uid, int(second) if second.isdigit() else 0


def _header(paths: Sequence[Path]) -> str:
    """The first line of tables that have the same one."""
    headers = []
    for path in paths:
        headers.append(next(_lines(path), ""))
        if not headers[-1]:
            raise DataError(f"{path} is empty; remove it and score again")
        if headers[-1] != headers[0]:
            raise DataError(f"{path} has other columns than {paths[0]}; remove both, score again")
    return headers[0]


def _body(path: Path) -> Iterator[str]:
    """The lines of a table after its header."""
    return itertools.islice(_lines(path), 1, None)


def _lines(path: Path) -> Iterator[str]:
    """The whole lines of a shard's table."""
    try:
        with path.open(encoding="utf-8") as f:
            yield from (line[:-1] for line in f if line.endswith("\n"))
    except FileNotFoundError:
        raise DataError(f"{path} is missing: its shard did not finish; see its log") from None
    except UnicodeDecodeError as e:
        raise DataError(f"{path}: not UTF-8 ({e}); remove it and score again") from e


def _sorted(
    groups: Sequence[Sequence[Path]],
    name: str,
    read: Callable[[Path], Iterator[str]] = _body,
    key: Callable[[str], Any] = _sort_key,
) -> Iterator[str]:
    """The lines of a table of all shards; those of one group at a time are in memory."""
    for group in groups:
        yield from sorted((line for shard in group for line in read(shard / name)), key=key)


def _summarize(directories: Sequence[Path], aside: Iterable[str]) -> Summary:
    summary = Summary()
    for directory in directories:
        seconds = [float(line.split("\t", 2)[1]) for line in _body(directory / "scores.tsv")]
        summary.scored += len(seconds)
        summary.seconds += sum(seconds)
    skipped = itertools.chain(aside, *(_body(d / "skipped.tsv") for d in directories))
    summary.skipped.update(line.split("\t", 2)[1] for line in skipped)
    return summary
