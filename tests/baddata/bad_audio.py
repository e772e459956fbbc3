"""Audio as it comes: what is made, and what must be said of it.

One table, :data:`CASES`: a name, how the file or command is made, and what is expected. ``same``:
scored like the plain clip; ``scored``: scored; anything else: the reason in skipped.tsv.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from conftest import make_speech

SECONDS = 0.6
# Exact in 16 bits, so that every lossless way to store it is the same audio.
PLAIN = ((make_speech(SECONDS) * 32768).round() / 32768).astype(np.float32)
LONG = make_speech(3.0)


@dataclass(frozen=True)
class Case:
    """One clip of the pool.

    Attributes:
        name: For the test's name.
        make: Makes what is needed in a folder; returns what wav.scp says.
        expected: ``same``, ``scored``, or the reason why it is skipped.
        detail: Stands in the detail of what is skipped.
        uid: Utterance id, if other than the name.
    """

    name: str
    make: Callable[[Path], str]
    expected: str
    detail: str = ""
    uid: str = ""

    @property
    def id(self) -> str:
        """In wav.scp."""
        return self.uid or self.name


def write(
    name: str,
    wave: np.ndarray = PLAIN,
    rate: int = 8000,
    keep: float = 1.0,
    format: str | None = None,
    subtype: str | None = None,
) -> Callable[[Path], str]:
    """A file of soundfile's, of which ``keep`` of the bytes are kept."""

    def make(folder: Path) -> str:
        path = folder / name
        with path.open("wb") as f:
            soundfile.write(
                f, wave, rate, format=format or path.suffix[1:].upper(), subtype=subtype
            )
        os.truncate(path, int(path.stat().st_size * keep))
        return str(path)

    return make


def in_ark(mark: bytes = b"AUDIO", keep: float = 1.0, offset: int = 2) -> Callable[[Path], str]:
    """The plain clip as an entry of an ark, of which ``keep`` of the bytes are kept."""

    def make(folder: Path) -> str:
        sound = io.BytesIO()
        soundfile.write(sound, PLAIN, 8000, format="FLAC")
        length = len(sound.getvalue()).to_bytes(2, "little")
        content = b"a " + mark + (b"\2" + length if mark else b"") + sound.getvalue()
        path = folder / f"{len(mark)}_{keep}_{offset}.ark"
        path.write_bytes(content[: int(keep * len(content))])
        return f"{path}:{offset}"

    return make


def raw(name: str, content: bytes) -> Callable[[Path], str]:
    """A file of these bytes."""

    def make(folder: Path) -> str:
        (folder / name).write_bytes(content)
        return str(folder / name)

    return make


def entry(text: str) -> Callable[[Path], str]:
    """What wav.scp says; ``{}`` is the folder, which has plain.wav."""
    return lambda folder: text.replace("{}", str(folder))


def at_rate(rate: int) -> np.ndarray:
    """The plain clip's length of noise at another sampling rate."""
    return 0.1 * np.random.default_rng(0).standard_normal(int(SECONDS * rate)).astype(np.float32)


def patched(name: str, place: int, value: int, size: int = 4) -> Callable[[Path], str]:
    """The plain WAV with a number of its header changed."""

    def make(folder: Path) -> str:
        path = Path(write(name)(folder))
        content = bytearray(path.read_bytes())
        content[place : place + size] = value.to_bytes(size, "little")
        path.write_bytes(content)
        return str(path)

    return make


def streamed(name: str) -> Callable[[Path], str]:
    """A WAV as it is written to a pipe: it claims as much as the field can say."""

    def make(folder: Path) -> str:
        path = Path(patched(name, 40, 0xFFFFFFFF)(folder))
        content = bytearray(path.read_bytes())
        content[4:8] = b"\xff" * 4
        path.write_bytes(content)
        return str(path)

    return make


def ten_hours(folder: Path) -> str:
    """A WAV of silence that takes no room on the disk."""
    path = Path(write("long.wav", np.zeros(0, np.float32))(folder))
    size = 10 * 3600 * 8000 * 2
    content = bytearray(path.read_bytes())
    content[4:8] = (size + 36).to_bytes(4, "little")
    content[40:44] = size.to_bytes(4, "little")
    path.write_bytes(content)
    os.truncate(path, len(content) + size)
    return str(path)


def dangling(folder: Path) -> str:
    """A link to nothing."""
    (folder / "dangling.wav").symlink_to(folder / "gone.wav")
    return str(folder / "dangling.wav")


def forbidden(folder: Path) -> str:
    """A file without the right to read it."""
    path = Path(write("forbidden.wav")(folder))
    path.chmod(0)
    return str(path)


def named_pipe(folder: Path) -> str:
    """Who opens it waits for somebody to write."""
    os.mkfifo(folder / "fifo.wav")
    return str(folder / "fifo.wav")


def a_folder(folder: Path) -> str:
    """Not a file."""
    (folder / "folder.wav").mkdir()
    return str(folder / "folder.wav")


def values(*changed: float) -> np.ndarray:
    """The plain clip with its first samples changed."""
    wave = PLAIN.copy()
    wave[1000 : 1000 + len(changed)] = changed
    return wave


CASES = [
    # ---- good audio in other clothes ----
    Case("plain", write("plain.wav"), "same"),
    Case("wav_24_bit", write("a24.wav", subtype="PCM_24"), "same"),
    Case("wav_float", write("float.wav", subtype="FLOAT"), "same"),
    Case("wav_double", write("double.wav", subtype="DOUBLE"), "same"),
    Case("flac", write("a.flac"), "same"),
    Case("aiff", write("a.aiff"), "same"),
    Case("sphere", write("a.sph", format="NIST", subtype="PCM_16"), "same"),
    Case("sphere_named_wav", write("sph.wav", format="NIST", subtype="PCM_16"), "same"),
    Case("flac_named_wav", write("flac.wav", format="FLAC"), "same"),
    Case("wav_named_txt", write("a.txt", format="WAV"), "same"),
    Case("no_extension", write("noext", format="WAV"), "same"),
    Case("stereo", write("stereo.wav", np.stack([PLAIN, 0 * PLAIN], 1)), "same"),
    Case("six_channels", write("six.wav", np.stack([PLAIN, *[0 * PLAIN] * 5], 1)), "same"),
    Case("streaming_header", streamed("stream.wav"), "same"),
    Case("junk_behind_the_samples", entry("cat {}/plain.wav <(echo LISTxxxx junk) |"), "same"),
    Case("pipe", entry("cat {}/plain.wav |"), "same"),
    Case("pipe_of_pipes", entry("cat {}/plain.wav | cat | cat |"), "same"),
    Case("pipe_with_much_on_stderr", entry("seq 99999 >&2; cat {}/plain.wav |"), "same"),
    Case("spaces_in_the_path", write("a clip of  mine.wav"), "same"),
    Case("ogg", write("a.ogg", subtype="VORBIS"), "scored"),
    Case("mp3", write("a.mp3"), "scored"),
    Case("mu_law", write("mulaw.wav", subtype="ULAW"), "scored"),
    Case("rate_11025", write("r11.wav", at_rate(11025), 11025), "scored"),
    Case("rate_16000", write("r16.wav", at_rate(16000), 16000), "scored"),
    Case("rate_44100", write("r44.flac", at_rate(44100), 44100), "scored"),
    Case("rate_48000", write("r48.wav", at_rate(48000), 48000), "scored"),
    Case("silent", write("silent.wav", 0 * PLAIN), "scored"),
    Case("constant", write("dc.wav", 0 * PLAIN + 0.5), "scored"),
    Case("clipped", write("clipped.wav", np.sign(PLAIN)), "scored"),
    Case("one_loud_sample", write("click.wav", values(0.99)), "scored"),
    # ---- bad audio ----
    Case("no_bytes", raw("none.wav", b""), "unreadable_audio"),
    Case("no_samples", write("empty.wav", PLAIN[:0]), "empty_audio"),
    Case("one_sample", write("one.wav", PLAIN[:1]), "too_short"),
    Case("ten_ms", write("ten.wav", PLAIN[:80]), "too_short"),
    Case("header_only", write("header.wav", keep=0.002), "unreadable_audio"),
    Case("cut_wav", write("cut.wav", keep=0.5), "truncated_audio", "claims more than it holds"),
    Case("cut_wav_a_little", write("cut9.wav", keep=0.99), "scored"),
    Case("cut_aiff", write("cut.aiff", keep=0.5), "truncated_audio"),
    Case("cut_au", write("cut.au", keep=0.5), "truncated_audio"),
    Case("cut_rf64", write("cut.rf64", keep=0.5), "truncated_audio"),
    Case(
        "cut_sphere", write("cut.sph", keep=0.5, format="NIST", subtype="PCM_16"), "truncated_audio"
    ),
    Case("cut_mp3", write("cut.mp3", keep=0.5), "truncated_audio", "s are missing"),
    Case("cut_flac", write("cut.flac", keep=0.5), "truncated_audio", "s are missing"),
    # Of a shorter one too little would be left for libsndfile to open it.
    Case("cut_ogg", write("cut.ogg", LONG, keep=0.9, subtype="VORBIS"), "truncated_audio"),
    Case(
        "cut_opus",
        write("cut.opus", LONG, keep=0.9, format="OGG", subtype="OPUS"),
        "truncated_audio",
    ),
    Case("cut_w64", write("cut.w64", keep=0.9), "truncated_audio"),
    Case("cut_pipe", entry("head -c 5000 {}/plain.wav |"), "truncated_audio"),
    Case("nan_samples", write("nan.wav", values(np.nan), subtype="FLOAT"), "not_finite_audio"),
    Case("infinite", write("inf.wav", values(np.inf), subtype="FLOAT"), "not_finite_audio"),
    Case("beyond_float", write("huge.wav", values(*[3e38] * 9), subtype="FLOAT"), "no_hypothesis"),
    Case("rate_0", patched("r0.wav", 24, 0), "unreadable_audio"),
    Case("channels_0", patched("c0.wav", 22, 0, 2), "unreadable_audio"),
    Case("text_named_wav", raw("text.wav", b"this is no audio\n"), "unreadable_audio"),
    Case("random_bytes", raw("junk.wav", np.random.default_rng(0).bytes(9999)), "unreadable_audio"),
    Case("raw_samples", raw("a.raw", np.random.default_rng(0).bytes(9999)), "unreadable_audio"),
    Case("folder", a_folder, "unreadable_audio", "not a file"),
    Case("dangling_link", dangling, "unreadable_audio", "no such file"),
    Case("missing", entry("{}/gone.wav"), "unreadable_audio", "no such file"),
    Case("unreadable", forbidden, "unreadable_audio"),
    Case("named_pipe", named_pipe, "unreadable_audio", "not a file"),
    Case("device", entry("/dev/zero"), "unreadable_audio", "not a file"),
    Case("standard_input", entry("-"), "unreadable_audio", "no such file"),
    Case("no_value", entry(""), "unreadable_audio", "no path is given"),
    Case("endless_path", entry("/" + "x" * 5000), "unreadable_audio"),
    Case("address", entry("https://example.com/a.wav"), "unreadable_audio", "no such file"),
    Case("archive_entry", entry("{}/wav.ark:1234"), "unreadable_audio", "no such file"),
    Case("sound_in_an_archive", in_ark(), "same"),
    Case("archive_of_kaldi", in_ark(mark=b""), "unreadable_audio", "no sound as ESPnet's"),
    Case("cut_archive", in_ark(keep=0.5), "unreadable_audio", "the ark ends before the entry"),
    Case("beyond_the_archive", in_ark(offset=10**30), "unreadable_audio"),
    Case("ten_hours", ten_hours, "too_long", "36000.0 s, more than --max_seconds 120"),
    # ---- commands ----
    Case("pipe_fails", entry("echo 'no such tape' >&2; exit 3 |"), "failed_pipe", "no such tape"),
    Case("pipe_fails_late", entry("cat {}/plain.wav; exit 1 |"), "failed_pipe", "ended with 1"),
    Case("pipe_is_killed", entry("kill -9 $$ |"), "failed_pipe", "ended with -9"),
    Case("pipe_is_no_command", entry("no_such_command {} |"), "failed_pipe", "not found"),
    Case("pipe_is_bad_bash", entry("cat '{}/plain.wav |"), "failed_pipe", "unexpected EOF"),
    Case("pipe_writes_nothing", entry("true |"), "failed_pipe", "wrote nothing"),
    Case("pipe_reads_its_input", entry("cat |"), "failed_pipe", "wrote nothing"),
    Case("pipe_writes_junk", entry("seq 1000 |"), "unreadable_audio"),
    Case("pipe_writes_without_end", entry("yes |"), "failed_pipe", "wrote more than"),
    Case("pipe_hangs", entry("sleep 600 |"), "pipe_timeout", "took more than --pipe_timeout"),
    Case("pipe_hangs_silently", entry("exec >&-; sleep 600 |"), "pipe_timeout"),
    Case("pipe_leaves_a_process", entry("sleep 600 & cat {}/plain.wav |"), "pipe_timeout"),
    # ---- ids ----
    *(
        Case(f"id_{name}", write(f"id_{name}.wav"), "same", uid=uid)
        for name, uid in {
            "quotes": "it's\"quoted",
            "quote_first": '"open',
            "slashes": "a/b/c",
            "dots": "..",
            "upwards": "../../../tmp/x",
            "absolute": "/etc/passwd",
            "unicode": "Größe-日本-🎙",
            "option": "-rf",
            "long_option": "--help",
            "formula": "=1+1",
            "at": "@file",
            "shell": "$(touch${IFS}x)",
            "backquotes": "`id`",
            "star": "*",
            "comment": "#c",
            "percent": "%s%n",
            "backslash": "a\\nb",
            "html": "<script>alert(1)</script>",
            "nan": "nan",
            "na": "NA",
            "zeros": "007",
            "number": "1e5",
            "true": "True",
            "long": "x" * 300,
        }.items()
    ),
]
