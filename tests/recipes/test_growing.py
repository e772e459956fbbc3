"""A pool that lives: it grows twice, is asked for three budgets; nothing is lost or paid twice."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from conftest import make_speech
from speaking import RATE
from test_al_sh import OPTIONS, add_clip, run, take_clip
from test_al_sh import pool_recipe as pool_recipe  # fixtures
from test_al_sh import recipe as recipe

from espnet_egl.data.kaldi import read_table
from espnet_egl.loop.shared_ledger import SharedLedger
from espnet_egl.store.tables import read_rows

BENCH = Path(__file__).parents[2] / "bench"


@pytest.mark.slow
def test_no_second_is_lost_and_none_is_asked_twice(pool_recipe: Path, tmp_path: Path) -> None:
    pool, al_dir = pool_recipe / "data" / "pool", pool_recipe / "exp" / "al_asr_model_pool"
    ledger = pool_recipe / "ledger.tsv"

    def stages(tag: str, *options: str, first: str = "20", last: str = "22") -> str:
        words = ("--stage", first, "--stop_stage", last, "--al_select_tag", tag)
        words = (*words, "--al_hyp_source", "ctc_sample", "--al_ledger", str(ledger), *options)
        done = run(pool_recipe, "./run.sh", *OPTIONS, *words, timeout=1800)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def check(tag: str, count: int) -> list[str]:
        """Every clip of the pool is scored or listed, and its seconds are all there."""
        rows = read_rows(al_dir / "r1" / "score" / "scores.tsv")
        listed = read_rows(al_dir / "r1" / "score" / "skipped.tsv")
        assert sorted(row["utterance"] for row in [*rows, *listed]) == sorted(
            read_table(pool / "wav.scp")
        )
        paths = read_table(pool / "wav.scp")
        for row in rows:
            assert float(row["seconds"]) == soundfile.info(paths[row["utterance"]]).duration
        chosen = read_rows(al_dir / "r1" / f"select_{tag}" / "selection.tsv")
        assert len(chosen) == count
        return [row["utterance"] for row in chosen]

    # The first budget: one of its clips comes back as nothing that can be understood.
    stages("a", "--al_budget", "2utt")
    first = check("a", 2)
    rows = read_rows(al_dir / "r1" / "annotate_a" / "transcribe.tsv")
    table = al_dir / "r1" / "annotate_a" / "transcribe.tsv"
    for row, (text, mark) in zip(rows, (("a b", ""), ("", "cannot_understand")), strict=True):
        row |= {"transcript": text, "mark": mark}
    lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
    table.write_text("".join(f"{line}\n" for line in lines))
    tokens = pool_recipe / "data" / "token_list" / "char" / "tokens.txt"
    tokens.parent.mkdir(parents=True)
    tokens.write_text("<blank>\n<unk>\n<space>\na\nb\n<sos/eos>\n")
    stages("a", first="23", last="23")
    # It grows; what nobody understood comes again under another id and another name.
    path = Path(take_clip(pool_recipe, rows[1]["utterance"]))
    add_clip(pool_recipe, "again", path.rename(tmp_path / "renamed.wav"))
    for name, seed in (("n1", 41), ("n2", 42), ("n3", 43)):
        soundfile.write(tmp_path / f"{name}.wav", make_speech(0.4, seed=seed), 8000)
        add_clip(pool_recipe, name, tmp_path / f"{name}.wav")
    said = stages("b", "--al_budget", "3utt")
    assert "The pool: 5 known, 4 new, 0 changed, 1 gone" in said
    second = check("b", 3)
    # It grows once more, and loses a clip that is out.
    lost = second[0]
    take_clip(pool_recipe, lost)
    soundfile.write(tmp_path / "n4.wav", make_speech(0.4, seed=44), 8000)
    add_clip(pool_recipe, "n4", tmp_path / "n4.wav")
    said = stages("c", "--al_budget_total", "7utt")
    assert "The pool: 8 known, 1 new, 0 changed, 2 gone" in said
    third = check("c", 2)
    assert "again" not in third
    # Seven were asked, and no audio twice.
    asked = SharedLedger(ledger).asked()
    assert sorted(line.uid for line in asked) == sorted([*first, *second, *third])
    assert len({line.audio_hash for line in asked}) == 7
    states = {line.uid: line.state for line in asked}
    assert [states[row["utterance"]] for row in rows] == ["labelled", "cannot_understand"]
    filtered = read_rows(al_dir / "r1" / "select_c" / "filtered.tsv")
    reasons = {row["utterance"]: (row["reason"], row["detail"]) for row in filtered}
    assert reasons["again"] == (
        "asked_already",
        f"r1/select_a, the same audio as {rows[1]['utterance']}",
    )
    assert reasons[lost][0] == "gone"
    state = yaml.safe_load((al_dir / "state.yaml").read_text())["ledger"]
    assert state["asked"].startswith("7 clips, ")
    assert list(state["by selection"]) == ["r1/select_a", "r1/select_b", "r1/select_c"]
    # Another pool, of a team with another directory, is not asked for them either.
    done = run(
        pool_recipe, "./run.sh", *OPTIONS, "--stage", "20", "--stop_stage", "21",
        "--al_tag", "other", "--al_hyp_source", "ctc_sample", "--al_ledger", str(ledger),
        "--al_budget", "1utt",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    other = read_rows(pool_recipe / "exp" / "al_other" / "r1" / "select" / "selection.tsv")
    hashes = {row["audio_hash"] for row in other}
    assert len(hashes) == 1
    assert not hashes & {line.audio_hash for line in asked}


# Of each recording; four are three hours.
MINUTES = 45


@pytest.mark.slow
def test_three_hours_become_a_pool_that_grows(pool_recipe: Path, tmp_path: Path) -> None:
    """From recordings to selections: others come, twice, and one is replaced; every second is in a
    clip, in silence or skipped, and none is asked twice."""
    if "FSDD" not in os.environ:
        pytest.skip("FSDD names a copy of the data set")
    pool, al_dir = pool_recipe / "data" / "pool", pool_recipe / "exp" / "al_asr_model_pool"
    cut, heard = al_dir / "pool_cut", {}

    def record(name: str, seed: int) -> None:
        wave = joined(Path(os.environ["FSDD"]), 60 * MINUTES, seed)
        soundfile.write(tmp_path / f"{name}.wav", wave, RATE)
        heard[name] = len(wave) / RATE

    def arrive(name: str, seed: int) -> None:
        record(name, seed)
        (pool / "utt2dur").write_text("")
        add_clip(pool_recipe, name, tmp_path / f"{name}.wav")
        (pool / "utt2dur").unlink()

    def stages(tag: str, *options: str) -> str:
        words = ("--stage", "20", "--stop_stage", "22", "--al_select_tag", tag)
        words = (*words, "--al_effort", "quick", *options)
        words = (*words, "--al_score_args", "--max_seconds 22 --vad true")
        done = run(pool_recipe, "./run.sh", *OPTIONS, *words, timeout=1800)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def chosen(tag: str) -> dict[str, str]:
        """What was selected, with its audio; and every second is somewhere, every clip scored."""
        segments = {u: line.split() for u, line in read_table(cut / "segments").items()}
        seconds = dict.fromkeys(heard, 0.0)
        for recording, start, end, *_ in segments.values():
            seconds[recording] += float(end) - float(start)
        for name in ("silence.tsv", "skipped.tsv"):
            for row in read_rows(cut / name):
                seconds[row["utterance"]] += float(row["seconds"])
        assert seconds == pytest.approx(heard, abs=0.01)
        scored = read_rows(al_dir / "r1" / "score" / "scores.tsv")
        listed = read_rows(al_dir / "r1" / "score" / "skipped.tsv")
        counted = [*scored, *(row for row in listed if row["utterance"] in segments)]
        assert sorted(row["utterance"] for row in counted) == sorted(segments)
        rows = read_rows(al_dir / "r1" / f"select_{tag}" / "selection.tsv")
        return {row["utterance"]: row["audio_hash"] for row in rows}

    for name in ("wav.scp", "utt2spk", "utt2dur"):
        (pool / name).write_text("")
    arrive("monday", 1)
    arrive("tuesday", 2)
    said = stages("a", "--al_budget", "0.05h")
    assert "2 recordings, " in said
    first = chosen("a")
    known = len(read_table(cut / "segments"))
    before = (al_dir / "r1" / "score" / "scores.tsv").read_text().splitlines()

    arrive("wednesday", 3)
    said = stages("b", "--al_budget", "0.05h")
    new = len(read_table(cut / "segments")) - known
    assert f"The pool: {known} known, {new} new, 0 changed, 0 gone" in said
    assert set(before) <= set((al_dir / "r1" / "score" / "scores.tsv").read_text().splitlines())
    second = chosen("b")

    arrive("thursday", 4)
    assert sum(heard.values()) == 4 * 60 * MINUTES
    record("monday", 5)
    said = stages("c", "--al_budget_total", "0.15h")
    third = chosen("c")
    found = [*first.values(), *second.values(), *third.values()]
    assert min(map(len, (first, second, third))) > 5
    assert len(set(found)) == len(found)
    state = yaml.safe_load((al_dir / "state.yaml").read_text())["ledger"]
    assert state["asked"].startswith(f"{len(found)} clips, ")
    # Of what was asked and is there no more, the audio is known all the same.
    gone = {r["utterance"] for r in read_rows(al_dir / "r1" / "score" / "gone.tsv")}
    assert gone
    assert all(uid.startswith("monday-") for uid in gone)
    assert not gone & third.keys()


def joined(fsdd: Path, seconds: float, seed: int) -> np.ndarray:
    """Words of FSDD in any order, with a call's pauses, 20 dB above white noise: (samples,)."""
    sys.path.insert(0, str(BENCH))
    try:
        from segmentation import PAUSES, join
    finally:
        sys.path.remove(str(BENCH))
    draw = np.random.default_rng(seed)
    files = sorted((fsdd / "recordings").glob("*.wav"))
    waves = [soundfile.read(path, dtype="float32")[0] for path in files]
    parts: list[np.ndarray] = []
    while sum(map(len, parts)) < RATE * seconds:
        chosen = [waves[i] for i in draw.choice(len(waves), 60)]
        parts.append(join(chosen, RATE, PAUSES["a call"], 20.0, 0.1, draw).wave)
    return np.concatenate(parts)[: round(RATE * seconds)]
