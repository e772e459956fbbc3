"""The recipes' data preparations: disjoint, repeatable, with the noise they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

RECIPES = Path(__file__).parents[2] / "recipes"
sys.path.insert(0, str(RECIPES / "TEMPLATE" / "asr1" / "scripts"))

import speech_data  # noqa: E402
from speech_data import add_noise  # noqa: E402

from espnet_egl.data.kaldi import read_table  # noqa: E402

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


def run(script: Path, *args: str) -> None:
    subprocess.run([sys.executable, str(script), *args], check=True, stdout=subprocess.DEVNULL)


def contents(directory: Path) -> dict[str, bytes]:
    """Every file's bytes, with the directory's own name taken out of paths."""
    return {
        str(path.relative_to(directory)): path.read_bytes().replace(str(directory).encode(), b"")
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="session")
def fsdd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus's layout with takes of 25 ms that tell speaker, digit and take apart."""
    root = tmp_path_factory.mktemp("fsdd")
    (root / "recordings").mkdir()
    for s, speaker in enumerate(SPEAKERS):
        for digit in range(10):
            for take in range(50):
                # A constant level names the take: it survives joining.
                level = (40 + s * 500 + digit * 50 + take) / 4000
                path = root / "recordings" / f"{digit}_{speaker}_{take}.wav"
                soundfile.write(path, np.full(200, level), 8000, subtype="FLOAT")
    return root


def takes_in(directory: Path) -> set[tuple[int, int, int]]:
    """(speaker, digit, take) of every take in a set's clean utterances."""
    found = set()
    snrs = read_table(directory / "utt2snr")
    for uid, path in read_table(directory / "wav.scp").items():
        if snrs[uid] == "clean":
            wave, _ = soundfile.read(path)
            for piece in wave[np.abs(np.diff(wave, prepend=0)) > 0.0]:
                code = round(piece * 4000) - 40
                if code >= 0:  # louder than the pauses' hiss
                    found.add((code // 500, code % 500 // 50, code % 50))
    return found


def test_fsdd_keeps_takes_apart_and_repeats(fsdd: Path, tmp_path: Path) -> None:
    script = RECIPES / "fsdd" / "asr1" / "local" / "make_data.py"
    sizes = ["--num_train", "40", "--num_dev", "10", "--num_pool", "90", "--num_test", "40"]
    for name in ("a", "b"):
        run(script, "--fsdd", str(fsdd), "--data_dir", str(tmp_path / name), *sizes)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    run(script, "--fsdd", str(fsdd), "--data_dir", str(tmp_path / "c"), "--seed", "1", *sizes)
    assert contents(tmp_path / "c") != contents(tmp_path / "a")

    sets = {p: tmp_path / "a" / p for p in ("train", "dev", "pool", "test")}
    takes = {part: takes_in(directory) for part, directory in sets.items()}
    assert all(takes.values())
    assert {take for _, _, take in takes["test"]} <= set(range(5))
    for part in ("train", "dev", "pool"):
        assert not {take for _, _, take in takes[part]} & set(range(5)), part
    assert not (takes["train"] | takes["dev"]) & takes["pool"]
    assert set(read_table(sets["train"] / "utt2spk").values()) == {"jackson", "theo"}
    for part in ("pool", "test"):
        assert set(read_table(sets[part] / "utt2spk").values()) == set(SPEAKERS)
    assert not (sets["pool"] / "text").exists()
    truth = read_table(tmp_path / "a" / "pool_truth" / "text")
    assert truth.keys() == read_table(sets["pool"] / "wav.scp").keys()
    snrs = list(read_table(sets["pool"] / "utt2snr").values())
    assert 0.3 < sum(s != "clean" for s in snrs) / len(snrs) < 0.7
    assert set(read_table(sets["train"] / "utt2snr").values()) == {"clean"}


@pytest.mark.parametrize("kind", ["white", "pink", "babble"])
@pytest.mark.parametrize("snr", [0.0, 7.5, 20.0])
def test_noise_has_the_snr_it_says(kind: str, snr: float) -> None:
    """Measured: the energy of the clip over that of what was added."""
    rng = np.random.default_rng(0)
    wave = (0.1 * np.sin(np.arange(8000) / 7)).astype(np.float32)
    mixed = add_noise(wave, kind, snr, rng, rng.standard_normal(20000))
    added = mixed - wave
    measured = 10 * np.log10((wave**2).sum() / (added**2).sum())
    assert measured == pytest.approx(snr, abs=0.1)


def test_loud_mixtures_do_not_clip() -> None:
    wave = np.full(8000, 0.9, dtype=np.float32)
    mixed = add_noise(wave, "white", 0.0, np.random.default_rng(0), np.zeros(0))
    assert np.abs(mixed).max() < 0.991


def test_resampling_keeps_the_duration() -> None:
    assert len(speech_data.resample(np.zeros(22050, np.float32), 22050, 16000)) == 16000


def test_the_demo_has_what_real_pools_have(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader", reason="the extra 'demo' is not installed")
    script = RECIPES / "demo" / "asr1" / "local" / "make_data.py"
    sizes = ["--num_train", "8", "--num_dev", "4", "--num_pool", "100", "--num_test", "60"]
    for name in ("a", "b"):
        run(script, "--data_dir", str(tmp_path / name), *sizes)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    sets = {p: tmp_path / "a" / p for p in ("train", "dev", "pool", "test")}
    speakers = {p: set(read_table(d / "utt2spk").values()) for p, d in sets.items()}
    assert len(speakers["train"]) <= 4
    assert len(speakers["pool"]) >= 20
    kinds = list(read_table(sets["pool"] / "utt2kind").values())
    assert {k: kinds.count(k) for k in set(kinds)} == {
        "speech": 85,
        "duplicate": 5,
        "silence": 5,
        "noise": 5,
    }
    snrs = [float(s) for s in read_table(sets["pool"] / "utt2snr").values() if s[0].isdigit()]
    assert min(snrs) >= 0
    assert min(snrs) < 3
    assert not (sets["pool"] / "text").exists()
    truth = read_table(tmp_path / "a" / "pool_truth" / "text")
    uids = list(read_table(sets["pool"] / "wav.scp"))
    assert uids == sorted(uids)
    assert list(truth) == uids
    assert all(bool(text) != uid.startswith("room-") for uid, text in truth.items())
    voices = read_table(sets["pool"] / "utt2spk")
    tested = {
        (text, read_table(sets["test"] / "utt2spk")[uid])
        for uid, text in read_table(sets["test"] / "text").items()
    }
    assert not tested & {(text, voices[uid]) for uid, text in truth.items()}


def write_an4(root: Path, speakers: int, suffix: str = ".sph") -> None:
    """The published layout: SPHERE files, fileids, transcriptions with and without <s>.

    CMU's repository has RIFF (``.wav``) in place of SPHERE.
    """
    rng = np.random.default_rng(0)
    formats = {".sph": "NIST", ".wav": "WAV"}
    (root / "etc").mkdir(parents=True)
    for part, folder, count in (("train", "an4_clstk", speakers), ("test", "an4test_clstk", 2)):
        fileids, transcriptions = [], []
        for s in range(count):
            for name in (f"an{s}0-sp{s}-b", f"cen{s}-sp{s}-b"):
                path = root / "wav" / folder / f"sp{s}" / f"{name}{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(
                    path, 0.1 * rng.standard_normal(1600), 16000, format=formats[suffix]
                )
                fileids.append(f"{folder}/sp{s}/{name}")
                text = f"GO {name[:2].upper()}"
                transcriptions.append(
                    f"<s> {text} </s> ({name})" if part == "train" else f"{text} ({name})"
                )
        (root / "etc" / f"an4_{part}.fileids").write_text("\n".join(fileids) + "\n")
        (root / "etc" / f"an4_{part}.transcription").write_text("\n".join(transcriptions) + "\n")


@pytest.mark.parametrize(
    ("speakers", "by", "suffix"), [(20, "utt2spk", ".sph"), (3, "wav.scp", ".wav")]
)
def test_an4_is_split_by_speaker_where_there_are_enough(
    tmp_path: Path, speakers: int, by: str, suffix: str
) -> None:
    write_an4(tmp_path / "an4", speakers, suffix)
    script = RECIPES / "an4" / "asr1" / "local" / "make_data.py"
    run(script, "--an4", str(tmp_path / "an4"), "--data_dir", str(tmp_path / "data"))
    sets = {p: tmp_path / "data" / p for p in ("train_nodev", "train_dev", "pool", "test")}
    uids = {p: set(read_table(d / "wav.scp")) for p, d in sets.items()}
    assert all(uids.values())
    assert sum(map(len, uids.values())) == 2 * speakers + 4
    parts = ("train_nodev", "train_dev", "pool")
    owners = [
        set(read_table(sets[p] / "utt2spk").values() if by == "utt2spk" else uids[p]) for p in parts
    ]
    assert not owners[0] & owners[1]
    assert not owners[1] & owners[2]
    assert not owners[0] & owners[2]
    assert read_table(sets["test"] / "text")["sp0-an00-sp0-b"] == "GO AN"
    assert not (sets["pool"] / "text").exists()
    assert read_table(tmp_path / "data/pool_truth/text").keys() == uids["pool"]


def test_an4_with_a_clip_less_is_a_message(tmp_path: Path) -> None:
    write_an4(tmp_path / "an4", 2, ".wav")
    next((tmp_path / "an4" / "wav" / "an4_clstk").rglob("an00*")).unlink()
    script = RECIPES / "an4" / "asr1" / "local" / "make_data.py"
    words = [sys.executable, str(script), "--an4", str(tmp_path / "an4")]
    done = subprocess.run(
        [*words, "--data_dir", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "an00-sp0-b: neither .sph nor .wav is there, though etc/ lists it" in done.stderr


def test_an4_missing_is_a_message(tmp_path: Path) -> None:
    script = RECIPES / "an4" / "asr1" / "local" / "make_data.py"
    done = subprocess.run(
        [sys.executable, str(script), "--an4", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "an4_train.transcription: no such file; --an4 takes the directory" in done.stderr
