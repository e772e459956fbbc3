"""The shards' tables become one, sorted; that nothing was lost or damaged is checked."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from humanfriendly.text import pluralize

from espnet_egl.errors import DataError
from espnet_egl.hypotheses.rescoring import MASS_TOLERANCE
from espnet_egl.scoring.records import Summary
from espnet_egl.store import embeddings
from espnet_egl.store.files import verify_checksums, write_lines
from espnet_egl.store.tables import BASE_COLUMNS, read_word_lines


def merge_shards(shards: Sequence[str | Path], output_dir: str | Path, keys: set[str]) -> Summary:
    """Join the shards' tables, sorted, and check that nothing was lost.

    Args:
        shards: The shards' output directories.
        output_dir: Where the joined tables go.
        keys: Every utterance that had to be scored.

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
        name: header_of([d / name for d in directories])
        for name in ("nbest.tsv", "skipped.tsv", "scores.tsv")
    }
    groups = check_utterances(directories, keys)
    for directory in directories:
        check_numbers(headers["scores.tsv"], body_of(directory / "scores.tsv"), directory.parent)
    count = sum(1 for d in directories for _ in body_of(d / "scores.tsv"))
    _join_embeddings(groups, output_dir, count)
    bodies = {
        "nbest.tsv": _sorted(groups, "nbest.tsv"),
        "skipped.tsv": _sorted(groups, "skipped.tsv"),
        "scores.tsv": _sorted(groups, "scores.tsv"),
    }
    for name, body in bodies.items():
        write_lines(output_dir / name, itertools.chain([headers[name]], body))
    words = _sorted(groups, "words.ctm", read_word_lines, lambda line: line.split(" ", 1)[0])
    write_lines(output_dir / "words.ctm", words)
    column = BASE_COLUMNS.index("confidence")
    cells = (line.split("\t") for line in body_of(output_dir / "scores.tsv"))
    write_lines(output_dir / "utt2confidence", (f"{row[0]} {row[column]}" for row in cells))
    summary = summarize(output_dir)
    summary.add_times(directories)
    return summary


def aside_of(tables: Iterable[str | Path]) -> list[str]:
    """Lines of skipped.tsv; of tables that say more of what was set aside, what all of them say."""
    return ["\t".join(line.split("\t")[:3]) for path in tables for line in body_of(Path(path))]


def check_utterances(directories: Sequence[Path], keys: set[str]) -> list[list[Path]]:
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
        tables = (body_of(directory / name) for name in ("skipped.tsv", "scores.tsv"))
        uids = [line.split("\t", 1)[0] for lines in tables for line in lines]
        found.update(uids)
        spans.append((min(uids, default=""), max(uids, default="")))
    lost = sorted(uid for uid, count in found.items() if count == 0)
    twice = sorted(uid for uid, count in found.items() if count > 1)
    unknown = sorted(found.keys() - keys)
    if lost or unknown or twice:
        raise DataError(
            f"the shards do not add up to the pool: {len(lost)} lost {lost[:3]}, "
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


def check_numbers(header: str, lines: Iterable[str], logdir: Path) -> None:
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
    lines = [line for shard in shards for line in body_of(shard / "scores.tsv")]
    paths = [shard / embeddings.NAME for shard in shards]
    found = [embeddings.read(path) for path in paths if path.exists()]
    places = [(array, row) for array in found for row in range(len(array))]
    if len(places) != len(lines):
        raise DataError(
            f"{pluralize(len(places), 'embedding')} for {pluralize(len(lines), 'row')} of "
            f"scores.tsv: remove {shards[0].parent} and score again"
        )
    order = sorted(range(len(lines)), key=lambda i: sort_key(lines[i]))
    return (places[i][0][places[i][1]] for i in order)


def sort_key(line: str) -> tuple[str, int]:
    """By utterance, then by the N-best list's rank where there is one."""
    uid, second, *_ = line.split("\t", 2)
    return uid, int(second) if second.isdigit() else 0


def header_of(paths: Sequence[Path]) -> str:
    """The first line of tables that have the same one."""
    headers = []
    for path in paths:
        headers.append(next(_lines(path), ""))
        if not headers[-1]:
            raise DataError(f"{path} is empty; remove it and score again")
        if headers[-1] != headers[0]:
            raise DataError(f"{path} has other columns than {paths[0]}; remove both, score again")
    return headers[0]


def body_of(path: Path) -> Iterator[str]:
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
    read: Callable[[Path], Iterator[str]] = body_of,
    key: Callable[[str], Any] = sort_key,
) -> Iterator[str]:
    """The lines of a table of all shards; those of one group at a time are in memory."""
    for group in groups:
        yield from sorted((line for shard in group for line in read(shard / name)), key=key)


def summarize(directory: Path) -> Summary:
    """What joined tables hold."""
    summary = Summary()
    for line in body_of(directory / "scores.tsv"):
        summary.scored += 1
        summary.seconds += float(line.split("\t", 2)[1])
    lines = body_of(directory / "skipped.tsv")
    summary.skipped.update(line.split("\t", 2)[1] for line in lines)
    return summary
