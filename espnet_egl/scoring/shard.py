"""One pass over a shard of the pool computes every requested method's score.

A shard keeps a journal, one JSON line per utterance, written as it goes. A killed job
started again reads it, scores what is missing there, and ends with the same bytes.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from humanfriendly.text import pluralize

from espnet_egl.acquisition.egl import EGL
from espnet_egl.data.pool import Pool, read_ahead
from espnet_egl.errors import DataError, StorageError
from espnet_egl.progress import progress
from espnet_egl.scoring.again import find_again
from espnet_egl.scoring.earlier import AS, Earlier
from espnet_egl.scoring.records import Summary, peak_memory
from espnet_egl.scoring.scorer import FAILED, Scorer
from espnet_egl.scoring.verification import COLUMNS, Verifier, describe, sample, write_verified
from espnet_egl.store import embeddings
from espnet_egl.store.files import CHECKSUMS, write_checksums
from espnet_egl.store.journal import JOURNAL, Journal
from espnet_egl.store.tables import (
    BASE_COLUMNS,
    NBEST_COLUMNS,
    SKIPPED_COLUMNS,
    one_line,
    score_column,
    score_row,
    word_row,
    write_rows,
    write_words,
)
from espnet_egl.types import ScoredUtterance, Skipped, Utterance

logger = logging.getLogger(__name__)

# One clip that breaks the model is listed; so many in a row are a broken set-up.
FAILURES_IN_A_ROW = 10
# What a clip on a disk that is gone looks like, and a broken one.
UNREADABLE = frozenset({"unreadable_audio", "failed_pipe", FAILED})

# Of a shard, with a checksum: what merging takes from it.
TABLES = ("scores.tsv", "nbest.tsv", "skipped.tsv", "words.ctm", embeddings.NAME)

# Utterances read before they are cut into batches of similar length.
WINDOW = 128


def score_pool(
    pool: Pool,
    scorer: Scorer,
    output_dir: str | Path,
    write_nbest: int = 5,
    num_workers: int = 1,
    verify: int = 0,
    seed: int = 0,
    earlier: Earlier | None = None,
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
        earlier: Shards before it, of whose clips some may have the same audio.

    Raises:
        DataError: Utterance after utterance fails for an unknown reason, or a score is not
            what the definition says.
        StorageError: The pool's disk is gone, or that of the output.
    """
    output_dir = Path(output_dir)
    started = time.monotonic()
    run_seconds = 0.0
    journal = Journal(output_dir / JOURNAL)
    with contextlib.closing(journal):
        if again := find_again(journal.entries(), pool):
            logger.info(again.describe())
            # Not finished any more, before anything is taken back.
            (output_dir / CHECKSUMS).unlink(missing_ok=True)
            journal.take_back(again.uids)
        if journal.done:
            logger.info(
                f"Resuming after {len(journal.done)} of {pluralize(len(pool), 'utterance')}"
            )
        pending: list[dict[str, Any]] = []
        for result, item in progress(
            _results(pool, scorer, journal, num_workers, earlier or Earlier()),
            len(pool),
            len(journal.done),
        ):
            pending.append(_entry(result, write_nbest, item))
            if isinstance(result, Skipped):
                logger.warning(f"{result.uid} skipped: {result.reason}: {result.detail}")
                if result.reason == FAILED:
                    _stop_after_failures(pending, result)
                    continue
            elif isinstance(result, dict):
                logger.info(f"{result['uid']} has the audio of {result[AS]}: it keeps the scores")
            else:
                run_seconds += result.seconds
                if isinstance(item, Utterance) and item.overheard:
                    logger.warning(f"{result.uid}: a channel that is not read holds speech, too")
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
    summary.peak_gib, summary.again = peak_memory(), len(again.uids)
    summary.write(output_dir)
    return summary


def _results(
    pool: Pool, scorer: Scorer, journal: Journal, num_workers: int, earlier: Earlier
) -> Iterator[tuple[ScoredUtterance | Skipped | dict[str, Any], Utterance | Skipped]]:
    """What has to be scored yet, and what was read of it; of what is known by its audio, the entry.

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
        scorer.verify([u for key in window if isinstance(u := pool.read(key), Utterance)])
        for window in (finished if windows else ())
    )
    witness = _any_scored(journal)
    for window in windows:
        found = list(itertools.islice(items, len(window)))
        read = {item.uid: item for item in found}
        utterances = [i for i in found if isinstance(i, Utterance)]
        witness = utterances[-1].uid if utterances else witness
        skipped = [i for i in found if isinstance(i, Skipped) and i.uid not in done]
        _check_disk(pool, skipped, witness)
        yield from ((item, item) for item in skipped)
        known = {u.uid: entry for u in utterances if (entry := earlier.find(u)) is not None}
        yield from ((known[uid], read[uid]) for uid in known if uid not in done)
        utterances = [u for u in utterances if u.uid not in known]
        if utterances and not verified:
            verified = scorer.verify(utterances)
        for batch in scorer.batches(utterances):
            if not done.issuperset(u.uid for u in batch):
                logger.debug(f"Scoring {' '.join(u.uid for u in batch)}")
                yield from ((r, read[r.uid]) for r in scorer.score(batch) if r.uid not in done)


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
            f"{pluralize(len(lost), 'utterance')} cannot be read, e.g. '{lost[0].uid}' "
            f"({lost[0].detail}), and {before}: is the disk with the pool there? Nothing of "
            "them is written down; run the same command again when it is, or take them out of the "
            "pool"
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
    # Scores that a clip had under another id are of samples that were drawn under that one.
    own = (entry for entry in journal.entries() if "row" in entry and AS not in entry)
    scores = {entry["uid"]: float(entry["row"][place]) for entry in own}
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


def _stop_after_failures(pending: Sequence[Any], last: Skipped) -> None:
    if len(pending) >= FAILURES_IN_A_ROW:
        raise DataError(
            f"{pluralize(len(pending), 'utterance')} in a row failed, the last, {last.uid}, with "
            f"{last.detail}: the log has the traceback; nothing of them is written"
        )


def _entry(
    result: ScoredUtterance | Skipped | dict[str, Any], nbest: int, item: Utterance | Skipped
) -> dict[str, Any]:
    if isinstance(result, dict):
        return result
    entry: dict[str, Any] = {"uid": result.uid, "file": item.file}
    if isinstance(result, Skipped):
        return {**entry, "skipped": [result.reason, one_line(result.detail)]}
    if isinstance(item, Utterance) and item.overheard:
        entry["overheard"] = True
    entry |= {
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
            summary.overheard += entry.get("overheard", False)
            summary.known += AS in entry
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
