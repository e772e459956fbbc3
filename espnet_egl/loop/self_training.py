"""Self-training: the round's model learns from what nobody transcribed, by its own hypotheses.

What it is most sure of is taken: as many clips as keep the share of wrong words in all of them at
a limit. What share of a clip's words is wrong tells the calibration, by the clip's confidence.
Nothing of it counts as labelled: it may be selected, and asked for, in every later round.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from humanfriendly.text import pluralize

from espnet_egl.data.kaldi import read_table, subset_data_dir, write_table
from espnet_egl.errors import ConfigError
from espnet_egl.fitted.calibration import Calibration, words_right
from espnet_egl.loop.returns import read_handled
from espnet_egl.loop.training import move_aside
from espnet_egl.selection.filters import FILTERED_COLUMNS
from espnet_egl.store.files import file_hash, read_manifest, write_lines, write_manifest
from espnet_egl.store.tables import (
    duration,
    number_in,
    one_line,
    read_rows,
    read_scores,
    write_rows,
)

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

logger = logging.getLogger(__name__)

TABLE = "self_training.tsv"
COLUMNS = ("utterance", "state", "seconds", "confidence", "expected_wer", "text")
TAKEN, UNSURE, NO_WORDS = "taken", "not_sure_enough", "no_words"
# The share of wrong words in all that is taken.
WER = 0.1
# Of one clip alone: where most of a pool is free of errors, the others have room for clips that are
# nothing but errors.
WORST = 0.5


@dataclass(frozen=True)
class Taken:
    """What a model trains itself on.

    Attributes:
        clips: How many.
        seconds: Of audio.
        expected_wer: The share of its words that is wrong, as the calibration has it: in [0, 1].
    """

    clips: int
    seconds: float
    expected_wer: float


def write_rest(
    score_file: str | Path,
    select_dir: str | Path,
    labelled_dirs: Sequence[str | Path],
    data_dir: str | Path,
    output_dir: str | Path,
    teacher: str | Path,
    audio_format: str = "",
) -> int:
    """Write what of a scored pool nobody is asked for, as a Kaldi data directory: ``pool``.

    What the selection passed over whatever its score (no speech, duplicates, too long, ...) is not
    in it. Of another model, or another selection, what was made moves out of the way.

    Args:
        score_file: ``scores.tsv`` of stage 20.
        select_dir: What stage 21 left.
        labelled_dirs: What stage 23 left, of every round.
        data_dir: The pool's.
        output_dir: Where ``pool`` goes, and all that comes of it.
        teacher: The model that is to recognise it.
        audio_format: How the pool was dumped, if its directory does not say.

    Returns:
        How many clips.

    Raises:
        DataError: A table is missing or damaged.
    """
    output_dir, select_dir = Path(output_dir), Path(select_dir)
    settings = {
        "teacher_sha256": file_hash(teacher),
        "scores_sha256": file_hash(score_file),
        "selection_sha256": file_hash(select_dir / "selection.tsv"),
        "filtered_sha256": file_hash(select_dir / "filtered.tsv"),
    }
    if (output_dir / "manifest.json").exists() and read_manifest(output_dir) != settings:
        aside = move_aside(output_dir)
        logger.info(f"{output_dir} is of another model or selection: it is {aside} from now on")
    output_dir.mkdir(parents=True, exist_ok=True)
    write_manifest(output_dir, settings)
    table = read_scores(score_file)
    gone = {row["utterance"] for row in read_rows(select_dir / "selection.tsv", ("utterance",))}
    gone |= {row["utterance"] for row in read_rows(select_dir / "filtered.tsv", FILTERED_COLUMNS)}
    for directory in labelled_dirs:
        gone |= read_handled(directory).keys()
    table = table[~table["utterance"].isin(gone)]
    if table.empty:
        return 0
    durations = dict(zip(table["utterance"], table["seconds"], strict=True))
    pool = output_dir / "pool"
    subset_data_dir(data_dir, pool, durations, durations)
    if audio_format and not (pool / "audio_format").exists():
        write_lines(pool / "audio_format", [audio_format])
    return len(table)


def choose(
    expected: np.ndarray,
    words: np.ndarray,
    seconds: np.ndarray,
    wer: float = WER,
    share: float | None = None,
) -> np.ndarray:
    """Which clips are taken, those first of which the fewest words are expected to be wrong.

    Args:
        expected: (N,) share of every clip's words that is wrong, in [0, 1].
        words: (N,) how many it has; clips without are not taken.
        seconds: (N,) its duration.
        wer: The share of wrong words in all that is taken, at most.
        share: In place of it: what is taken of all the seconds, at most.

    Returns:
        (N,) bool.

    Raises:
        ConfigError: ``wer`` or ``share`` is not in (0, 1].
    """
    import numpy as np

    for name, value in (("wer", wer), ("share", share)):
        if value is not None and not 0 < value <= 1:
            raise ConfigError(f"--self_train_{name} must be above 0 and at most 100%")
    order = np.argsort(expected, kind="stable")
    order = order[words[order] > 0]
    if share is None:
        wrong = (expected * words)[order].cumsum()
        fits = (wrong <= wer * words[order].cumsum()) & (expected[order] <= max(wer, WORST))
    else:
        fits = seconds[order].cumsum() <= share * seconds.sum() + 1e-6
    chosen = np.zeros(len(expected), dtype=bool)
    chosen[order[fits]] = True
    return chosen


def take(
    score_dir: str | Path,
    calibration: str | Path,
    pool_dir: str | Path,
    output_dir: str | Path,
    wer: float = WER,
    share: float | None = None,
) -> pd.DataFrame:
    """Take clips, as a Kaldi data directory with their hypotheses as text, and list all in TABLE.

    Args:
        score_dir: What the round's model made of ``pool_dir``.
        calibration: What its confidences are worth, of ``al_calibrate``.
        pool_dir: Of :func:`write_rest`.
        output_dir: Where it goes.
        wer: See :func:`choose`.
        share: See :func:`choose`.

    Returns:
        COLUMNS, a row a clip. Where none is taken there is no ``text``.

    Raises:
        ConfigError: See :func:`choose`; the calibration is of other confidences, or does not tell.
        DataError: A table is missing or damaged.
    """
    import pandas as pd

    score_dir, output_dir = Path(score_dir), Path(output_dir)
    fitted = Calibration.load(calibration)
    fitted.check_settings(score_dir / "logdir")
    if fitted.accuracy is None:
        raise ConfigError(
            f"{calibration} does not tell what share of a clip's words is right: too few words of "
            "the set that it was learnt from are wrong; give another with --al_fit_set"
        )
    scores = read_scores(score_dir / "scores.tsv").sort_values("utterance", ignore_index=True)
    texts = scores["best_hypothesis"].map(one_line)
    words = texts.map(lambda text: len(text.split()))
    expected = 1.0 - fitted.accuracy(scores["confidence"].to_list())
    chosen = choose(expected, words.to_numpy(float), scores["seconds"].to_numpy(float), wer, share)
    table = pd.DataFrame(
        {
            "utterance": scores["utterance"],
            "state": [
                TAKEN if taken else NO_WORDS if count == 0 else UNSURE
                for taken, count in zip(chosen, words, strict=True)
            ],
            "seconds": scores["seconds"],
            "confidence": scores["confidence"],
            "expected_wer": expected,
            "text": texts,
        }
    )
    formats = {"seconds": "{:.3f}", "confidence": "{:.6f}", "expected_wer": "{:.6f}"}
    cells = [table[c].map(formats.get(c, "{}").format) for c in COLUMNS]
    write_rows(output_dir / TABLE, COLUMNS, zip(*cells, strict=True))
    taken = table[table["state"] == TAKEN]
    # Stage 25 takes a round without it for one without self-training: what is there stays until it
    # is written anew.
    if taken.empty:
        (output_dir / "text").unlink(missing_ok=True)
    else:
        durations = dict(zip(taken["utterance"], taken["seconds"], strict=True))
        subset_data_dir(pool_dir, output_dir, durations, durations)
        # Written last: a directory without it is not whole.
        text = dict(zip(taken["utterance"], taken["text"], strict=True))
        write_table(output_dir / "text", text)
    return table


def read_taken(directory: str | Path) -> Taken:
    """What :func:`take` took.

    Raises:
        DataError: Its table is missing or damaged.
    """
    path = Path(directory) / TABLE
    rows = [row for row in read_rows(path, COLUMNS) if row["state"] == TAKEN]
    words = [len(row["text"].split()) for row in rows]
    wrong = [number_in(row, "expected_wer", path) * n for row, n in zip(rows, words, strict=True)]
    seconds = sum(number_in(row, "seconds", path) for row in rows)
    return Taken(len(rows), seconds, sum(wrong) / sum(words) if rows else 0.0)


def true_wer(texts: Mapping[str, str], truth: Mapping[str, str]) -> float | None:
    """The share of wrong words in what was taken, for simulations: errors of a hundred said.

    Args:
        texts: Utterance -> hypothesis.
        truth: Utterance -> transcript; empty where there is no speech.

    Returns:
        None where a transcript is missing, or no word is said.
    """
    if not texts.keys() <= truth.keys():
        return None
    rights = [words_right(truth[uid].split(), text.split()) for uid, text in texts.items()]
    said = sum(map(len, rights))
    return sum(right.count(False) for right in rights) / said if said else None


def describe(table: pd.DataFrame, found: Taken, true: float | None = None) -> str:
    """What was taken, for the end of the stage."""
    whole = duration(table["seconds"].sum())
    lines = [
        f"Self-training on {found.clips} of {pluralize(len(table), 'clip')} that nobody is asked "
        f"for, {duration(found.seconds)} of {whole}, by the model's own hypotheses."
    ]
    if found.clips:
        told = "" if true is None else f"; in truth {100 * true:.1f} %"
        wrong = f"{100 * found.expected_wer:.1f} % of their words are wrong"
        lines.append(f"By their calibrated confidence {wrong}{told}.")
    left = Counter(table.loc[table["state"] != TAKEN, "state"])
    if left:
        listed = ", ".join(f"{n} {state}" for state, n in sorted(left.items()))
        lines.append(f"Not taken, see {TABLE}: {listed}.")
    return "\n".join(lines)


def read_texts(directory: str | Path) -> dict[str, str]:
    """Utterance -> hypothesis, of what was taken; none where there is no ``text``."""
    path = Path(directory) / "text"
    return read_table(path) if path.exists() else {}
