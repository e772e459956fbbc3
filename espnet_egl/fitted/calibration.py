"""Calibration: from a confidence to the probability of being right.

A confidence ranks; its value means nothing by itself. On transcribed data that the model was
not trained on, a logistic regression on logit(confidence) learns what share of the words, and
of the utterances, of a confidence are correct; and of the utterances of a confidence, what share
of their words is, with those that are missing.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from espnet_egl.data.kaldi import read_table, write_table
from espnet_egl.errors import ConfigError, DataError
from espnet_egl.store.files import read_manifest, read_yaml, write_lines
from espnet_egl.store.tables import read_words, write_words

logger = logging.getLogger(__name__)

# Fewer words, or fewer of a kind, are no basis.
FEWEST = 20
FEWEST_OF_A_KIND = 2
FOLDS = 5

# logit(0) and logit(1) are infinite.
CLIP = 1e-6

BINS = 10

# The setting that says which model it was.
MODEL = "asr_model_file_sha256"


@dataclass(frozen=True)
class Quality:
    """How good confidences are as probabilities.

    Attributes:
        auc_roc: P(a right one has more than a wrong one): 0.5 is chance, 1 is perfect.
        ece: Expected calibration error: mean distance of confidence and accuracy over BINS
            bins of equal width; 0 is perfect.
        nce: Normalised cross entropy: the share of the entropy of right and wrong that the
            confidences take away; 1 is perfect, below 0 is worse than their mean.
    """

    auc_roc: float
    ece: float
    nce: float


@dataclass(frozen=True)
class Logistic:
    """P(right) = 1 / (1 + exp(-(slope logit(confidence) + intercept))).

    Attributes:
        slope: Its factor.
        intercept: Its constant.
        count: Of what it was fitted on.
        right: The share of these that were right.
        before: The confidences as they were.
        after: Calibrated, each by a fit that did not see its utterance.
    """

    slope: float
    intercept: float
    count: int
    right: float
    before: Quality
    after: Quality

    def __call__(self, confidences: Sequence[float]) -> np.ndarray:
        """Calibrated confidences, in [0, 1]."""
        return _sigmoid(self.slope * logit(confidences) + self.intercept)


@dataclass(frozen=True)
class Calibration:
    """What was learnt of words and of utterances.

    Attributes:
        word: P(the word is right).
        utterance: P(no error in the utterance); None if the data had none, or nothing else.
        settings: What the confidences were made with; those it is applied to must agree.
        accuracy: 1 - WER by the utterance's confidence; None in files of earlier versions.
    """

    word: Logistic
    utterance: Logistic | None
    settings: dict[str, Any] = field(default_factory=dict)
    accuracy: Logistic | None = None

    @classmethod
    def fit(cls, score_dir: str | Path, text: str | Path) -> Calibration:
        """Learn from a scored set and its transcripts.

        Args:
            score_dir: What stage 20 left: ``words.ctm`` and ``utt2confidence``.
            text: Kaldi's ``text``; what was not scored may be in it too.

        Raises:
            DataError: An utterance has no transcript, or the data is too little: fewer than
                FEWEST words, or all words right, or all wrong.
        """
        confidences = read_confidences(score_dir)
        words = words_by_utterance(score_dir, confidences)
        references = read_table(text)
        if unknown := sorted(confidences.keys() - references.keys()):
            raise DataError(
                f"{text} has no transcript of {len(unknown)} of {len(confidences)} scored "
                f"utterances, e.g. '{unknown[0]}'; give the text of what was scored"
            )
        values, right, groups, whole, shares = [], [], [], [], []
        for number, uid in enumerate(confidences):
            hypothesis = [row[4] for row in words[uid]]
            reference = references[uid].split()
            values += [float(row[5]) for row in words[uid]]
            right += word_correctness(reference, hypothesis)
            groups += [number] * len(hypothesis)
            whole.append(reference == hypothesis)
            shares.append(words_right(reference, hypothesis))
        word = fit_logistic("words", values, right, groups)
        utterance = accuracy = None
        known = list(confidences.values())
        try:
            utterance = fit_logistic("utterances", known, whole, range(len(whole)))
        except DataError as e:
            logger.warning(f"utterances keep their confidence as it is: {e}")
        rows = [(known[n], share, n) for n, of in enumerate(shares) for share in of]
        try:
            accuracy = fit_logistic("words of utterances", *map(list, zip(*rows, strict=True)))
        except DataError as e:
            logger.warning(f"what share of an utterance's words is right is not known: {e}")
        settings = confidence_settings(Path(score_dir) / "logdir")
        return cls(word, utterance, settings, accuracy)

    def check_settings(self, logdir: str | Path) -> None:
        """See that a pool's confidences were made as those that it was learnt from.

        Args:
            logdir: Of the pool's shards.

        Raises:
            ConfigError: They were made with other options. Another model is warned of.
        """
        found = confidence_settings(logdir)
        for name in sorted(found.keys() & self.settings.keys()):
            if found[name] == self.settings[name]:
                continue
            message = f"{name}: {self.settings[name]!r} in the calibration, {found[name]!r} here"
            if name == MODEL:
                logger.warning(f"{message}: another model's calibration may not fit")
            else:
                raise ConfigError(f"the calibration is of other confidences: {message}")

    def apply(self, score_dir: str | Path, logdir: str | Path, output_dir: str | Path) -> None:
        """Write calibrated ``words.ctm`` and ``utt2confidence``.

        Args:
            score_dir: What stage 20 left.
            logdir: Holds its shards.
            output_dir: Where the calibrated files go; not ``score_dir``.

        Raises:
            ConfigError: The confidences there were made with other options.
        """
        self.check_settings(logdir)
        confidences = read_confidences(score_dir)
        rows = read_words(Path(score_dir) / "words.ctm")
        of_words = self.word([float(row[5]) for row in rows])
        write_words(
            Path(output_dir) / "words.ctm",
            [[*row[:5], f"{value:.6f}"] for row, value in zip(rows, of_words, strict=True)],
        )
        values = list(confidences.values())
        if self.utterance is None:
            logger.warning("the calibration has none of utterances: they stay as they are")
        else:
            values = list(self.utterance(values))
        table = {uid: f"{value:.6f}" for uid, value in zip(confidences, values, strict=True)}
        write_table(Path(output_dir) / "utt2confidence", table)

    def save(self, path: str | Path) -> None:
        """Write it as plain yaml."""
        write_lines(path, yaml.safe_dump(asdict(self), sort_keys=False).splitlines())

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read what :meth:`save` wrote.

        Raises:
            ConfigError: It is missing, or no calibration.
        """
        try:
            content = read_yaml(path)
            return cls(
                _logistic(content["word"]),
                None if content["utterance"] is None else _logistic(content["utterance"]),
                dict(content["settings"]),
                None if content.get("accuracy") is None else _logistic(content["accuracy"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise ConfigError(f"{path}: not a calibration that al_calibrate wrote: {e}") from e


def _logistic(content: dict[str, Any]) -> Logistic:
    return Logistic(
        slope=float(content["slope"]),
        intercept=float(content["intercept"]),
        count=int(content["count"]),
        right=float(content["right"]),
        before=Quality(**content["before"]),
        after=Quality(**content["after"]),
    )


def confidence_settings(logdir: str | Path) -> dict[str, Any]:
    """What determines confidences, from a shard's manifest if it is still there."""
    for path in sorted(Path(logdir).glob("output.*/manifest.json")):
        found = read_manifest(path.parent)
        names = ("posterior", MODEL)
        return {k: v for k, v in found.items() if k.startswith("confidence_") or k in names}
    return {}


def read_confidences(score_dir: str | Path) -> dict[str, float]:
    """Utterance -> confidence, of ``utt2confidence``.

    Raises:
        DataError: It is missing, or a value is not in [0, 1].
    """
    path = Path(score_dir) / "utt2confidence"
    found = {}
    for uid, value in read_table(path).items():
        try:
            found[uid] = float(value)
        except ValueError:
            found[uid] = math.nan
        if not 0 <= found[uid] <= 1:
            raise DataError(
                f"{path}: '{uid} {value}' is not '<utterance> <confidence from 0 to 1>'"
            )
    return found


def words_by_utterance(
    score_dir: str | Path, utterances: Mapping[str, Any]
) -> dict[str, list[list[str]]]:
    """Utterance -> its lines of ``words.ctm``; none for an empty transcript.

    Raises:
        DataError: A word is of an utterance that is not among them.
    """
    path = Path(score_dir) / "words.ctm"
    words: dict[str, list[list[str]]] = {uid: [] for uid in utterances}
    for row in read_words(path):
        if row[0] not in words:
            raise DataError(f"{path}: '{row[0]}' is not in utt2confidence; merge again (stage 20)")
        words[row[0]].append(row)
    return words


def word_correctness(reference: Sequence[str], hypothesis: Sequence[str]) -> list[bool]:
    """Which words of a hypothesis stand in the reference, in a minimal alignment of both."""
    import jiwer

    right = [False] * len(hypothesis)
    if reference and hypothesis:
        found = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
        for chunk in found.alignments[0]:
            if chunk.type == "equal":
                for i in range(chunk.hyp_start_idx, chunk.hyp_end_idx):
                    right[i] = True
    return right


def words_right(reference: Sequence[str], hypothesis: Sequence[str]) -> list[bool]:
    """One for every word of the reference, right or not: as many wrong as there are word errors.

    Of more errors than words, all are wrong; of words where nothing was said, each is.
    """
    import jiwer

    if not reference:
        return [False] * len(hypothesis)
    found = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
    errors = found.substitutions + found.deletions + found.insertions
    wrong = min(errors, len(reference))
    return [True] * (len(reference) - wrong) + [False] * wrong


# ---- the regression ----


def logit(confidences: Sequence[float]) -> np.ndarray:
    """log(c / (1 - c)), with 0 and 1 moved in by CLIP."""
    clipped = np.clip(np.asarray(confidences, dtype=float), CLIP, 1 - CLIP)
    return np.log(clipped / (1 - clipped))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def fit_logistic(
    what: str, confidences: Sequence[float], right: Sequence[bool], groups: Sequence[int]
) -> Logistic:
    """Learn P(right) from confidences.

    Args:
        what: They are, for messages.
        confidences: In [0, 1].
        right: Whether each is right.
        groups: The utterance of each: cross-validation keeps an utterance together.

    Raises:
        DataError: There are too few, or too few of them right, or wrong.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold

    if len(confidences) < FEWEST:
        raise DataError(f"too few {what}, {len(confidences)}: give at least {FEWEST}")
    labels, of_group = np.asarray(right, dtype=int), np.asarray(groups)
    # A fold's fit needs right and wrong ones outside of the fold.
    folds = min(FOLDS, *(len(set(of_group[labels == kind])) for kind in (0, 1)))
    if folds < FEWEST_OF_A_KIND:
        raise DataError(
            f"of {len(labels)} {what} {labels.sum()} are right: there must be right and wrong "
            f"ones in at least {FEWEST_OF_A_KIND} utterances each; give more data"
        )
    inputs, held_out = logit(confidences)[:, None], np.zeros(len(labels))
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    for train, test in splitter.split(inputs, labels, of_group):
        if len(set(labels[train])) < 2:
            raise DataError(f"nearly all {what} that differ stand in one utterance; give more data")
        model = LogisticRegression().fit(inputs[train], labels[train])
        held_out[test] = model.predict_proba(inputs[test])[:, 1]
    model = LogisticRegression().fit(inputs, labels)
    return Logistic(
        float(model.coef_[0, 0]),
        float(model.intercept_[0]),
        len(labels),
        float(labels.mean()),
        quality(confidences, labels),
        quality(held_out, labels),
    )


def quality(confidences: Sequence[float] | np.ndarray, right: np.ndarray) -> Quality:
    """How good confidences are as probabilities of being right."""
    from sklearn.metrics import roc_auc_score

    values = np.asarray(confidences, dtype=float)
    return Quality(
        float(roc_auc_score(right, values)),
        expected_calibration_error(values, right),
        normalized_cross_entropy(values, right),
    )


def expected_calibration_error(confidences: np.ndarray, right: np.ndarray) -> float:
    """Mean distance of confidence and accuracy over BINS bins of equal width, in [0, 1]."""
    bins = np.minimum((confidences * BINS).astype(int), BINS - 1)
    gaps = [abs((confidences[bins == b] - right[bins == b]).sum()) for b in range(BINS)]
    return float(sum(gaps) / len(right))


def normalized_cross_entropy(confidences: np.ndarray, right: np.ndarray) -> float:
    """(H(right) - H(right | confidence)) / H(right), at most 1; NIST's measure."""
    clipped = np.clip(confidences, CLIP, 1 - CLIP)

    def bits(p: Any) -> float:
        return float(-np.where(right == 1, np.log2(p), np.log2(1 - p)).mean())

    chance = bits(right.mean())
    return (chance - bits(clipped)) / chance
