"""The tables of a pool that grows: those that are there, and what new shards put in their place.

What a clip's row is, is the same whether the tables are made at once or arrival by arrival: it is
that of the last shard that has the clip.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from humanfriendly.text import pluralize

from espnet_egl.data.kaldi import read_lines
from espnet_egl.data.shards import SKIPPED
from espnet_egl.data.split import GONE, read_split
from espnet_egl.errors import DataError
from espnet_egl.scoring.merge import (
    aside_of,
    body_of,
    check_numbers,
    check_utterances,
    header_of,
    merge_shards,
    sort_key,
    summarize,
)
from espnet_egl.scoring.records import Summary
from espnet_egl.store import embeddings
from espnet_egl.store.files import (
    CHECKSUMS,
    file_hash,
    lock,
    parse_json,
    verify_checksums,
    write_lines,
)
from espnet_egl.store.splice import splice
from espnet_egl.store.tables import BASE_COLUMNS, read_word_lines

# Which shards the tables are of, and the tables' checksums: what the next arrival starts from.
MERGED = "merged.json"
TABLES = ("scores.tsv", "nbest.tsv", "words.ctm", "utt2confidence", embeddings.NAME)


def merge_pool(
    logdir: str | Path,
    numbers: Sequence[int],
    output_dir: str | Path,
    left_out: Iterable[str | Path] = (),
) -> Summary:
    """Join shards, of which later ones may have what earlier ones have, too; then they count.

    Tables that are there already are gone on from: time goes with what is new.

    Args:
        logdir: Holds keys.N.scp and output.N.
        numbers: Of the shards that count, in their order.
        output_dir: Where the tables go.
        left_out: Tables like skipped.tsv, of what did not come into the pool.

    Returns:
        What the pool came to; times are of the last arrival's shards.

    Raises:
        DataError: A table is missing or damaged, an utterance is missing, unknown or twice in a
            shard; or another process joins them.
    """
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    with lock(output_dir / ".lock"):
        return _Growth(Path(logdir), numbers, output_dir).merge([Path(p) for p in left_out])


class _Growth:
    def __init__(self, logdir: Path, numbers: Sequence[int], output_dir: Path):
        self.logdir, self.numbers, self.out = logdir, list(numbers), output_dir
        # As they were written: their checksums are known.
        self.keys = {
            n: [line.split(" ", 1)[0] for line in read_lines(logdir / f"keys.{n}.scp")]
            for n in numbers
        }
        self.owner = {uid: n for n in self.numbers for uid in self.keys[n]}
        self.arrivals = found.arrivals if (found := read_split(logdir)) else []
        away = [p for p in (logdir / GONE, logdir / SKIPPED) if p.exists()]
        for uid in (line.split("\t", 1)[0] for path in away for line in body_of(path)):
            self.owner.pop(uid, None)

    def _shard(self, number: int) -> Path:
        return self.logdir / f"output.{number}"

    def _sums(self, number: int) -> str:
        return file_hash(self._shard(number) / CHECKSUMS)

    def merge(self, left_out: Sequence[Path]) -> Summary:
        """See :func:`merge_pool`."""
        for number in self.numbers:
            verify_checksums(self._shard(number))
        base = self._base()
        if base is None:
            (self.out / MERGED).unlink(missing_ok=True)
            base = self._first()
        fresh = [n for n in self.numbers if base.get(str(n)) != self._sums(n)]
        for number in fresh:
            check_utterances([self._shard(number)], set(self.keys[number]))
        skipped = {n: self._skipped(n) for n in self.numbers}
        self._splice(set(fresh), skipped)
        aside = aside_of([self.logdir / SKIPPED, *left_out])
        rows = [line for lines in skipped.values() for line in lines.values()]
        header = header_of([self._shard(n) / SKIPPED for n in self.numbers])
        write_lines(self.out / SKIPPED, [header, *sorted([*rows, *aside], key=sort_key)])
        self._write_base()
        summary = summarize(self.out)
        summary.add_times(self._shard(n) for n in self._newest())
        return summary

    def _newest(self) -> list[int]:
        if not self.arrivals:
            return self.numbers
        last = self.arrivals[-1]
        return [n for n in self.numbers if last.first <= n <= last.last]

    def _base(self) -> dict[str, str] | None:
        """Shard -> its checksums' hash, of the tables that are there; None: they are not whole."""
        try:
            found = parse_json((self.out / MERGED).read_text(encoding="utf-8"))
            shards, files = dict(found["shards"]), dict(found["files"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        there = {name: file_hash(self.out / name) for name in TABLES if (self.out / name).exists()}
        lost = shards.keys() - {str(n) for n in self.numbers}
        return shards if files == there and not lost else None

    def _write_base(self) -> None:
        files = {name: file_hash(self.out / name) for name in TABLES if (self.out / name).exists()}
        shards = {str(n): self._sums(n) for n in self.numbers}
        text = json.dumps({"shards": shards, "files": files}, indent=1)
        write_lines(self.out / MERGED, [text])

    def _first(self) -> dict[str, str]:
        """Make the tables of the first arrival that has shards."""
        spans = [(a.first, a.last) for a in self.arrivals] or [(1, max(self.numbers))]
        groups = [[n for n in self.numbers if first <= n <= last] for first, last in spans]
        group = next(group for group in groups if group)
        keys = {uid for n in group for uid in self.keys[n]}
        (self.out / embeddings.NAME).unlink(missing_ok=True)
        merge_shards([self._shard(n) for n in group], self.out, keys)
        return {str(n): self._sums(n) for n in group}

    def _skipped(self, number: int) -> dict[str, str]:
        """Utterance -> its line of skipped.tsv, of a shard's that count."""
        lines = body_of(self._shard(number) / SKIPPED)
        found = {line.split("\t", 1)[0]: line for line in lines}
        return {uid: line for uid, line in found.items() if self.owner.get(uid) == number}

    def _splice(self, fresh: set[int], skipped: Mapping[int, Mapping[str, str]]) -> None:
        """Bring the tables to what the shards that count have."""
        uids = [line.split("\t", 1)[0] for line in body_of(self.out / "scores.tsv")]
        there = set(uids)
        good = {uid for uid in there if uid in self.owner and self.owner[uid] not in fresh}
        wanted: dict[int, set[str]] = {}
        for uid, number in self.owner.items():
            if uid not in good and uid not in skipped[number]:
                wanted.setdefault(number, set()).add(uid)
        out = there - good
        if not (out or wanted):
            return
        # From here on the tables may not go together.
        (self.out / MERGED).unlink(missing_ok=True)
        scores = self._lines(wanted, "scores.tsv")
        if lost := {uid for found in wanted.values() for uid in found} - scores.keys():
            raise DataError(f"{self.logdir}: no shard has '{min(lost)}'; run stage 20 again")
        self._embeddings(uids, good, wanted)
        splice(self.out / "scores.tsv", out, scores)
        splice(self.out / "nbest.tsv", out, self._lines(wanted, "nbest.tsv"))
        words: dict[str, list[str]] = {}
        for number, found in wanted.items():
            for line in read_word_lines(self._shard(number) / "words.ctm"):
                if (uid := line.split(" ", 1)[0]) in found:
                    words.setdefault(uid, []).append(line)
        splice(self.out / "words.ctm", out, words, " ", header=False)
        place = BASE_COLUMNS.index("confidence")
        sure = {uid: [f"{uid} {line.split(chr(9))[place]}"] for uid, (line,) in scores.items()}
        splice(self.out / "utt2confidence", out, sure, " ", header=False)

    def _lines(self, wanted: Mapping[int, set[str]], name: str) -> dict[str, list[str]]:
        """Utterance -> its lines of a table, sorted."""
        found: dict[str, list[str]] = {}
        for number, uids in wanted.items():
            path = self._shard(number) / name
            header = header_of([self.out / name, path])
            lines = [line for line in body_of(path) if line.split("\t", 1)[0] in uids]
            if name == "scores.tsv":
                check_numbers(header, lines, self.logdir)
            for line in sorted(lines, key=sort_key):
                found.setdefault(line.split("\t", 1)[0], []).append(line)
        return found

    def _embeddings(
        self, uids: Sequence[str], good: set[str], wanted: Mapping[int, set[str]]
    ) -> None:
        """Put the embeddings in the new table's order, if there are any."""
        places: dict[str, tuple[np.ndarray, int]] = {}
        sources = [(self.out, list(uids), good)]
        for number, found in wanted.items():
            shard = self._shard(number)
            rows = [line.split("\t", 1)[0] for line in body_of(shard / "scores.tsv")]
            sources.append((shard, rows, found))
        for directory, rows, found in sources:
            if not (path := directory / embeddings.NAME).exists():
                continue
            array = embeddings.read(path)
            if len(array) != len(rows):
                found = pluralize(len(array), "embedding")
                raise DataError(f"{path}: {found} for {pluralize(len(rows), 'row')} of scores")
            places |= {uid: (array, row) for row, uid in enumerate(rows) if uid in found}
        in_order = (places[uid][0][places[uid][1]] for uid in sorted(places))
        (self.out / embeddings.NAME).unlink(missing_ok=True)
        embeddings.write(self.out / embeddings.NAME, in_order, len(places))
