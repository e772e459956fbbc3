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

from espnet_egl.data.headers import adts_frames_lost, mpeg_counts_frames, tag_length

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
# Of frames one after the other: what is no frame is skipped up to the next one, or taken for one.
_FRAMES_ALONE = {"mp3", "wav", "ac3"}
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
    """How a file begins behind tags of ID3."""
    place = 0
    while True:
        content.seek(place)
        head = content.read(_HEAD)
        length = tag_length(head)
        if not length:
            return head
        place += length


class FFmpegStream:
    """A file decoded from the front.

    Args:
        content: Its bytes, which are read at once and on.
        demuxer: As :func:`demuxer_of` has it.
        to_the_end: Read all of a WAV, whatever its header says.

    Attributes:
        rate: In Hz.
        lost: Seconds that cannot be decoded, of what was read so far; of raw AAC, of all.

    Raises:
        ValueError: It cannot be read, or has no audio.
        OSError: See there.
    """

    def __init__(self, content: BinaryIO, demuxer: str, to_the_end: bool = False):
        import av

        counts = demuxer == "mp3" and mpeg_counts_frames(_behind_tag(content))
        self._adts_lost = adts_frames_lost(content) if demuxer == "aac" else 0.0
        content.seek(0)
        options = {"protocol_whitelist": "none", "codec_whitelist": _CODECS}
        if demuxer in ("mulaw", "alaw"):
            options["sample_rate"] = "8000"
        if demuxer == "wav" and to_the_end:
            options["ignore_length"] = "1"
        self._container: Any = av.open(content, format=demuxer, options=options)
        # Whose codec FFmpeg does not know has none.
        streams = [s for s in self._container.streams.audio if s.codec_context is not None]
        if not streams:
            self.close()
            raise ValueError("no audio is in it that FFmpeg decodes")
        self._stream = streams[0]
        self._demuxer = demuxer
        self._claims = counts or demuxer in _CLAIMING
        self._last_end = 0.0  # of any stream, in seconds
        self._bytes, self._seconds = 0, 0.0  # what was decoded
        self.lost = 0.0
        self._resampler: Any = None
        self._blocks = self._decode()
        self._first = next(self._blocks, None)
        self.rate = int((self._resampler or self._stream).rate or 0)
        if self.rate <= 0 or (self._first is None and not self._stream.channels):
            self.close()
            raise ValueError(
                "no audio can be decoded of it, nor does it say at which rate, and in how many "
                "channels, it is"
            )

    def lacking(self, there: float) -> float:
        """Seconds that the header of the stream, or that of the file, names beyond the last.

        Args:
            there: How many seconds were decoded; all were.
        """
        import av

        if not self._claims:
            return 0.0
        if self._stream.duration and self._stream.time_base:
            return float(self._stream.duration * self._stream.time_base) - there
        # Of the file; a picture may go on when the sound has ended.
        return float((self._container.duration or 0) / av.time_base) - self._last_end

    def __iter__(self) -> Iterator[np.ndarray]:
        """Blocks (samples, channels), float32."""
        if self._first is not None:
            yield self._first
            yield from self._blocks

    def _decode(self) -> Iterator[np.ndarray]:
        for packet in self._packets():
            seconds = float((packet.duration or 0) * (packet.time_base or 0))
            if packet.pts is not None:
                self._last_end = max(self._last_end, float(packet.pts * packet.time_base) + seconds)
            if packet.stream is self._stream:
                yield from self._decode_packet(packet, seconds)
        if self._resampler is not None:
            yield from self._convert(None)

    def _packets(self) -> Iterator[Any]:
        """Of all streams, to where the file ends or no more can be found in it."""
        import av

        packets = self._container.demux()
        while True:
            try:
                yield next(packets)
            except (StopIteration, EOFError, av.error.InvalidDataError):
                return  # what is missing is told by what the header claims
            except av.error.FFmpegError as e:
                raise ValueError(f"damaged: {e.strerror}") from e

    def _decode_packet(self, packet: Any, seconds: float) -> Iterator[np.ndarray]:
        import av

        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            self.lost += self._length_of(packet, seconds)
            return
        if self._adts_lost:
            self.lost, self._adts_lost = self._adts_lost * seconds, 0.0
        self._bytes, self._seconds = self._bytes + packet.size, self._seconds + seconds
        for frame in frames:
            yield from self._convert(frame)

    def _length_of(self, packet: Any, seconds: float) -> float:
        """How long what cannot be decoded was; a tag between two files was nothing."""
        if self._demuxer not in _FRAMES_ALONE or not self._bytes:
            return seconds
        if tag_length(bytes(packet)):
            return 0.0
        return max(seconds, packet.size * self._seconds / self._bytes)

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
