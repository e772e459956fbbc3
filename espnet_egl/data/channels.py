"""Which channel of a recording is read, and whether another one speaks."""

from __future__ import annotations

import numpy as np

from espnet_egl.data.kaldi import MEAN, Channel
from espnet_egl.errors import UtteranceError

# What a level is taken over, in seconds.
_FRAME = 0.02
# Speech comes and goes: its loud frames are so many times as loud as its quiet ones. What is steady
# is noise, unless it is that loud.
_SWING, _STEADY = 4.0, 0.03
# A frame speaks if it is that loud, and no less than a tenth of the loudest of any channel.
_AUDIBLE, _SHARE = 1e-3, 0.1
# It is another channel's own if it is so many times as loud there as where it is read.
_LOUDER = 3.0
# So many seconds of it are speech, and no click.
_SPEECH = 0.2


def pick(channels: np.ndarray, channel: Channel | None, name: str) -> np.ndarray:
    """(samples,) of (samples, channels).

    Args:
        channels: All of a recording.
        channel: One of them, from 0 on, or :data:`~espnet_egl.data.kaldi.MEAN`; None: the first.
        name: Of the recording, for messages.

    Raises:
        UtteranceError: There is no such channel.
    """
    if channel == MEAN:
        return channels.mean(axis=1, dtype=np.float32)
    number, count = channel or 0, channels.shape[1]
    if number >= count:
        raise UtteranceError("no_channel", f"{name}: no channel {number + 1}, it has {count}")
    return channels[:, number]


def is_overheard(channels: np.ndarray, channel: Channel | None, rate: int) -> bool:
    """Whether another channel holds speech that is not in the one that is read.

    By levels alone: for a while another channel is loud where the one that is read is not, and
    it does not hum. Two microphones before one speaker are alike.

    Args:
        channels: (samples, channels).
        channel: What is read of them, see :func:`pick`.
        rate: In Hz.
    """
    length = max(1, round(_FRAME * rate))
    count = len(channels) // length
    if channels.shape[1] == 1 or channel == MEAN or count == 0:
        return False
    frames = channels[: count * length].reshape(count, length, -1)
    levels = np.sqrt(np.square(frames, dtype=np.float32).mean(axis=1))  # (frames, channels)
    loud = levels > max(_AUDIBLE, _SHARE * float(levels.max()))
    theirs = loud & (levels > _LOUDER * levels[:, [channel or 0]])
    quiet, top = np.percentile(levels, (10, 95), axis=0)
    speaks = (top > _SWING * quiet) | (top > _STEADY)
    return bool((speaks & (theirs.sum(axis=0) * _FRAME >= _SPEECH)).any())
