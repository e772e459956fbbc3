"""The second reader: what phones and telephony make, and lengths that headers get wrong, by FFmpeg.

Each file is given to the one demuxer that its first bytes name: none is guessed, and none that
reads a list of other files is among them. Only the file's own bytes are read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from espnet_egl.data.headers import mpeg_counts_frames

# What a file begins with, and who reads it.
_STARTS: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.S), demuxer)
    for pattern, demuxer in (
        (rb"....(?:ftyp|moov|mdat|wide|free|skip)", "mov"),  # MP4, M4A, 3GP, QuickTime
        (rb"\x1a\x45\xdf\xa3", "matroska"),  # WebM, too
        (rb"#!AMR", "amr"),
        (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),  # WMA
        (rb"RIFF....AVI ", "avi"),
        (rb"(?:RIFF|RF64|BW64)....WAVE", "wav"),
        (rb"riff\x2e\x91\xcf\x11", "w64"),
        (rb"FORM....AIF[FC]", "aiff"),
        (rb"caff", "caf"),
        (rb"\.snd", "au"),
        (rb"NIST_1A", "nistsphere"),
        (rb"fLaC", "flac"),
        (rb"OggS", "ogg"),
        (rb"FLV\x01", "flv"),
        (rb"wvpk", "wv"),
        (rb"MAC ", "ape"),
        (rb"TTA1", "tta"),
        (rb"G.{187}G.{187}G", "mpegts"),
        (rb"\x0b\x77", "ac3"),
        (rb"\xff[\xf0\xf1\xf8\xf9]", "aac"),
        (rb"\xff[\xe2-\xef\xf2-\xf7\xfa-\xff]", "mp3"),
    )
)
# Of telephony's files without a header the name tells, and they are of one channel at 8 kHz.
_HEADERLESS = {
    **dict.fromkeys((".ul", ".ulaw", ".mulaw", ".pcmu"), "mulaw"),
    **dict.fromkeys((".al", ".alaw", ".pcma"), "alaw"),
    **dict.fromkeys((".gsm",), "gsm"),
    **dict.fromkeys((".g722",), "g722"),
}
# Whose headers say how long the audio is, if they say anything; others are guessed at by FFmpeg.
_CLAIMING = {"mov", "matroska", "asf", "avi", "flac", "flv", "ape", "tta", "wv"}
# What may look into the streams to find out what they are: decoders of sound alone.
_CODECS = (
    "aac,aac_latm,ac3,eac3,alac,amrnb,amrwb,ape,dca,flac,gsm,gsm_ms,g722,g726,g726le,g729,mp1float,"
    "mp2float,mp3float,mp3,opus,vorbis,tta,wavpack,wmav1,wmav2,wmapro,wmalossless,wmavoice,"
    "pcm_alaw,pcm_mulaw,pcm_s8,pcm_u8,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,"
    "pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be,adpcm_ms,adpcm_ima_wav,adpcm_ima_qt,adpcm_swf"
)
_HEAD = 1 << 12

SUFFIXES = frozenset(
    {*_HEADERLESS, ".3ga", ".3gp", ".3gpp", ".aac", ".ac3", ".amr", ".ape", ".awb", ".m4a", ".m4b"}
    | {".m4v", ".mka", ".mkv", ".mov", ".mp4", ".tta", ".weba", ".webm", ".wma", ".wv"}
)


def demuxer_of(content: BinaryIO, suffix: str) -> str | None:
    """Who reads a file; None: nobody.

    Args:
        content: Its bytes.
        suffix: Of its name, in small letters.
    """
    head = _behind_tag(content)
    found = next((demuxer for start, demuxer in _STARTS if start.match(head)), None)
    # Silence in mu-law looks like a frame of MPEG.
    return _HEADERLESS.get(suffix, found) if found in (None, "mp3", "aac", "ac3") else found


def is_headerless(content: BinaryIO, suffix: str) -> bool:
    """Whether only the name tells what is in a file."""
    return suffix in _HEADERLESS and demuxer_of(content, suffix) == _HEADERLESS[suffix]


def _behind_tag(content: BinaryIO) -> bytes:
    """How a file begins behind tags of ID3, whose length is of four times seven bits."""
    place = 0
    while True:
        content.seek(place)
        head = content.read(_HEAD)
        if head[:3] != b"ID3" or len(head) < 10:
            return head
        place += 10 + sum(
            byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True)
        )


class FFmpegStream:
    """A file decoded from the front.

    Args:
        content: Its bytes, which are read at once and on.
        demuxer: As :func:`demuxer_of` has it.
        to_the_end: Read all of a WAV, whatever its header says.

    Attributes:
        rate: In Hz.
        claimed: How many seconds the header says there are; None: nothing.
        lost: Seconds that cannot be decoded, of what was read so far.

    Raises:
        ValueError: It cannot be read, or has no audio.
        OSError: See there.
    """

    def __init__(self, content: BinaryIO, demuxer: str, to_the_end: bool = False):
        import av

        counts = demuxer == "mp3" and mpeg_counts_frames(_behind_tag(content))
        content.seek(0)
        options = {"protocol_whitelist": "none", "codec_whitelist": _CODECS}
        if demuxer in ("mulaw", "alaw"):
            options["sample_rate"] = "8000"
        if demuxer == "wav" and to_the_end:
            options["ignore_length"] = "1"
        self._container: Any = av.open(content, format=demuxer, options=options)
        if not self._container.streams.audio:
            self.close()
            raise ValueError("no audio is in it")
        self._stream = self._container.streams.audio[0]
        self.claimed = self._claimed() if counts or demuxer in _CLAIMING else None
        self.lost = 0.0
        self._resampler: Any = None
        self._blocks = self._decode()
        self._first = next(self._blocks, None)
        self.rate = int(self._stream.rate if self._resampler is None else self._resampler.rate)

    def _claimed(self) -> float | None:
        """What the header of the stream says, or that of the file, in seconds."""
        import av

        if self._stream.duration and self._stream.time_base:
            return float(self._stream.duration * self._stream.time_base)
        return self._container.duration / av.time_base if self._container.duration else None

    def __iter__(self) -> Iterator[np.ndarray]:
        """Blocks (samples, channels), float32."""
        if self._first is not None:
            yield self._first
            yield from self._blocks

    def _decode(self) -> Iterator[np.ndarray]:
        import av

        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, EOFError, av.error.InvalidDataError):
                break  # what is missing is told by what the header claims
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                self.lost += float((packet.duration or 0) * (packet.time_base or 0))
                continue
            for frame in frames:
                yield from self._convert(frame)
        if self._resampler is not None:
            yield from self._convert(None)

    def _convert(self, frame: Any) -> Iterator[np.ndarray]:
        """The same as floats; the first frame says at which rate and in how many channels."""
        import av

        if self._resampler is None:
            self._resampler = av.AudioResampler("fltp", frame.layout.name, frame.rate)
        for converted in self._resampler.resample(frame):
            yield np.ascontiguousarray(converted.to_ndarray().T)

    def close(self) -> None:
        """Let go of it."""
        self._container.close()


def open_stream(content: BinaryIO, suffix: str, to_the_end: bool = False) -> FFmpegStream:
    """Open a file for decoding.

    Args:
        content: Its bytes, open as long as the stream is.
        suffix: Of its name, in small letters.
        to_the_end: See :class:`FFmpegStream`.

    Raises:
        ValueError: It is of no format that is read, or has no audio.
        OSError: It is damaged.
    """
    import av

    demuxer = demuxer_of(content, suffix)
    if demuxer is None:
        raise ValueError("neither libsndfile nor FFmpeg knows its format")
    try:
        return FFmpegStream(content, demuxer, to_the_end)
    except av.error.FFmpegError as e:
        size = content.seek(0, os.SEEK_END)
        raise ValueError(
            f"no audio can be decoded of its {size} bytes, which begin as those of {demuxer} "
            f"({e.strerror}): cut off or damaged; copy it again"
        ) from e
