"""What is not selected whatever its score, each with its reason."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from espnet_egl.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

# The reason of a clip that annotators have, or had; what its detail says after the place where they
# have it under another id.
ASKED = "asked_already"
SAME_AUDIO = ", the same audio as "
OVERLAPS = ", some of the audio of "
FILTERED_COLUMNS = ("utterance", "reason", "detail")


@dataclass(frozen=True)
class Filters:
    """What has to be true of an utterance.

    Attributes:
        min_seconds: Shortest duration.
        max_seconds: Longest duration; 0: any.
        min_speech: Seconds of speech at least; needs the column ``speech_seconds``.
        labelled: Utterances that are transcribed already.
        blocked: Utterances that nobody wants.
        asked: Utterance -> where annotators were asked for it before.
        asked_audio: Hash of the audio -> likewise, under whatever id.
        drop_duplicates: Of several that are the same, keep the one ranked first: the same
            audio, or the same best hypothesis by the same speaker and about as long.
        tolerance: How much longer, in seconds.
    """

    min_seconds: float = 0.0
    max_seconds: float = 0.0
    min_speech: float = 0.0
    labelled: Collection[str] = ()
    blocked: Collection[str] = ()
    drop_duplicates: bool = True
    tolerance: float = 0.02
    asked: Mapping[str, str] = field(default_factory=dict)
    asked_audio: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min(self.min_seconds, self.max_seconds, self.min_speech) < 0 or self.tolerance <= 0:
            raise ConfigError("durations of filters cannot be below zero")
        if 0 < self.max_seconds < self.min_seconds:
            raise ConfigError(
                f"--max_seconds {self.max_seconds:g} is below --min_seconds {self.min_seconds:g}"
            )

    def failures(self, table: pd.DataFrame) -> pd.DataFrame:
        """FILTERED_COLUMNS of all that fail by themselves, with the table's index.

        Raises:
            ConfigError: The table does not tell how much speech there is.
        """
        import pandas as pd

        seconds = table["seconds"]
        tests = {
            "labelled_already": table["utterance"].isin(self.labelled),
            "blocked": table["utterance"].isin(self.blocked),
            "too_short": seconds < self.min_seconds,
        }
        if self.max_seconds > 0:
            tests["too_long"] = seconds > self.max_seconds
        if self.min_speech > 0:
            if "speech_seconds" not in table:
                raise ConfigError(
                    "--min_speech: the pool was scored without --vad true; score it again under "
                    "another --al_tag"
                )
            tests["no_speech"] = table["speech_seconds"] < self.min_speech
        parts = [
            _listed(table[failed], reason, table.loc[failed, "seconds"].map("{:.3f} s".format))
            for reason, failed in tests.items()
        ]
        for column, known in (("audio_hash", self.asked_audio), ("utterance", self.asked)):
            if known and column in table:
                cells = table.loc[table[column].isin(known.keys()), column]
                parts.insert(0, _listed(table.loc[cells.index], ASKED, cells.map(known)))
        found = pd.concat(parts)
        return found[~found.index.duplicated()]

    def duplicates(self, ranked: pd.DataFrame, speakers: Mapping[str, str]) -> pd.DataFrame:
        """FILTERED_COLUMNS of what is the same as something ranked before it."""
        import pandas as pd

        if not self.drop_duplicates:
            return _listed(ranked.head(0), "", ranked["seconds"].head(0).astype(str))
        parts = []
        if "audio_hash" in ranked:
            parts.append(_same(ranked, [ranked["audio_hash"]], "same_audio"))
        if speakers:
            known = pd.Series(map(speakers.get, ranked["utterance"].tolist()), ranked.index)
            rows = ranked[(ranked["best_hypothesis"] != "") & known.notna()]
            # Only what somebody says twice need be looked at closer.
            speaker, words = (
                pd.factorize(c)[0] for c in (known[rows.index], rows["best_hypothesis"])
            )
            said = pd.Series(speaker * (len(words) + 1) + words, rows.index)
            said = said[said.duplicated(keep=False)]
            rows = rows.loc[said.index]
            # Two that are half the tolerance apart are in one bin of the one or the other.
            for shift in (0.0, 0.5):
                bins = (rows["seconds"] / self.tolerance + shift).astype("int64")
                parts.append(_same(rows, [said, bins], "same_words"))
        if not parts:
            return _listed(ranked.head(0), "", ranked["seconds"].head(0).astype(str))
        found = pd.concat(parts)
        return found[~found.index.duplicated()]


def place_of(detail: str) -> str:
    """Where annotators were asked, of the detail of a clip that was."""
    return detail.partition(SAME_AUDIO)[0].partition(OVERLAPS)[0]


def _same(ranked: pd.DataFrame, keys: list[pd.Series], reason: str) -> pd.DataFrame:
    """Rows whose keys are those of an earlier one, which is the detail."""
    import pandas as pd

    groups = pd.Series(range(len(ranked)), ranked.index).groupby(keys, sort=False)
    first = groups.transform("first").to_numpy()
    later = first != range(len(ranked))
    details = "as " + ranked["utterance"].iloc[first[later]]
    return _listed(ranked[later], reason, details.set_axis(ranked.index[later]))


def _listed(rows: pd.DataFrame, reason: str, details: pd.Series) -> pd.DataFrame:
    return rows[["utterance"]].assign(reason=reason, detail=details)
