"""Stage 25: error rates of a retrained model, a point of the learning curve for every test set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from espnet_egl.data.kaldi import read_table
from espnet_egl.errors import DataError
from espnet_egl.store.files import lock
from espnet_egl.store.tables import read_rows, write_rows

RESAMPLES = 2000
CONFIDENCE_LEVEL = 0.95


@dataclass(frozen=True)
class ErrorRates:
    """Of a test set, in percent.

    Attributes:
        cer: Character error rate.
        wer: Word error rate.
        wer_lo: Lower end of the 95 % interval of the WER, by bootstrap over utterances.
        wer_hi: Upper end.
    """

    cer: float
    wer: float
    wer_lo: float
    wer_hi: float


@dataclass(frozen=True)
class Point:
    """A row of ``curve.tsv``; all cells as they are written, the first six say which point.

    Attributes:
        corpus: Of the recipe.
        method: What the utterances were selected by; empty for the seed model.
        seed: Random seed.
        round: Of active learning; 0: the seed model.
        budget: As the user gave it.
        test_set: Name of the test set.
        utterances: Labelled so far.
        hours: Of these.
        cost: Of these, by the prices.
        cer: See :class:`ErrorRates`; so the three after it.
        wer: See above.
        wer_lo: See above.
        wer_hi: See above.
        seconds: That training took.
    """

    corpus: str
    method: str
    seed: str
    round: str
    budget: str
    test_set: str
    utterances: str
    hours: str
    cost: str
    cer: str
    wer: str
    wer_lo: str
    wer_hi: str
    seconds: str

    @property
    def key(self) -> tuple[str, ...]:
        """What tells it from other points."""
        return astuple(self)[:6]


@dataclass(frozen=True)
class Cleaning:
    """How texts are prepared to be scored, as in stage 13 of asr.sh.

    Attributes:
        cleaner: ESPnet's text cleaner of references; None: none.
        hyp_cleaner: Of what was recognised.
        symbols: A file of non-linguistic symbols, which do not count.
    """

    cleaner: str | None = None
    hyp_cleaner: str | None = None
    symbols: str | None = None

    def read(self, path: str | Path, recognised: bool = False) -> dict[str, str]:
        """Utterance -> cleaned text, of a file in Kaldi's ``text`` format.

        Raises:
            DataError: It cannot be read.
        """
        return self.of(read_table(path), recognised)

    def of(self, texts: Mapping[str, str], recognised: bool = False) -> dict[str, str]:
        """The same of texts that were read already."""
        cleaner = self.hyp_cleaner if recognised else self.cleaner
        if cleaner is None and self.symbols is None:
            return dict(texts)
        from espnet2.text.build_tokenizer import build_tokenizer
        from espnet2.text.cleaner import TextCleaner

        clean = TextCleaner(cleaner)
        words = build_tokenizer(
            "word",
            non_linguistic_symbols=self.symbols,
            remove_non_linguistic_symbols=self.symbols is not None,
        )
        return {uid: " ".join(words.text2tokens(clean(text))) for uid, text in texts.items()}


AS_IT_IS = Cleaning()
CURVE_COLUMNS = tuple(field.name for field in fields(Point))


def error_rates(
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    seed: int = 0,
    groups: Mapping[str, str] | None = None,
) -> ErrorRates:
    """WER and CER by jiwer; an utterance without a hypothesis counts as deleted.

    Args:
        references: Utterance -> transcript.
        hypotheses: Utterance -> what was recognised.
        seed: Of the bootstrap.
        groups: Utterance -> speaker, for an interval over speakers instead of utterances.

    Raises:
        DataError: No word stands in the references.
    """
    import jiwer

    errors, words = count_errors(references, hypotheses)
    if groups is not None:
        of = [groups.get(uid, uid) for uid, text in sorted(references.items()) if text]
        _, places = np.unique(of, return_inverse=True)
        errors, words = np.bincount(places, errors), np.bincount(places, words)
    texts = [text for _, text in sorted(references.items()) if text]
    found = [hypotheses.get(uid, "") for uid, text in sorted(references.items()) if text]
    return ErrorRates(100 * jiwer.cer(texts, found), *rate(errors, words, seed))


def count_errors(
    references: Mapping[str, str], hypotheses: Mapping[str, str]
) -> tuple[np.ndarray, np.ndarray]:
    """Word errors and words of every utterance that has words, by id.

    Returns:
        (N,) substitutions, deletions and insertions; (N,) words of the reference.

    Raises:
        DataError: No word stands in the references.
    """
    import jiwer

    spoken = {uid: text for uid, text in sorted(references.items()) if text}
    if not spoken:
        raise DataError("the test set has no words: error rates are not defined")
    found = [jiwer.process_words(text, hypotheses.get(uid, "")) for uid, text in spoken.items()]
    errors = np.array([m.substitutions + m.deletions + m.insertions for m in found], float)
    return errors, np.array([m.substitutions + m.deletions + m.hits for m in found], float)


def rate(errors: np.ndarray, words: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Errors of a hundred words, and the ends of the 95 % interval, by bootstrap over utterances.

    Args:
        errors: (N,); or the differences of two recognisers' errors, for paired comparisons.
        words: (N,).
        seed: Of the bootstrap.
    """
    from scipy.stats import bootstrap

    def of(errors: np.ndarray, words: np.ndarray, axis: int) -> np.ndarray:
        return 100 * errors.sum(axis) / words.sum(axis)

    mean = float(of(errors, words, 0))
    if len(words) == 1:
        return mean, mean, mean
    low, high = bootstrap(
        (errors, words),
        of,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE_LEVEL,
        method="percentile",
        random_state=seed,
    ).confidence_interval
    return mean, float(low), float(high)


def read_curve(path: str | Path) -> list[Point]:
    """The points of a ``curve.tsv``; none if it is missing.

    Raises:
        DataError: It is no such table; the message names the line.
    """
    path = Path(path)
    if not path.exists():
        return []
    rows = read_rows(path, CURVE_COLUMNS)
    return [Point(**{name: row[name] for name in CURVE_COLUMNS}) for row in rows]


def add_points(path: str | Path, points: list[Point]) -> None:
    """Put points into ``curve.tsv``; one that is there already is replaced."""
    path = Path(path)
    # Rounds with other selections share the curve, and may end at the same moment.
    with lock(path.with_name(f".{path.name}.lock"), wait=True):
        found = {point.key: point for point in [*read_curve(path), *points]}
        write_rows(path, CURVE_COLUMNS, [astuple(found[key]) for key in sorted(found)])


def read_results(
    reference: str | Path,
    hypothesis: str | Path,
    seed: int = 0,
    by_speaker: bool = False,
    cleaning: Cleaning = AS_IT_IS,
) -> ErrorRates:
    """Of two files in Kaldi's ``text`` format; speakers are in ``utt2spk`` beside the reference.

    Raises:
        DataError: One is missing, or the hypotheses are of another test set.
    """
    references, hypotheses = cleaning.read(reference), cleaning.read(hypothesis, recognised=True)
    if unknown := hypotheses.keys() - references.keys():
        raise DataError(
            f"{hypothesis}: '{min(unknown)}' is not in {reference}: decoded from another test set; "
            "decode again (stage 25)"
        )
    groups = read_table(Path(reference).with_name("utt2spk")) if by_speaker else None
    return error_rates(references, hypotheses, seed, groups)
