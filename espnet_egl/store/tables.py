"""The score table and its companions: tab-separated, sorted by utterance id."""

from __future__ import annotations

import csv
import io
import math
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_egl.errors import DataError
from espnet_egl.store.files import atomic_open, write_lines

if TYPE_CHECKING:
    import pandas as pd

    from espnet_egl.types import NBest, ScoredUtterance, Utterance, Word

BASE_COLUMNS = (
    "utterance",
    "seconds",
    "frames",
    "hypotheses",
    "mass",
    "confidence",
    "best_hypothesis",
)
SKIPPED_COLUMNS = ("utterance", "reason", "detail")
NBEST_COLUMNS = ("utterance", "rank", "log_prob", "text")


def score_column(method: str) -> str:
    """The column of the score table that holds a method's score."""
    return f"score_{method}"


def one_line(text: str) -> str:
    """``text`` with every run of white space made one space: safe in a table's cell."""
    return " ".join(text.split())


def duration(seconds: float) -> str:
    """Seconds as a person says them: ``48 s``, ``12.5 minutes``, ``3.1 hours``."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.1f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def known_columns(
    utterance: Utterance, frames: int, nbest: NBest, confidence: float
) -> dict[str, float]:
    """BASE_COLUMNS as numbers, for methods that look at other columns."""
    return {
        "seconds": utterance.seconds,
        "frames": float(frames),
        "hypotheses": float(len(nbest.hypotheses)),
        "mass": nbest.mass,
        "confidence": confidence,
    }


def score_row(scored: ScoredUtterance) -> list[str]:
    """The cells of one utterance: BASE_COLUMNS, the methods' scores, then their details."""
    best = scored.nbest.hypotheses[0]
    return [
        scored.uid,
        f"{scored.seconds:.3f}",
        str(scored.frames),
        str(len(scored.nbest.hypotheses)),
        f"{scored.nbest.mass:.6g}",
        f"{scored.confidence.utterance:.6f}",
        one_line(best.text),
        *(f"{value:.8g}" for value in (scored.scores | scored.details).values()),
        scored.audio_hash,
    ]


def write_rows(path: str | Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table at once."""
    with atomic_open(path) as f:
        f.write("\t".join(columns) + "\n")
        f.writelines("\t".join(row) + "\n" for row in rows)


def read_rows(path: str | Path, columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """The rows of a table of :func:`write_rows`, as they are written.

    Args:
        path: The table.
        columns: That it must have.

    Raises:
        DataError: It is missing, not UTF-8, lacks a column, or has a line with other cells.
    """
    try:
        with Path(path).open(encoding="utf-8", newline="") as f:
            reader = csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE)
            rows, names = list(reader), reader.fieldnames or ()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; run the stage before this one") from None
    except OSError as e:
        raise DataError(f"{path}: cannot be read ({e.strerror})") from e
    except UnicodeDecodeError as e:
        raise DataError(f"{path}: not UTF-8 ({e})") from e
    except csv.Error as e:
        raise DataError(f"{path}: not a table: {e}") from e
    if missing := set(columns) - set(names):
        raise DataError(f"{path}:1: column {min(missing)} is missing")
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise DataError(f"{path}:{number}: not {len(names)} cells")
    return rows


def number_in(row: Mapping[str, str], column: str, path: str | Path) -> float:
    """A cell of :func:`read_rows` as a finite number.

    Raises:
        DataError: It is none.
    """
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(
            f"{path}: {column} of '{row.get('utterance', '')}' is {row[column]!r}, not a number"
        )
    return value


def word_row(word: Word) -> list[str]:
    """The fields of a word in a CTM, but for its utterance: channel, start, duration, ..."""
    return ["1", f"{word.start:.3f}", f"{word.seconds:.3f}", word.text, f"{word.confidence:.6f}"]


def write_words(path: str | Path, rows: Iterable[Sequence[str]]) -> None:
    """Write NIST's CTM, ``utterance channel start duration word confidence``, at once.

    Args:
        path: The file.
        rows: The fields; the words of an utterance in their order. Sorted by utterance.
    """
    write_lines(path, (" ".join(row) for row in sorted(rows, key=lambda row: row[0])))


def read_words(path: str | Path) -> list[list[str]]:
    """The fields of every line of a CTM: utterance, channel, start, duration, word, confidence.

    Raises:
        DataError: See :func:`read_word_lines`.
    """
    return [line.split(" ") for line in read_word_lines(path)]


def read_word_lines(path: str | Path) -> Iterator[str]:
    """The lines of a CTM.

    Raises:
        DataError: It is missing, or a line is no such six fields; the message names it.
    """
    try:
        with Path(path).open(encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                if not line.endswith("\n"):
                    break
                if not _is_word(line):
                    raise DataError(
                        f"{path}:{number}: not '<utterance> <channel> <start> <duration> <word> "
                        "<confidence>' with a confidence from 0 to 1"
                    )
                yield line[:-1]
    except OSError as e:
        raise DataError(f"{path}: cannot be read ({e.strerror}); score again (stage 20)") from e
    except UnicodeDecodeError as e:
        raise DataError(f"{path}: not UTF-8 ({e})") from e


def _is_word(line: str) -> bool:
    try:
        return line.count(" ") == 5 and 0 <= float(line[line.rindex(" ") :]) <= 1
    except ValueError:
        return False


def _lines_of(path: str | Path, wanted: Collection[str] | None) -> io.StringIO:
    """The header of a table, and the lines of some utterances, or of all."""
    with Path(path).open(encoding="utf-8") as f:
        kept = [next(f, "")]
        tabs = kept[0].count("\t")
        for number, line in enumerate(f, 2):
            if wanted is None or line.partition("\t")[0] in wanted:
                if line.count("\t") != tabs:
                    raise ValueError(f"line {number} has not {tabs + 1} cells")
                kept.append(line)
    return io.StringIO("".join(kept))


def _read_tsv(path: str | Path | io.StringIO, types: Mapping[str, type]) -> pd.DataFrame:
    """A table that was written by :func:`write_rows`: no quotes, no missing values."""
    import pandas as pd

    with warnings.catch_warnings():
        # Of rows with more cells than the header pandas would make other columns, or drop some.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            return pd.read_csv(
                path,
                sep="\t",
                quoting=csv.QUOTE_NONE,
                keep_default_na=False,
                index_col=False,
                dtype=dict(types),
                encoding="utf-8",
            )
        except pd.errors.ParserWarning as e:
            raise ValueError(e) from e


def read_scores(path: str | Path) -> pd.DataFrame:
    """Read a score table.

    Returns:
        One row an utterance, in the file's order; ``best_hypothesis`` may be empty.

    Raises:
        DataError: It is missing, malformed, has an utterance twice, or holds a score that is not a
            finite number.
    """
    import numpy as np
    import pandas as pd

    text = dict.fromkeys(("utterance", "best_hypothesis", "audio_hash"), str)
    try:
        table = _read_tsv(path, text)
    except FileNotFoundError:
        raise DataError(f"{path}: no such score table; score the pool first (stage 20)") from None
    except (OSError, ValueError, OverflowError) as e:
        raise DataError(f"{path}: not a score table: {e}") from e
    if missing := [c for c in BASE_COLUMNS if c not in table.columns]:
        raise DataError(f"{path}: not a score table: column {missing[0]} is missing")
    again = np.flatnonzero(table["utterance"].duplicated())
    if len(again):
        uid = table["utterance"][again[0]]
        raise DataError(f"{path}:{again[0] + 2}: '{uid}' stands twice; keep one of its lines")
    for column in table.columns:
        if column in text:
            continue
        values = pd.to_numeric(table[column], errors="coerce").astype(float)
        bad = np.flatnonzero(~np.isfinite(values.to_numpy()))
        if len(bad):
            raise DataError(
                f"{path}:{bad[0] + 2}: {column} of '{table['utterance'][bad[0]]}' is "
                f"{table[column][bad[0]]!r}, not a finite number"
            )
        table[column] = values
    return table


def read_nbest(path: str | Path, wanted: Collection[str] | None = None) -> pd.DataFrame:
    """Read ``nbest.tsv``: NBEST_COLUMNS, the most probable hypothesis of an utterance first.

    Args:
        path: The table.
        wanted: The utterances whose rows are read, where not all are: the table of a large pool
            may not fit memory.

    Raises:
        DataError: It is missing or malformed.
    """
    import numpy as np

    types = {"utterance": str, "rank": int, "log_prob": float, "text": str}
    try:
        table = _read_tsv(_lines_of(path, wanted), types)
    except (OSError, ValueError, OverflowError) as e:
        raise DataError(f"{path}: not a table of hypotheses: {e}") from e
    if missing := [c for c in NBEST_COLUMNS if c not in table.columns]:
        raise DataError(f"{path}: not a table of hypotheses: column {missing[0]} is missing")
    # Rounding may put a certain transcript a little above 0.
    bad = table[~(np.isfinite(table["log_prob"]) & (table["log_prob"] < 1e-3))]
    if len(bad):
        uid, log_prob = bad.iloc[0][["utterance", "log_prob"]]
        raise DataError(f"{path}: log_prob of '{uid}' is {log_prob}, no logarithm of a probability")
    return table


def methods_of(table: pd.DataFrame) -> list[str]:
    """The acquisition methods whose scores a table holds."""
    prefix = score_column("")
    return [c.removeprefix(prefix) for c in table.columns if c.startswith(prefix)]
