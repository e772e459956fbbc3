"""Files as phones and telephony make them, by FFmpeg's encoders."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np


def encode(
    container: str,
    codec: str,
    wave: np.ndarray,
    rate: int,
    options: dict[str, str] | None = None,
    codec_options: dict[str, str] | None = None,
    bit_rate: int = 32000,
) -> bytes:
    """A waveform (samples,) in a container.

    Args:
        container: As FFmpeg calls it.
        codec: Likewise.
        wave: In [-1, 1].
        rate: In Hz.
        options: Of the container.
        codec_options: Of the codec.
        bit_rate: Bits a second, where it has none of its own.
    """
    content: Any = io.BytesIO()
    with av.open(content, "w", format=container, options=options or {}) as out:
        stream: Any = out.add_stream(codec, rate=rate, options=codec_options or {})
        stream.layout, stream.bit_rate = "mono", bit_rate
        stream.format = stream.codec_context.codec.audio_formats[0].name
        stream.codec_context.open()
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(wave, np.float32)[None], format="fltp", layout="mono"
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        fifo = av.AudioFifo()
        for part in av.AudioResampler(stream.format.name, "mono", rate).resample(frame):
            fifo.write(part)
        while (part := fifo.read(stream.codec_context.frame_size or 1024, True)) is not None:
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return content.getvalue()
