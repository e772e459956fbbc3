"""The texts of a clip that ESPnet's task s2t trains on: `text`, `text.prev` and `text.ctc`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_egl.data.kaldi import read_table
from espnet_egl.errors import DataError, UtteranceError
from espnet_egl.model.prompts import Prompts, bracketed

# Beside the text of every task.
NAMES = ("text.prev", "text.ctc")
# "Not available": no text before the clip.
NONE = "<na>"
# In place of times.
NO_TIME = "<notimestamps>"
# Times are written in steps of these seconds.
STEP = 0.02
START = "<0.00>"


@dataclass(frozen=True)
class S2TTexts:
    """Texts as those of a seed set are.

    Attributes:
        seed: The seed set's own tables of :data:`NAMES`.
        prompts: Language and task of what is labelled.
        default: Language and task that are most frequent in the seed set.
        before: What most often stands between them and its transcripts: a time, as ``<0.00>``
            (task s2t), :data:`NO_TIME`, or nothing (task s2t_ctc).
    """

    seed: dict[str, dict[str, str]]
    prompts: Prompts
    default: tuple[str, str]
    before: str

    @classmethod
    def like(cls, seed_dir: str | Path, prompts: Prompts) -> S2TTexts | None:
        """As in a training set; None where it is of another task.

        Raises:
            DataError: A text of it is not one of the task s2t.
        """
        directory = Path(seed_dir)
        if not all((directory / name).exists() for name in NAMES):
            return None
        begins = [Prompts.symbols_of(text) for text in read_table(directory / "text").values()]
        begins = [symbols for symbols in begins if len(symbols) >= 2]
        told = Counter(symbols[:2] for symbols in begins)
        if not told:
            raise DataError(
                f"{directory / 'text'}: no text begins with a language and a task, as '<eng><asr>'"
            )
        (language, task), _ = told.most_common(1)[0]
        (before, _), *_ = Counter(map(_before, begins)).most_common(1)
        tables = {name: read_table(directory / name) for name in NAMES}
        return cls(tables, prompts, (language, task), before)

    def write(self, uid: str, words: str, seconds: float) -> dict[str, str]:
        """The texts of a labelled clip, by the names of their tables.

        Args:
            uid: The clip's.
            words: What was said in it.
            seconds: How long it is.

        Raises:
            UtteranceError: Its language is not known.
        """
        language, task = [*self.prompts.symbols, *self.default[len(self.prompts.symbols) :]][:2]
        if self.prompts.languages:
            if uid not in self.prompts.languages:
                raise UtteranceError("no_language", f"{uid} is not in --utt2lang")
            language = bracketed(self.prompts.languages[uid])
        end = round(seconds / STEP) * STEP
        after = f"<{end:.2f}>" if self.before == START else ""
        text = f"{language}{task}{self.before} {words}{after}"
        return {"text": text, "text.prev": NONE, "text.ctc": words}


def _before(symbols: Sequence[str]) -> str:
    """Of a text's first symbols, what stands for its times."""
    third = symbols[2] if len(symbols) > 2 else ""
    return START if third[1:2].isdigit() else NO_TIME if third == NO_TIME else ""
