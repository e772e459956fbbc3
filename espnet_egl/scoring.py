"""Stage 20: one pass over the pool computes every requested method's score.

A shard keeps a journal, one JSON line per utterance, written as it goes. A killed job
started again reads it, continues after the last whole line, and ends with the same bytes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from espnet_egl.acquisition import AbsAcquisition, Evidence
from espnet_egl.data.pool import Pool, read_ahead
from espnet_egl.errors import DataError, UtteranceError
from espnet_egl.hypotheses import AbsHypothesisSource
from espnet_egl.progress import progress
from espnet_egl.recognizer import Recognizer, scoring_mode
from espnet_egl.tables import (
    BASE_COLUMNS,
    NBEST_COLUMNS,
    SKIPPED_COLUMNS,
    one_line,
    score_column,
    score_row,
    write_rows,
)
from espnet_egl.types import ScoredUtterance, Skipped, Utterance

logger = logging.getLogger(__name__)

# One clip that breaks the model is listed; so many in a row are a broken set-up.
FAILURES_IN_A_ROW = 10
FAILED = "unexpected_error"


def score_utterance(
    utterance: Utterance,
    recognizer: Recognizer,
    source: AbsHypothesisSource,
    methods: Mapping[str, AbsAcquisition],
) -> ScoredUtterance:
    """Every method's score of one utterance.

    Raises:
        UtteranceError: It cannot be scored, or a score is not finite.
    """
    gradients = any(method.needs_gradients for method in methods.values())
    with torch.set_grad_enabled(gradients), scoring_mode(recognizer.model):
        encoded = recognizer.encode(utterance.speech)
        nbest = source(recognizer, utterance.uid, encoded)
        evidence = Evidence(utterance, recognizer, encoded, nbest)
        scores = {name: float(method.score(evidence)) for name, method in methods.items()}
    for name, score in scores.items():
        if not math.isfinite(score):
            raise UtteranceError("not_finite_score", f"{name} gave {score}")
    return ScoredUtterance(utterance.uid, utterance.seconds, encoded.frames, nbest, scores)


@dataclass
class Summary:
    """What a shard came to.

    Attributes:
        scored: Number of scored utterances.
        skipped: Reason -> number of utterances.
        seconds: Audio scored, in seconds.
        elapsed: Wall time of this run, in seconds.
    """

    scored: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    elapsed: float = 0.0


class Journal:
    """One JSON line per finished utterance, appended and flushed as it comes.

    Args:
        path: The file; a last line that a kill cut short is removed.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.done = self._recover()
        self._file = self.path.open("a", encoding="utf-8", newline="\n")

    def _recover(self) -> set[str]:
        """The utterances of every whole line; cuts off what follows the last of them."""
        if not self.path.exists():
            return set()
        done, whole = set(), 0
        with self.path.open("rb") as f:
            for line in f:
                if not line.endswith(b"\n"):
                    break
                try:
                    done.add(json.loads(line)["uid"])
                except (ValueError, KeyError):
                    break
                whole += len(line)
        os.truncate(self.path, whole)
        return done

    def append(self, entry: dict[str, Any]) -> None:
        """Write one utterance's entry, which has a ``uid``."""
        self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self._file.flush()

    def entries(self) -> Iterator[dict[str, Any]]:
        """All entries, in the order they were written."""
        self._file.flush()
        with self.path.open(encoding="utf-8") as f:
            for line in f:
                yield json.loads(line)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def score_pool(
    pool: Pool,
    recognizer: Recognizer,
    source: AbsHypothesisSource,
    methods: Mapping[str, AbsAcquisition],
    output_dir: str | Path,
    write_nbest: int = 5,
    num_workers: int = 1,
) -> Summary:
    """Score a shard and leave ``scores.tsv``, ``skipped.tsv`` and ``nbest.tsv``.

    Args:
        pool: The shard's utterances.
        recognizer: The model.
        source: Where hypotheses come from.
        methods: Name -> method.
        output_dir: Where tables and journal go.
        write_nbest: How many hypotheses of every utterance ``nbest.tsv`` keeps.
        num_workers: Processes that read audio ahead.

    Raises:
        DataError: Utterance after utterance fails for an unknown reason.
    """
    output_dir = Path(output_dir)
    started = time.monotonic()
    for method in methods.values():
        method.prepare(recognizer)
    journal = Journal(output_dir / "journal.jsonl")
    if journal.done:
        logger.info(f"Resuming: {len(journal.done)} of {len(pool)} utterances are done")
        total, pool.keys = len(pool.keys), [k for k in pool.keys if k not in journal.done]
    else:
        total = len(pool.keys)
    pending: list[dict[str, Any]] = []
    with contextlib.closing(journal):
        for item in progress(read_ahead(pool, num_workers), total, total - len(pool)):
            result = _try_score(item, recognizer, source, methods)
            pending.append(_entry(result, list(methods), write_nbest))
            if isinstance(result, Skipped) and result.reason == FAILED:
                if len(pending) >= FAILURES_IN_A_ROW:
                    raise DataError(
                        f"{len(pending)} utterances in a row failed, the last, {result.uid}, with "
                        f"{result.detail}: the log has the traceback; nothing of them is written"
                    )
                continue
            while pending:
                journal.append(pending.pop(0))
        for entry in pending:
            journal.append(entry)
        summary = _write_tables(journal, output_dir, list(methods))
    summary.elapsed = time.monotonic() - started
    return summary


def _try_score(
    item: Utterance | Skipped,
    recognizer: Recognizer,
    source: AbsHypothesisSource,
    methods: Mapping[str, AbsAcquisition],
) -> ScoredUtterance | Skipped:
    if isinstance(item, Skipped):
        result: ScoredUtterance | Skipped = item
    else:
        try:
            result = score_utterance(item, recognizer, source, methods)
        except UtteranceError as e:
            result = Skipped(item.uid, e.reason, e.detail)
        except Exception as e:
            logger.exception(f"{item.uid}: unexpected error")
            result = Skipped(item.uid, FAILED, f"{type(e).__name__}: {e}")
    if isinstance(result, Skipped):
        logger.warning(f"{result.uid} skipped: {result.reason}: {result.detail}")
    return result


def _entry(result: ScoredUtterance | Skipped, methods: Sequence[str], nbest: int) -> dict[str, Any]:
    if isinstance(result, Skipped):
        return {"uid": result.uid, "skipped": [result.reason, one_line(result.detail)]}
    return {
        "uid": result.uid,
        "row": score_row(result, methods),
        "nbest": [[f"{h.log_prob:.6g}", one_line(h.text)] for h in result.nbest.hypotheses[:nbest]],
    }


def _write_tables(journal: Journal, output_dir: Path, methods: Sequence[str]) -> Summary:
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
    write_rows(output_dir / "nbest.tsv", NBEST_COLUMNS, rows("nbest"))
    write_rows(output_dir / "skipped.tsv", SKIPPED_COLUMNS, rows("skipped"))
    columns = [*BASE_COLUMNS, *map(score_column, methods)]
    write_rows(output_dir / "scores.tsv", columns, rows("row"))
    return summary


def _rows_of(entry: dict[str, Any], key: str) -> list[list[str]]:
    if key == "row":
        return [entry["row"]]
    if key == "skipped":
        return [[entry["uid"], *entry["skipped"]]]
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
        DataError: A table is missing, or an utterance is missing, unknown or there twice.
    """
    output_dir = Path(output_dir)
    joined: dict[str, list[str]] = {}
    for name in ("nbest.tsv", "skipped.tsv", "scores.tsv"):
        joined[name] = _join([Path(s) / name for s in shards])
    found = [
        line.split("\t", 1)[0] for n in ("skipped.tsv", "scores.tsv") for line in joined[n][1:]
    ]
    twice = [uid for uid, count in Counter(found).items() if count > 1]
    if twice or set(found) != keys:
        lost = sorted(keys - set(found))
        unknown = sorted(set(found) - keys)
        raise DataError(
            f"the shards do not add up to the pool: {len(lost)} utterances lost {lost[:3]}, "
            f"{len(unknown)} unknown {unknown[:3]}, {len(twice)} twice {twice[:3]}; "
            f"remove {Path(shards[0]).parent} and score again"
        )
    joined["skipped.tsv"] += _join([Path(skipped)])[1:]
    for name, lines in joined.items():
        body = sorted(lines[1:], key=_sort_key)
        write_rows(output_dir / name, lines[0].split("\t"), (line.split("\t") for line in body))
    return _summarize(joined)


def _sort_key(line: str) -> tuple[str, int]:
    """By utterance, then by the N-best list's rank where there is one."""
    uid, second, *_ = line.split("\t", 2)
    return uid, int(second) if second.isdigit() else 0


def _join(paths: Sequence[Path]) -> list[str]:
    """The header, then every other line of tables with equal headers."""
    lines: list[str] = []
    for path in paths:
        try:
            header, *rows = path.read_text(encoding="utf-8").split("\n")[:-1]
        except FileNotFoundError:
            raise DataError(f"{path} is missing: its shard did not finish; see its log") from None
        except ValueError:
            raise DataError(f"{path} is empty; remove it and score again") from None
        if lines and header != lines[0]:
            raise DataError(f"{path} has other columns than {paths[0]}; remove both, score again")
        lines += rows if lines else [header, *rows]
    return lines


def _summarize(joined: Mapping[str, Sequence[str]]) -> Summary:
    summary = Summary(scored=len(joined["scores.tsv"]) - 1)
    summary.seconds = sum(float(line.split("\t")[1]) for line in joined["scores.tsv"][1:])
    summary.skipped.update(line.split("\t")[1] for line in joined["skipped.tsv"][1:])
    return summary
