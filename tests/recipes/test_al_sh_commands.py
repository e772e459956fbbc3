"""Which commands al.sh runs, and with which options: a stand-in for Python writes them down."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_s2t import script

TEMPLATE = Path(__file__).parents[2] / "recipes" / "TEMPLATE" / "asr1"
# What decides is decided by the commands themselves; of the others, what al.sh reads is said.
STAND_IN = """#!/usr/bin/env bash
name=${{2#espnet_egl.bin.}}
case "${{name}}" in
    al_check|al_plan) exec {python} "$@" ;;
    al_prepare) echo "1 1" ;;
    al_self_pool) echo 3 ;;
    al_watch) exit 0 ;;
esac
{{
    echo "${{name}} ${{*:3}}"
    [ "${{name}}" != al_score ] || echo "al_score_args $(tr '\\n' ' ' < "${{4#@}}")"
}} >> commands
"""


def write_set(directory: Path, name: str, text: str) -> None:
    path = directory / "dump" / "raw" / name
    path.mkdir(parents=True)
    (path / "wav.scp").write_text(f"{name} /nowhere/{name}.wav\n")
    (path / "text").write_text(f"{name} {text}\n")


@pytest.fixture(params=["asr"])
def recipe(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A recipe whose first round is trained and decoded."""
    kind = request.param
    directory = tmp_path / "corpus" / f"{kind}1"
    directory.mkdir(parents=True)
    for name in ("al.sh", "cmd.sh", "path.sh", "utils", "scripts"):
        (directory / name).symlink_to(TEMPLATE / name)
    asr_sh = (TEMPLATE / "asr.sh").read_text() if kind == "asr" else script()
    # Nothing is decoded.
    asr_sh = asr_sh.replace("set -e\n", '[[ " $* " != *" --stage 12 "* ]] || exit 0\nset -e\n', 1)
    assert "--stage 12" in asr_sh
    (directory / f"{kind}.sh").write_text(asr_sh)
    (directory / f"{kind}.sh").chmod(0o755)
    (directory / "python").write_text(STAND_IN.format(python=sys.executable))
    (directory / "python").chmod(0o755)
    text = "good" if kind == "asr" else "<eng><asr><0.00> good<1.30>"
    for name in ("train", "dev", "pool", "target", "test"):
        write_set(directory, name, text)
    (directory / "truth").write_text(f"pool {text}\n")
    round_dir = directory / "exp" / "al_x" / "r1"
    models = [round_dir / f"asr{part}" for part in ("", "_self", "_random", "_chosen")]
    for model in (directory / "exp" / f"{kind}_m", *models):
        model.mkdir(parents=True)
        (model / "valid.loss.best.pth").touch()
        (model / "train_seconds").write_text("7\n")
        (model / "decode" / "test").mkdir(parents=True)
        (model / "decode" / "test" / "text").write_text("test good\n")
    (round_dir / "labelled").mkdir()
    (round_dir / "labelled" / "text").write_text("a good\n")
    return directory


def run(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run al.sh."""
    kind = directory.name[:-1]
    tokens = "char" if kind == "asr" else "bpe"
    call = (
        f"./al.sh --train_set train --valid_set dev --test_sets test --token_type {tokens} "
        f"--{kind}_tag m --inference_{kind}_model valid.loss.best.pth --inference_tag decode "
        "--feats_normalize none --python ./python --al_tag x --al_segment false"
    )
    return subprocess.run(
        [*call.split(), *words],
        cwd=directory,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "VIRTUAL_ENV": "active",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def commands(directory: Path, *words: str) -> dict[str, list[str]]:
    """The options of every command of ours, by its name, in their order."""
    (directory / "commands").unlink(missing_ok=True)
    done = run(directory, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, list[str]] = {}
    for line in (directory / "commands").read_text().splitlines():
        name, _, rest = line.partition(" ")
        found.setdefault(name, []).append(rest)
    return found


BY_ITSELF = ["--al_self_train", "true", "--stage", "24", "--stop_stage", "24"]


@pytest.mark.parametrize("recipe", ["s2t"], indirect=True)
def test_a_model_recognises_for_itself_as_the_pool_was_recognised(recipe: Path) -> None:
    (recipe / "langs").write_text("pool eng\n")
    words = ["--al_prompt", "<jpn><asr>", "--al_utt2lang", "langs", "--al_truth", "truth"]
    words += ["--confidence_measure", "gibbs", "--al_posterior", "ctc", "--egl_mode", "exact"]
    found = commands(recipe, *BY_ITSELF, *words)
    asked = "--posterior ctc --prompt <jpn><asr> --utt2lang langs --confidence_measure gibbs"
    assert len(found["al_score_args"]) == 2
    assert all(asked in options for options in found["al_score_args"])
    assert "egl_mode" not in "".join(found["al_score_args"])
    # What is compared with hypotheses is without symbols; what a loss is taken of has its own.
    assert "--text dump/raw/dev/text" in found["al_score_args"][0]
    for name, option in (("al_calibrate", "--text"), ("al_self_train", "--truth")):
        (options,) = (x.split() for x in found[name])
        text = recipe / options[options.index(option) + 1]
        assert text.read_text().split()[1:] == ["good"]


@pytest.mark.parametrize("recipe", ["s2t"], indirect=True)
def test_references_are_without_symbols_wherever_they_are_compared(recipe: Path) -> None:
    words = ["--egl_temperature", "auto", "--al_calibrate", "true", "--stage", "20"]
    found = commands(recipe, *words, "--stop_stage", "20")
    for name in ("al_fit", "al_calibrate"):
        assert "--text exp/al_x/plain/dump_raw_dev_text " in f"{found[name][0]} "
    found = commands(recipe, "--stage", "23", "--stop_stage", "23", "--al_truth", "truth")
    assert "--truth exp/al_x/plain/truth " in f"{found['al_import'][0]} "


@pytest.mark.parametrize("recipe", ["s2t"], indirect=True)
@pytest.mark.parametrize(("asked", "longest"), [("8", "8"), ("", "30")])
def test_the_window_is_the_most_and_not_the_length(recipe: Path, asked: str, longest: str) -> None:
    config = f"al_score: {{max_seconds: {asked}}}\n" if asked else "{}\n"
    (recipe / "al.yaml").write_text(config)
    words = ["--al_config", "al.yaml", "--stage", "20", "--stop_stage", "20"]
    (options,) = commands(recipe, *words)["al_score"]
    assert options.split()[-2:] == ["--max_seconds", longest]


def test_a_batch_is_held_against_the_same_whoever_asks_for_it(recipe: Path) -> None:
    """The command line or the config; hypotheses weigh everywhere alike."""
    stages = ["--stage", "20", "--stop_stage", "21", "--al_target_set", "target"]
    (recipe / "al.yaml").write_text(
        "al_select: {diversity: fisher}\nal_score: {methods: [entropy]}\n"
    )
    for words in (
        ["--al_diversity", "fisher"],
        ["--al_select_args", "--diversity fisher"],
        ["--al_config", "al.yaml"],
    ):
        found = commands(recipe, *stages, *words, "--egl_temperature", "2")
        seed, target, pool = found["al_score_args"]
        assert "--methods fisher" in seed
        assert "--methods fisher true_gradient" in target
        own = "entropy fisher" if "al.yaml" in words else "egl fisher confidence random"
        assert f"--methods {own} " in pool
        assert all(x.count("--egl_temperature") == 1 for x in (seed, target, pool))
        # To these scores the target set is nothing.
        assert "--target" not in pool
        (options,) = found["al_select"]
        assert "--seed_score_dir exp/al_x/r1/seed --target_score_dir exp/al_x/r1/target" in options
    found = commands(
        recipe, *stages, "--al_method", "target+egl", "--al_diversity", "fisher",
        "--egl_temperature", "auto",
    )  # fmt: skip
    fit, seed, target, pool = found["al_score_args"]
    fitted = "--fitted exp/al_x/r1/fit/fitted.yaml"
    assert "--methods egl confidence true_gl true_wer" in fit
    assert all("--egl_temperature auto" in x and fitted in x for x in (seed, target, pool))
    assert "--target exp/al_x/r1/target/embeddings.npy" in pool


def test_what_a_model_taught_itself_is_no_knowledge(recipe: Path) -> None:
    for model in ("asr", "asr_self"):
        write_set(recipe, f"train_al_x_r1_{model}", "good")
    (recipe / "exp" / "al_x" / "r1" / "self").mkdir()
    (recipe / "exp" / "al_x" / "r1" / "self" / "text").write_text("pool good\n")
    words = ["--al_round", "2", "--al_diversity", "fisher", "--al_self_train", "true"]
    found = commands(recipe, *words, "--stage", "20", "--stop_stage", "20")
    assert "asr_self/valid" in found["al_score_args"][0]
    assert "--data_dir dump/raw/train_al_x_r1_asr " in found["al_sample"][0]


def test_rounds_with_self_training_are_one_curve(recipe: Path) -> None:
    """Also where it takes nothing."""
    words = [*BY_ITSELF[:2], "--stage", "25", "--stop_stage", "25"]
    assert "--self_trained true --part all" in commands(recipe, *words)["al_curve"][-1]
    first, second = commands(recipe, *words, "--al_pilot", "true")["al_curve"][-2:]
    assert "--self_trained" not in first
    assert "--self_trained true --part all" in second
    assert "--self_trained" not in commands(recipe, *words[2:])["al_curve"][-1]


def test_without_a_transcribed_set_it_says_what_for(recipe: Path) -> None:
    (recipe / "dump" / "raw" / "dev" / "text").unlink()
    done = run(recipe, *BY_ITSELF)
    assert done.returncode == 1
    assert "its audio and text are needed in" in done.stderr
    assert "self-training needs a transcribed set to learn from" in done.stdout
