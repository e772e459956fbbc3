"""Stage 20's preparation of a pool that may have grown: what is new, changed or gone, and which
shards score it.

The first list of a pool is split into shards; what arrives later gets shards of its own, and those
that are finished stay as they are. Of an utterance in several shards, the last one counts.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from espnet_egl.data.kaldi import Rows, read_pool_table
from espnet_egl.data.shards import SKIPPED, balanced_cuts, lengths_of, set_aside
from espnet_egl.data.split import (
    GONE,
    SPLIT,
    Arrival,
    Split,
    check_pool,
    names_of,
    pool_name,
    read_split,
)
from espnet_egl.data.states import PASSING, read_states, states_of, write_states
from espnet_egl.errors import DataError
from espnet_egl.options import AL_SH_ADVICE
from espnet_egl.store.files import (
    CHECKSUMS,
    file_hash,
    hold,
    is_finished,
    lock,
    text_hash,
    write_checksums,
    write_lines,
)
from espnet_egl.store.tables import SKIPPED_COLUMNS, one_line, read_rows, write_rows

logger = logging.getLogger(__name__)

# What new shards may use of old ones.
EARLIER = "earlier.json"
NOT_IN_POOL = "gone"
# A process takes about as long to load a model as it takes to score so many clips.
CLIPS_OF_A_SHARD = 128


@dataclass(frozen=True)
class Plan:
    """What has to be done now.

    Attributes:
        first: The first shard to run.
        last: The last one. Where there is nothing to score, a finished one that sees whether the
            options are still the same.
        arrival: What the list is, against what is known.
        earlier: What new shards may use of old ones, for ``al_score --earlier``, if there are any.
    """

    first: int
    last: int
    arrival: Arrival
    earlier: Path | None = None

    @property
    def jobs(self) -> range:
        """The shards to run."""
        return range(self.first, self.last + 1)

    def score_words(self) -> list[str]:
        """Words of ``al_score``."""
        return [] if self.earlier is None else ["--earlier", str(self.earlier)]


def plan_shards(
    key_file: str | Path,
    nj: int,
    output_dir: str | Path,
    pool_dirs: Sequence[str | Path] = (),
    exclude_dirs: Sequence[str | Path] = (),
    advice: str = AL_SH_ADVICE,
) -> Plan:
    """Plan which shards score a pool, and write ``keys.N.scp`` of each, with about as much audio.

    A list that was planned before keeps its shards, so that a run that was cut short finds them
    again whatever ``nj`` says now. Of another list, those that are finished stay; what is new,
    changed, or was in unfinished ones gets new shards. ``skipped.tsv`` lists what is set aside,
    ``gone.tsv`` what is in shards and no more in the pool.

    Args:
        key_file: The pool's wav.scp, segments or feats.scp.
        nj: The largest number of new shards.
        output_dir: Where the files go.
        pool_dirs: See :func:`set_aside`.
        exclude_dirs: See :func:`set_aside`.
        advice: What to do if the directory is another pool's.

    Raises:
        DataError: The pool is empty, nothing of it is left to score, or another process plans or
            scores there at this moment.
        ManifestError: The directory is another pool's.
    """
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    with lock(output_dir / "lock"):
        planner = _Planner(Path(key_file), output_dir, pool_dirs, exclude_dirs, advice)
        return planner.plan(nj)


class _Planner:
    def __init__(
        self,
        key_file: Path,
        directory: Path,
        pool_dirs: Sequence[str | Path],
        exclude_dirs: Sequence[str | Path],
        advice: str,
    ):
        self.key_file, self.directory = key_file, directory
        self.pool_dirs, self.exclude_dirs = pool_dirs, exclude_dirs
        pool = pool_name(key_file)
        self.split = read_split(directory) or Split(pool)
        check_pool(directory, self.split.pool, pool, advice)
        self.rows: Rows[str] = read_pool_table(key_file)
        if not self.rows.good:
            raise DataError(f"{key_file}: the pool is empty")
        self.now = states_of(key_file, self.rows.good)
        self.arrival = self._arrival()
        intact = self._intact()
        self.current = self._current(intact)
        self.states = {n: read_states(directory / names_of(n)[1]) for n in intact}
        self.finished = {n for n in self.states if is_finished(self._output(n))}
        self.stays = sorted(self.finished | self.current)
        # Utterance -> the last shard that has it, of those that stay.
        self.owner = {uid: number for number in self.stays for uid in self.states[number]}

    def _arrival(self) -> Arrival:
        lists = [self.key_file]
        if self.key_file.name == "segments" and self.key_file.with_name("wav.scp").exists():
            lists.append(self.key_file.with_name("wav.scp"))
        names = ("segments", "wav.scp", "feats.scp")
        tables = [p for d in self.exclude_dirs for n in names if (p := Path(d) / n).exists()]
        when = datetime.now(UTC).isoformat(timespec="seconds")
        return Arrival(when, 0, 0, 0, 0, _hash_of(lists), _hash_of(tables), 1, 0)

    def _output(self, number: int) -> Path:
        return self.directory / f"output.{number}"

    def _intact(self) -> list[int]:
        """The live shards whose keys are what was written."""
        found = []
        for number in self.split.live:
            names = names_of(number)
            wanted = [self.split.files.get(name) for name in names]
            paths = [self.directory / name for name in names]
            if wanted == [file_hash(p) if p.exists() else None for p in paths]:
                found.append(number)
            else:
                logger.warning(
                    f"{paths[0]} is not what was written there: its clips are planned anew"
                )
        return found

    def _current(self, intact: Sequence[int]) -> set[int]:
        """Shards that were planned for this very list, as far as they are one row to the end.

        These go on where they are; what scores them sees for itself which files changed.
        """
        first = self.split.last + 1
        for arrival in reversed(self.split.arrivals):
            if not arrival.is_of(self.arrival):
                break
            if arrival.first <= arrival.last:
                first = arrival.first
        found: set[int] = set()
        for number in range(self.split.last, first - 1, -1):
            if number not in intact:
                break
            found.add(number)
        return found

    def _changed(self, number: int) -> list[str]:
        """Of the clips of a shard that count, those that are other ones now."""
        return [
            uid
            for uid, before in self.states[number].items()
            if self.owner.get(uid) == number and uid in self.now and self.now[uid].is_other(before)
        ]

    def _passing(self, number: int) -> list[str]:
        """Likewise those that could not be read, and perhaps now can."""
        rows = read_rows(self._output(number) / SKIPPED, SKIPPED_COLUMNS)
        uids = (row["utterance"] for row in rows if row["reason"] in PASSING)
        return [uid for uid in uids if self.owner.get(uid) == number and uid in self.now]

    def plan(self, nj: int) -> Plan:
        """See :func:`plan_shards`."""
        dropped = [number for number in self.split.live if number not in self.stays]
        for number in dropped:
            _check_idle(self._output(number))
        run, changed, once_more = set(self.current - self.finished), 0, set[str]()
        for number in self.stays:
            others = self._changed(number)
            changed += len(others)
            passing = self._passing(number) if number in self.finished else []
            if number not in self.current:
                once_more.update(others, passing)
            elif others or passing:
                run.add(number)
                self._reopen(number, others)
        keys, aside = self._wanted(once_more)
        gone = sorted(self.owner.keys() - self.rows.good.keys() - self.rows.bad.keys())
        known = len(self.owner.keys() & self.rows.good.keys()) - changed
        first = self.split.last + 1
        # Of the first list, one for every process; of what came later, one for a good many clips.
        most = nj if first == 1 else math.ceil(len(keys) / CLIPS_OF_A_SHARD)
        count = max(1, min(nj, most, len(keys))) if keys else 0
        new = sum(uid not in self.owner for uid in keys)
        arrival = Arrival(
            self.arrival.when,
            *(known, new, changed, len(gone)),
            *(self.arrival.list_sha256, self.arrival.excluded_sha256),
            *(first, first + count - 1),
        )
        earlier = self.directory / EARLIER
        if keys and self.split.arrivals:
            self._write_earlier(earlier, [*gone, *sorted(once_more)])
        if keys or not self.split.arrivals or not arrival.is_of(self.split.arrivals[-1]):
            self._add(arrival, keys, dropped)
            run.update(range(arrival.first, arrival.last + 1))
        elif self.current - self.finished:
            # Cut short: it goes on with what arrived then.
            arrival = self.split.arrivals[-1]
        self._list(aside, gone, arrival.when)
        there = earlier if earlier.exists() else None
        run = run or {max(self.split.live)}
        return Plan(min(run), max(run), arrival, there)

    def _wanted(self, once_more: set[str]) -> tuple[list[str], list[tuple[str, str, str]]]:
        """What has to be scored, sorted, and rows of what is set aside."""
        before = self.split.arrivals[-1] if self.split.arrivals else None
        judged = self.rows.good.keys() - self.owner.keys() | once_more
        # What was set aside stays so, though a shard may have it from before.
        judged |= self.rows.good.keys() & self._listed(SKIPPED).keys()
        if before is None or before.excluded_sha256 != self.arrival.excluded_sha256:
            judged |= self.rows.good.keys()
        free, aside = set_aside(judged, self.pool_dirs, self.exclude_dirs)
        left = self.owner.keys() & self.rows.good.keys() - {uid for uid, *_ in aside}
        keys = [uid for uid in free if uid not in self.owner or uid in once_more]
        if not keys and not left:
            raise DataError(f"{self.key_file}: every utterance of the pool is transcribed already")
        aside += [(uid, "bad_line", one_line(text)) for uid, text in self.rows.bad.items()]
        return keys, aside

    def _reopen(self, number: int, others: Iterable[str]) -> None:
        """Let a shard see which of its files changed, and remember what they are now."""
        others = list(others)
        if not others:
            return
        _check_idle(self._output(number))
        (self._output(number) / CHECKSUMS).unlink(missing_ok=True)
        states = self.states[number] | {uid: self.now[uid] for uid in others}
        name = names_of(number)[1]
        write_states(self.directory / name, states.items())
        self.split.files[name] = file_hash(self.directory / name)
        self._write_split(self.split)

    def _add(self, arrival: Arrival, keys: Sequence[str], dropped: Sequence[int]) -> None:
        """Write what new shards need, and then that they are there."""
        numbers = range(arrival.first, arrival.last + 1)
        files = dict(self.split.files)
        if keys:
            lengths = lengths_of(self.key_file, keys, self.rows.good)
            cuts = [0, *balanced_cuts(lengths, len(numbers)), len(keys)]
            for number, (start, end) in zip(numbers, pairwise(cuts), strict=True):
                of_keys, of_states = names_of(number)
                part = keys[start:end]
                lines = (f"{uid} {self.rows.good[uid]}" for uid in part)
                write_lines(self.directory / of_keys, lines)
                write_states(self.directory / of_states, ((uid, self.now[uid]) for uid in part))
                for name in (of_keys, of_states):
                    files[name] = file_hash(self.directory / name)
        live = [n for n in self.split.live if n not in dropped]
        arrivals = [*self.split.arrivals, arrival]
        self.split = Split(self.split.pool, [*live, *numbers], files, arrivals)
        self._write_split(self.split)
        for number in dropped:
            # A job that waited for its turn finds nothing to do, and says so.
            path = self.directory / f"keys.{number}.scp"
            if path.exists():
                path.replace(self.directory / f"dropped.{number}.scp")

    def _write_split(self, split: Split) -> None:
        text = json.dumps(asdict(split), indent=1, ensure_ascii=False)
        write_lines(self.directory / SPLIT, [text])

    def _write_earlier(self, path: Path, others: Iterable[str]) -> None:
        """What old shards have: settings, unfinished scores, and others by their audio."""
        wanted: dict[int, set[str]] = {}
        for uid in others:
            wanted.setdefault(self.owner[uid], set()).add(uid)
        audio: dict[str, list[str]] = {}
        for number, uids in wanted.items():
            if number in self.finished:
                for row in read_rows(self._output(number) / "scores.tsv", ("audio_hash",)):
                    if row["utterance"] in uids:
                        audio[row["audio_hash"]] = [row["utterance"], str(self._output(number))]
        unfinished = [n for n in range(1, self.split.last + 1) if n not in self.stays]
        found: dict[str, Any] = {
            "like": [str(self._output(min(self.finished)))] if self.finished else [],
            "unfinished": [str(self._output(n)) for n in unfinished if self._output(n).exists()],
            "audio": audio,
        }
        write_lines(path, [json.dumps(found, indent=1, ensure_ascii=False)])

    def _listed(self, name: str) -> dict[str, str]:
        """Utterance -> the detail that a table had of it when the last list was planned."""
        path = self.directory / name
        rows = read_rows(path, SKIPPED_COLUMNS) if path.exists() else []
        return {row["utterance"]: row["detail"] for row in rows}

    def _list(self, aside: Iterable[Sequence[str]], gone: Iterable[str], when: str) -> None:
        """Write skipped.tsv and gone.tsv, and the checksums of all that merging goes by."""
        details = self._listed(GONE)
        since = f"not in {self.key_file} since {when}"
        rows = ([uid, NOT_IN_POOL, details.get(uid, since)] for uid in gone)
        write_rows(self.directory / GONE, SKIPPED_COLUMNS, rows)
        write_rows(self.directory / SKIPPED, SKIPPED_COLUMNS, aside)
        keys = [names_of(number)[0] for number in self.split.live]
        write_checksums(self.directory, [SKIPPED, GONE, *keys])


def _hash_of(paths: Iterable[Path]) -> str:
    hashes = [file_hash(path) for path in paths]
    return hashes[0] if len(hashes) == 1 else text_hash("\n".join(hashes))


def _check_idle(output: Path) -> None:
    """See that nothing scores a shard at this moment."""
    for journal in output.glob("*.jsonl"):
        with journal.open("ab") as f:
            hold(f, journal)
