"""The pool: every utterance by id, a broken one reported instead of raised."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from espnet_egl.data.archives import refuse_pickles
from espnet_egl.data.audio import listen, listen_around, read_channels
from espnet_egl.data.kaldi import Rows, Segment, read_pool_table, read_segments
from espnet_egl.data.pipes import PIPE_TIMEOUT
from espnet_egl.data.recordings import Recordings
from espnet_egl.data.sources import file_states
from espnet_egl.errors import ConfigError, DataError, StorageError, UtteranceError
from espnet_egl.types import Skipped, Utterance

Preprocess = Callable[[str, dict[str, Any]], dict[str, Any]]

# Types of files and commands: ESPnet's own dataset reads them at whatever rate they are, cut off
# or not.
_SOUNDS = ("sound", "multi_columns_sound")


class Pool(torch.utils.data.Dataset):
    """The utterances of a key file, read as ESPnet reads them.

    Args:
        data: (path, name, type) as in ``--data_path_and_name_and_type``; exactly one is
            named ``speech``. The types ``sound`` and ``multi_columns_sound`` take files and
            pipes of any sampling rate and format of libsndfile or FFmpeg; every other type is
            read by ESPnet's own dataset.
        keys: Utterance ids to read, in this order.
        rate: The sampling rate of the model.
        segments: Kaldi's ``segments`` for recordings of these two types.
        utt2dur: Utterances' seconds, used for types that do not tell.
        preprocess: ESPnet's preprocessing for inference.
        allow_pipes: Whether commands in wav.scp are run.
        pipe_timeout: How long such a command may take, in seconds; of these two types.
        max_seconds: Longer clips are left out: memory grows with the square of the duration.
        context: Of segments of the type ``sound``, so many seconds before and behind come along,
            for people to hear.

    Raises:
        ConfigError: ``data`` does not name ``speech`` once.
        DataError: A file is missing or malformed, or a key has no audio.
    """

    def __init__(
        self,
        data: Sequence[tuple[str, str, str]],
        keys: Sequence[str],
        rate: int,
        segments: str | Path | None = None,
        utt2dur: Rows[float] | None = None,
        preprocess: Preprocess | None = None,
        allow_pipes: bool = True,
        pipe_timeout: float = PIPE_TIMEOUT,
        max_seconds: float = math.inf,
        context: float = 0.0,
    ):
        if [name for _, name, _ in data] != ["speech"]:
            raise ConfigError(
                "--data_path_and_name_and_type must name 'speech' and nothing else, e.g. "
                f"dump/raw/pool/wav.scp,speech,sound; got {list(data)}"
            )
        self.path, _, self.type = data[0]
        self.keys = list(keys)
        self.rate = rate
        self.utt2dur = utt2dur or Rows({}, {})
        self.preprocess = preprocess
        self.allow_pipes = allow_pipes
        self.pipe_timeout = pipe_timeout
        self.max_seconds = max_seconds
        self.context = context
        self.segments = segments
        self._opened = Recordings(allow_pipes, pipe_timeout)
        table = read_pool_table(self.path)
        self._recordings, self._bad_lines = table.good, table.bad
        self._cuts: Rows[Segment] = Rows({}, {}) if segments is None else read_segments(segments)
        known = self._recordings if segments is None else self._cuts.good | self._cuts.bad
        if missing := set(self.keys) - known.keys():
            raise DataError(
                f"{segments or self.path} lacks {len(missing)} of the keys, e.g. '{min(missing)}'"
            )
        self._of_every_channel = _of_every_channel(self._cuts.good)
        self._dataset = None if self.type in _SOUNDS else self._espnet_dataset()

    def _espnet_dataset(self) -> Any:
        from espnet2.train.dataset import ESPnetDataset

        return ESPnetDataset([(self.path, "speech", self.type)], preprocess=None)

    def _read(self, uid: str) -> tuple[np.ndarray, float, bool, float]:
        """Samples or features, seconds of the clip, whether a channel that is not read speaks,
        too, and seconds before the clip."""
        for reason, table in (("bad_segment", self._cuts), ("bad_duration", self.utt2dur)):
            if uid in table.bad:
                raise UtteranceError(reason, table.bad[uid])
        if self._dataset is not None:
            return *self._read_by_espnet(uid), False, 0.0
        cut = self._cuts.good.get(uid, Segment(uid, 0.0, None))
        if cut.recording in self._bad_lines:
            raise UtteranceError("bad_line", self._bad_lines[cut.recording])
        if cut.recording not in self._recordings:
            raise UtteranceError(
                "missing_recording", f"{self.segments}: '{cut.recording}' is not in {self.path}"
            )
        entry, piece = self._recordings[cut.recording], (cut.start, cut.end, self.max_seconds)
        is_one = self.type == "sound" or cut.channel is not None
        if is_one and self.context and cut.end is not None:
            around = (cut.start, cut.end, self.context, cut.channel)
            wave, seconds, before = listen_around(self._opened, entry, self.rate, *around)
            return wave, seconds, False, before
        if is_one:
            wave, seconds, overheard = listen(self._opened, entry, self.rate, *piece, cut.channel)
            return wave, seconds, overheard and uid not in self._of_every_channel, 0.0
        start, end, most = piece
        wave, seconds = read_channels(
            entry, self.rate, start, end, max_seconds=most, recordings=self._opened
        )
        return wave, seconds, False, 0.0

    def _read_by_espnet(self, uid: str) -> tuple[np.ndarray, float]:
        assert self._dataset is not None
        source = self._recordings[uid]
        if not self.allow_pipes and "|" in source:
            raise UtteranceError("pipe_not_allowed", f"'{source}' was not run")
        if source == "-":
            raise UtteranceError("unreadable_audio", f"{self.path}: '-' is not a file")
        refuse_pickles()
        try:
            speech = self._dataset[uid][1]["speech"]
        except Exception as e:  # whatever ESPnet's many readers raise for one bad entry
            raise UtteranceError(
                "unreadable_audio", f"{self.path} ({self.type}): {type(e).__name__}: {e}"
            ) from e
        if len(speech) == 0:
            raise UtteranceError("empty_audio", f"{self.path}: no samples or frames")
        if not np.isfinite(speech).all():
            raise UtteranceError("not_finite_audio", f"{self.path}: NaN or infinite values")
        # Features are taken to come every 10 ms where nothing tells the duration.
        guess = len(speech) / (self.rate if speech.ndim == 1 else 100)
        seconds = self.utt2dur.good.get(uid, guess)
        if seconds > self.max_seconds:
            raise UtteranceError(
                "too_long", f"{seconds:.1f} s, more than --max_seconds {self.max_seconds:g}"
            )
        return speech, seconds

    def file_state(self, uid: str) -> str:
        """Size and time of the file, or files, that hold an utterance, and its piece of them: what
        tells that it is another one.

        Returns:
            Empty where nothing tells: of commands, of files that are not there.
        """
        cut = self._cuts.good.get(uid)
        entry = self._recordings.get(uid if cut is None else cut.recording, "")
        states = file_states(entry, several=self.type == "multi_columns_sound")
        if not states:
            return ""
        piece = [] if cut is None else [f"{cut.start}-{cut.end} s, channel {cut.channel}"]
        return ", ".join([*states, *piece])

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Utterance | Skipped:
        return self.read(self.keys[index])

    def read(self, uid: str) -> Utterance | Skipped:
        """One utterance, whether or not it is among the keys."""
        file = self.file_state(uid)
        try:
            speech, seconds, overheard, before = self._read(uid)
            if self.preprocess is not None:
                speech = self.preprocess(uid, {"speech": speech})["speech"]
        except UtteranceError as e:
            return Skipped(uid, e.reason, e.detail, file)
        except Exception as e:
            # Raised in a data worker, it would end the job at this clip, again and again.
            return Skipped(uid, "unexpected_error", f"{type(e).__name__}: {e}", file)
        return Utterance(uid, speech, seconds, file, overheard, before)


def _of_every_channel(cuts: Mapping[str, Segment]) -> frozenset[str]:
    """Utterances of one channel each, of recordings whose other channels have utterances, too."""
    chosen = {uid: cut for uid, cut in cuts.items() if cut.channel is not None}
    count = Counter(name for name, _ in {(c.recording, c.channel) for c in chosen.values()})
    return frozenset(uid for uid, cut in chosen.items() if count[cut.recording] > 1)


def read_ahead(pool: Pool, num_workers: int) -> Iterator[Utterance | Skipped]:
    """Every item of ``pool`` in order, read ahead by ``num_workers`` processes.

    Raises:
        StorageError: One of these was killed.
    """
    try:
        yield from torch.utils.data.DataLoader(pool, batch_size=None, num_workers=num_workers)
    except RuntimeError as e:
        if "DataLoader worker" not in str(e):
            raise
        raise StorageError(
            f"a process that reads audio ahead was killed ({e}): give the job more memory, or "
            "--num_workers 0. Run the same command again: what is done is kept"
        ) from e
