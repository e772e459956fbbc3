"""The Python interface and the examples that use it."""

from __future__ import annotations

import math
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import ModelFiles, make_speech, search_args

import espnet_egl
from espnet_egl import api
from espnet_egl.bin import al_score
from espnet_egl.errors import DataError
from espnet_egl.store.tables import read_rows

EXAMPLES = Path(__file__).parents[1] / "examples"
MODEL = "ctc_conformer"


@pytest.fixture
def model(model_files: Callable[[str], ModelFiles]) -> api.Recognizer:
    files = model_files(MODEL)
    args = search_args(MODEL)
    return api.load_model(files.config, files.checkpoint, inference_args=args, nbest=5)


def test_the_package_has_the_names_of_the_interface_and_imports_nothing_for_them() -> None:
    assert set(api.__all__) == espnet_egl._OF_API
    assert espnet_egl.Rules is api.Rules
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        espnet_egl.nothing  # noqa: B018
    heavy = "{'numpy', 'torch', 'yaml', 'espnet2'} & sys.modules.keys()"
    code = f"import sys, espnet_egl; from espnet_egl.bin import main; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_it_gives_what_the_command_gives(
    model: api.Recognizer,
    model_files: Callable[[str], ModelFiles],
    pool_dir: Path,
    tmp_path: Path,
) -> None:
    files, wav_scp = model_files(MODEL), pool_dir / "wav.scp"
    words = ["--data_path_and_name_and_type", f"{wav_scp},speech,sound"]
    words += ["--key_file", str(wav_scp), "--output_dir", str(tmp_path / "score")]
    words += ["--asr_train_config", str(files.config), "--asr_model_file", str(files.checkpoint)]
    words += [f"--inference_args={search_args(MODEL)}", "--nbest", "5", "--num_workers", "0"]
    al_score.main([*words, "--methods", "egl", "random", "--verify", "0"])
    rows = sorted(read_rows(tmp_path / "score" / "scores.tsv"), key=lambda r: r["utterance"])
    scorer = api.make_scorer(model, ["egl", "random"], nbest=5)
    table = api.table_of(scorer, api.score(scorer, api.read_pool(model, pool_dir)))
    assert list(table.columns) == list(rows[0])
    for row, (_, found) in zip(rows, table.iterrows(), strict=True):
        for name, value in found.items():
            assert value == (row[name] if isinstance(value, str) else float(row[name])), name


def test_clips_are_scored_in_their_order_and_a_bad_one_ends_nothing(
    model: api.Recognizer, pool_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    files = [*sorted(tmp_path.glob("spk*.wav"))[:2], tmp_path / "broken.wav"]
    clips = [*api.read_clips(model, files), api.make_clip(model, "made", make_speech(0.9))]
    clips.append(api.make_clip(model, "short", make_speech(0.01)))
    results = list(api.score(api.make_scorer(model, nbest=5), clips))
    assert [r.uid for r in results] == [*map(str, files), "made", "short"]
    skipped = {r.uid: r.reason for r in results if isinstance(r, api.Skipped)}
    assert skipped == {str(files[2]): "unreadable_audio", "short": "too_short"}
    made = results[3]
    assert isinstance(made, api.ScoredUtterance)
    assert made.seconds == pytest.approx(0.9)
    assert 0 <= made.confidence.utterance <= 1
    assert made.scores["egl"] > 0
    assert made.nbest.mass <= 1 + 1e-6
    for samples in (np.zeros((2, 8)), np.zeros(0), np.array([math.nan])):
        with pytest.raises(DataError, match="'x': give one dimension"):
            api.make_clip(model, "x", samples)
    # Results are told by the clip's name, from one window to the next.
    with pytest.raises(DataError, match="two clips are called 'made'"):
        list(api.score(api.make_scorer(model, ["random"], nbest=5), [clips[3], clips[3]]))
    # No name of a file is a command.
    (listed,) = api.read_clips(model, ["touch here |"])
    assert isinstance(listed, api.Skipped)


def test_the_seed_and_the_posterior_reach_the_methods(
    model: api.Recognizer, pool_dir: Path
) -> None:
    def draws(seed: int) -> list[float]:
        scorer = api.make_scorer(model, ["random"], nbest=5, seed=seed)
        return [clip.scores["random"] for clip in api.score(scorer, api.read_pool(model, pool_dir))]  # type: ignore[union-attr]

    assert draws(7) == draws(7) != draws(0)
    for methods in (["confidence"], ["random"]):
        assert api.make_scorer(model, methods, posterior="ctc").confidence.posterior == "ctc"


def run_example(monkeypatch: pytest.MonkeyPatch, name: str, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", [name, *words])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_the_example_that_scores_clips(
    model_files: Callable[[str], ModelFiles],
    pool_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = model_files(MODEL)
    clips = [str(path) for path in sorted(tmp_path.glob("spk*.wav"))[:3]]
    words = ["--config", str(files.config), "--model", str(files.checkpoint), "--nbest", "3"]
    run_example(monkeypatch, "score_clips.py", *words, *clips, str(tmp_path / "none.wav"))
    printed = capsys.readouterr().out
    for clip in clips:
        assert f"{clip}: 0." in printed
    assert printed.count("expected gradient length ") == printed.count("confidence 0.") == 3
    assert "none.wav: not scored, unreadable_audio" in printed
    with pytest.raises(SystemExit, match=r"error: .*no\.pth: no such file"):
        run_example(monkeypatch, "score_clips.py", *words[:2], "--model", "no.pth", *clips)


def test_the_example_that_chooses_by_a_method_of_its_own(
    model_files: Callable[[str], ModelFiles],
    pool_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files, out = model_files(MODEL), tmp_path / "chosen"
    words = ["--config", str(files.config), "--model", str(files.checkpoint), "--budget", "2utt"]
    words += ["--data_dir", str(pool_dir), "--output_dir", str(out)]
    run_example(monkeypatch, "own_method.py", *words)
    rows = read_rows(out / "annotate" / "transcribe.tsv")
    assert len(rows) == 2
    chosen = read_rows(out / "select" / "selection.tsv")
    assert [row["reason"] for row in chosen] == [f"unsure_egl rank {n} of 6" for n in (1, 2)]
    assert float(chosen[0]["score"]) >= float(chosen[1]["score"]) > 0
    assert f"To transcribe: {out / 'annotate' / 'transcribe.tsv'}" in capsys.readouterr().out
