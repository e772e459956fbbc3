"""What a model trains itself on: chosen by hand-computed values, and through its files."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_egl.bin import al_self_pool, al_self_train, al_train_data
from espnet_egl.data.directory import format_of
from espnet_egl.data.kaldi import read_table
from espnet_egl.errors import ConfigError
from espnet_egl.fitted.calibration import Calibration, Logistic, Quality, words_right
from espnet_egl.loop import self_training
from espnet_egl.loop.self_training import choose, read_taken, true_wer
from espnet_egl.store.tables import BASE_COLUMNS, read_rows

UNKNOWN = Quality(0.5, 0.0, 0.0)


def logistic() -> Logistic:
    """Keeps a confidence as it is."""
    return Logistic(1.0, 0.0, 20, 0.5, UNKNOWN, UNKNOWN)


def test_as_much_is_taken_as_keeps_the_words_right() -> None:
    # In order .02, .1, .3, .6: of 1, 2, 4, 8 words .02, .11, .24, .58 are wrong on the way.
    expected, words = np.array([0.3, 0.02, 0.6, 0.1]), np.array([4.0, 1.0, 8.0, 2.0])
    seconds = np.array([1.0, 2.0, 3.0, 4.0])

    def taken(wer: float = 0.1, share: float | None = None) -> list[int]:
        return np.flatnonzero(choose(expected, words, seconds, wer, share)).tolist()

    assert taken(0.01) == []
    assert taken(0.05) == [1]
    assert taken(0.08) == [1, 3]
    assert taken(0.21) == [0, 1, 3]
    # A clip that is expected to be mostly errors has no room made for it by the others.
    assert taken(0.45) == [0, 1, 3]
    assert taken(0.6) == [0, 1, 2, 3]
    # 2, 6, 7, 10 of 10 seconds.
    assert taken(share=0.6) == [1, 3]
    assert taken(share=1.0) == [0, 1, 2, 3]
    assert not choose(expected, 0 * words, seconds).any()
    with pytest.raises(ConfigError, match="--self_train_share must be above 0"):
        taken(share=0.0)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "right"),
    [("a b c", "a c", 2), ("a b", "a x b", 1), ("a", "x y z", 0), ("", "x", 0), ("a b", "", 0)],
)
def test_errors_that_leave_nothing_in_the_hypothesis_count(
    reference: str, hypothesis: str, right: int
) -> None:
    found = words_right(reference.split(), hypothesis.split())
    assert found.count(True) == right
    assert len(found) == max(len(reference.split()), not reference)


def test_the_truth_is_told_where_it_is_known() -> None:
    assert true_wer({"a": "x y", "b": "z"}, {"a": "x x", "b": "", "c": "q"}) == pytest.approx(2 / 3)
    assert true_wer({"a": "x"}, {"b": "x"}) is None


def test_whole_words_of_utterances_are_calibrated(tmp_path: Path) -> None:
    """Of clips with confidence .9 one word of four is missing, of those with .4 all but one."""
    words, confidences, text = [], [], []
    for i in range(20):
        sure = i % 2 == 0
        said = "a b c" if sure else "x b x x"
        confidences.append(f"u{i:02} {0.9 if sure else 0.4}\n")
        words += [f"u{i:02} 1 0.1 0.1 {w} {0.9 if w != 'x' else 0.2}\n" for w in said.split()]
        text.append(f"u{i:02} a b c d\n")
    (tmp_path / "utt2confidence").write_text("".join(confidences))
    (tmp_path / "words.ctm").write_text("".join(words))
    (tmp_path / "text").write_text("".join(text))
    Calibration.fit(tmp_path, tmp_path / "text").save(tmp_path / "calibration.yaml")
    fitted = Calibration.load(tmp_path / "calibration.yaml").accuracy
    assert fitted is not None
    # Eighty words, of which the regression's prior hardly tells.
    assert fitted([0.9, 0.4]) == pytest.approx([0.75, 0.25], abs=0.03)
    assert fitted.count == 80
    # What earlier versions wrote does not tell it, and is read all the same.
    lines = (tmp_path / "calibration.yaml").read_text().split("accuracy:")[0]
    (tmp_path / "calibration.yaml").write_text(lines)
    assert Calibration.load(tmp_path / "calibration.yaml").accuracy is None


CLIPS = {"a": (0.99, "one two"), "b": (0.95, "two"), "c": (0.3, "three"), "d": (0.99, "")}


def scores(path: Path, clips: dict[str, tuple[float, str]]) -> Path:
    rows = [f"{u}\t1.500\t9\t1\t1\t{c}\t{text}" for u, (c, text) in clips.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["\t".join(BASE_COLUMNS), *rows]) + "\n")
    return path


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """A scored pool of nine, of which one is selected, one filtered, and one labelled earlier."""
    others = dict.fromkeys(("selected", "silent", "earlier"), (0.5, "x"))
    scores(tmp_path / "score" / "scores.tsv", CLIPS | others)
    select = tmp_path / "select"
    select.mkdir()
    (select / "selection.tsv").write_text("utterance\nselected\n")
    (select / "filtered.tsv").write_text("utterance\treason\tdetail\nsilent\tno_speech\t0.000 s\n")
    (tmp_path / "labelled").mkdir()
    row = "earlier\tlabelled\t1\tegl rank 1 of 9"
    (tmp_path / "labelled/returned.tsv").write_text(f"utterance\tstate\tseconds\treason\n{row}\n")
    data = tmp_path / "data"
    data.mkdir()
    for uid in [*CLIPS, *others]:
        soundfile.write(data / f"{uid}.wav", np.zeros(12000), 8000)
    scp = "".join(f"{uid} {data}/{uid}.wav\n" for uid in [*CLIPS, *others])
    (data / "wav.scp").write_text(scp)
    (tmp_path / "model.pth").write_text("one")
    return tmp_path


def rest(home: Path) -> None:
    cmd = ["--score_file", f"{home}/score/scores.tsv", "--select_dir", f"{home}/select"]
    cmd += ["--labelled_dir", f"{home}/labelled", "--data_dir", f"{home}/data"]
    al_self_pool.main([*cmd, "--teacher", f"{home}/model.pth", "--output_dir", f"{home}/self"])


def take(home: Path, *options: str) -> None:
    scores(home / "self" / "score" / "scores.tsv", CLIPS)
    Calibration(logistic(), None, {}, logistic()).save(home / "calibration.yaml")
    cmd = ["--score_dir", f"{home}/self/score", "--calibration", f"{home}/calibration.yaml"]
    cmd += ["--pool_dir", f"{home}/self/pool", "--output_dir", f"{home}/self", *options]
    al_self_train.main(cmd)


def test_what_is_taken_is_never_what_was_asked_for(
    pool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rest(pool)
    assert capsys.readouterr().out == "4\n"
    assert read_table(pool / "self/pool/wav.scp").keys() == CLIPS.keys()
    (pool / "truth").write_text("a one two\nb to\nc three\nd four\n")
    take(pool, "--self_train_wer", "5%", "--truth", f"{pool}/truth")
    out = capsys.readouterr().out
    # (2 x 1 % + 5 %) / 3, and one word of three.
    assert "Self-training on 2 of 4 clips that nobody is asked for, 3 s of 6 s" in out
    assert "2.3 % of their words are wrong; in truth 33.3 %" in out
    assert "1 no_words, 1 not_sure_enough" in out
    assert read_table(pool / "self/text") == {"a": "one two", "b": "two"}
    rows = {row["utterance"]: row for row in read_rows(pool / "self" / "self_training.tsv")}
    assert [rows[u]["state"] for u in "abcd"] == ["taken", "taken", "not_sure_enough", "no_words"]
    assert rows["b"]["expected_wer"] == "0.050000"
    assert read_taken(pool / "self").expected_wer == pytest.approx(0.07 / 3, abs=1e-6)
    figures = json.loads((pool / "self" / "self_training.json").read_text())
    assert (figures["clips"], figures["of_clips"]) == (2, 4)
    assert figures["true_wer"] == pytest.approx(1 / 3)
    take(pool, "--self_train_share", "25%")
    assert read_table(pool / "self/text").keys() == {"a"}
    take(pool, "--self_train_wer", "0.1%")
    assert "Self-training on 0 of 4 clips" in capsys.readouterr().out
    assert not (pool / "self/text").exists()


def test_of_another_model_what_was_made_moves_away(pool: Path) -> None:
    rest(pool)
    take(pool)
    made = (pool / "self" / "self_training.tsv").read_bytes()
    rest(pool)
    assert (pool / "self" / "self_training.tsv").read_bytes() == made
    (pool / "model.pth").write_text("another")
    rest(pool)
    assert (pool / "self.1" / "self_training.tsv").read_bytes() == made
    assert {path.name for path in (pool / "self").iterdir()} == {"manifest.json", "pool"}


def test_a_kill_leaves_what_was_taken_before(pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, stage 25 would measure the plain model in place of the one that taught itself."""
    rest(pool)
    take(pool)
    text = (pool / "self" / "text").read_bytes()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(self_training, "subset_data_dir", killed)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        take(pool)
    assert (pool / "self" / "text").read_bytes() == text


def test_where_all_is_asked_for_nothing_is_left(
    pool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uids = read_table(pool / "data/wav.scp")
    (pool / "select/selection.tsv").write_text("\n".join(["utterance", *uids]) + "\n")
    rest(pool)
    assert capsys.readouterr().out == "0\n"
    assert not (pool / "self" / "pool").exists()


def test_a_calibration_that_does_not_tell_is_refused(
    pool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rest(pool)
    take(pool)
    Calibration(logistic(), None).save(pool / "calibration.yaml")
    cmd = ["--score_dir", f"{pool}/self/score", "--calibration", f"{pool}/calibration.yaml"]
    with pytest.raises(SystemExit):
        al_self_train.main(
            [*cmd, "--pool_dir", f"{pool}/self/pool", "--output_dir", f"{pool}/self"]
        )
    assert "give another with --al_fit_set" in capsys.readouterr().err


@pytest.mark.parametrize(("ratio", "copies"), [("3", 0), ("1", 0), ("0.5", 1), ("0.2", 4)])
def test_a_large_pool_does_not_drown_what_is_transcribed(
    pool: Path, ratio: str, copies: int, capsys: pytest.CaptureFixture[str]
) -> None:
    rest(pool)
    take(pool)
    for name, uid in (("seed", "s"), ("labelled", "earlier")):
        (pool / name).mkdir(exist_ok=True)
        (pool / name / "wav.scp").write_text(f"{uid} {pool}/data/a.wav\n")
        (pool / name / "text").write_text(f"{uid} text\n")
        (pool / name / "utt2spk").write_text(f"{uid} x\n")
    cmd = ["--seed_dir", f"{pool}/seed", "--labelled_dir", f"{pool}/labelled", "--fs", "8k"]
    cmd += ["--output_dir", f"{pool}/train", "--self_dir", f"{pool}/self"]
    al_train_data.main([*cmd, "--self_train_ratio", ratio])
    assert "1 of the seed set, 1 labelled, 2 by the model itself" in capsys.readouterr().out
    text = read_table(pool / "train/text")
    again = {uid for uid in text if uid.startswith("again")}
    assert text.keys() - again == {"s", "earlier", "a", "b"}
    assert len(again) == 2 * copies
    # Two clips of its own for two that are transcribed.
    assert math.ceil(2 / (2 * float(ratio))) == 1 + copies
    assert text.get("again2-s", "text") == "text"
    speakers = read_table(pool / "train/utt2spk")
    assert speakers.keys() == text.keys() == read_table(pool / "train/wav.scp").keys()


def test_a_part_of_a_pool_is_read_as_the_pool(tmp_path: Path) -> None:
    """Raw recordings are no arks of ESPnet, wherever their list stands."""
    assert format_of("data/pool", "flac.ark") == "wav"
    assert format_of("dump/raw/pool", "flac.ark") == "flac.ark"
    assert format_of("data/pool", "flac") == "flac"
    (tmp_path / "audio_format").write_text("wav.ark\n")
    assert format_of(tmp_path, "flac") == "wav.ark"
