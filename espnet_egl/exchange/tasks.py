"""From a selection to the tasks of annotators."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from espnet_egl.data.kaldi import Segment, read_segments, read_table
from espnet_egl.errors import DataError
from espnet_egl.exchange import Task, printable
from espnet_egl.exchange.matching import Clips, Source
from espnet_egl.store.tables import number_in, read_nbest, read_rows


def read_tasks(select_dir: str | Path, nbest_file: str | Path | None = None) -> list[Task]:
    """The selected clips in the order of their rank.

    Args:
        select_dir: What stage 21 left.
        nbest_file: ``nbest.tsv`` of stage 20, for more drafts than the best hypothesis.

    Raises:
        DataError: A file is missing or lacks a selected utterance.
    """
    select_dir = Path(select_dir)
    selection = select_dir / "selection.tsv"
    rows = read_rows(selection, ("utterance", "seconds", "best_hypothesis"))
    best = {row["utterance"]: row["best_hypothesis"] for row in rows}
    drafts = defaultdict(list)
    probabilities = defaultdict(list)
    if nbest_file is not None:
        nbest = read_nbest(nbest_file, best.keys())
        columns = (nbest[name] for name in ("utterance", "text", "log_prob"))
        for uid, text, log_prob in zip(*columns, strict=True):
            drafts[uid].append(text)
            probabilities[uid].append(math.exp(log_prob))
    seconds = {row["utterance"]: number_in(row, "seconds", selection) for row in rows}
    sources = read_sources(select_dir, seconds)
    tasks = []
    for row in rows:
        uid = row["utterance"]
        source = sources[uid]
        tasks.append(
            Task(
                uid=uid,
                audio=source.audio,
                start=source.start,
                end=source.end,
                channel=source.channel,
                seconds=seconds[uid],
                # What a list of another scoring lacks still has the draft it was selected with.
                drafts=tuple(map(printable, drafts[uid] or [best[uid]])),
                probabilities=tuple(probabilities[uid]),
                confidence=number_in(row, "confidence", selection) if "confidence" in row else None,
            )
        )
    return tasks


def read_clips(select_dir: str | Path) -> Clips:
    """The selected clips by the names of their files, with the drafts they were selected with.

    Raises:
        DataError: See :func:`read_sources`.
    """
    selection = Path(select_dir) / "selection.tsv"
    rows = read_rows(selection, ("utterance",))
    drafts = {row["utterance"]: row.get("best_hypothesis", "") for row in rows}
    # Of a selection that somebody wrote by hand, its lengths may be unknown.
    seconds = {
        row["utterance"]: number_in(row, "seconds", selection) if row.get("seconds") else 0.0
        for row in rows
    }
    return Clips(read_sources(Path(select_dir), seconds), drafts)


def read_sources(select_dir: Path, seconds: Mapping[str, float]) -> dict[str, Source]:
    """Where clips are from.

    Args:
        select_dir: Of the selection.
        seconds: How long every clip is.

    Raises:
        DataError: A table is missing or lacks a recording.
    """
    scp = next((p for n in ("wav.scp", "feats.scp") if (p := select_dir / n).exists()), None)
    if scp is None:
        raise DataError(f"{select_dir} has neither wav.scp nor feats.scp; run stage 21 again")
    recordings = read_table(scp)
    segments = select_dir / "segments"
    cuts = read_segments(segments).all() if segments.exists() else {}
    sources = {}
    for uid in seconds:
        cut = cuts.get(uid, Segment(uid, 0.0, None))
        if cut.recording not in recordings:
            raise DataError(f"{scp} lacks '{cut.recording}' of the selection; run stage 21 again")
        audio = recordings[cut.recording]
        if not audio.endswith("|"):
            audio = str(Path(audio).absolute())
        end = cut.end
        if end is None and cut.start > 0:
            # Of a task without one, no format says where it begins.
            end = cut.start + seconds[uid]
        sources[uid] = Source(audio, cut.start, end, cut.channel)
    return sources
