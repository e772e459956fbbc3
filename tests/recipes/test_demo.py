"""The tutorial to the letter, in a demo that is made small: its commands run, from data to the
report, and print what it shows."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_al_sh import run

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorial.md"
# Stands before a user's own options in run.sh.
SMALL = (
    '--local_data_opts "--num_train 16 --num_dev 4 --num_pool 20 --num_test 4" '
    "--asr_exp exp/asr_train_asr_ctc_conformer_raw_en_char "
    '--asr_args "--max_epoch 1 --encoder_conf num_blocks=1" --al_nbest 5 --inference_nj 1'
)


@dataclass(frozen=True)
class Step:
    """A command of the tutorial.

    Attributes:
        command: As it is typed.
        shown: The lines that the tutorial shows of its output.
        done: What it came to here.
    """

    command: str
    shown: list[str]
    done: subprocess.CompletedProcess[str]


def commands(page: str) -> Iterator[tuple[str, list[str]]]:
    """Every command of the page's consoles, and what it shows of its output."""
    for block in re.findall(r"^```console\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *shown = part.replace("\\\n", "").splitlines()
            yield command, shown


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo and what its links lead to, made small."""
    root = tmp_path_factory.mktemp("demo")
    for name in ("TEMPLATE", "demo"):
        shutil.copytree(
            ROOT / "recipes" / name,
            root / "recipes" / name,
            symlinks=True,
            ignore=shutil.ignore_patterns("data", "dump", "exp"),
        )
    for name in (Path("espnet_egl", "recipe"), Path("conf")):
        shutil.copytree(ROOT / name, root / name)
    directory = root / "recipes" / "demo" / "asr1"
    script = directory / "run.sh"
    text = script.read_text()
    assert text.count('"$@"') == 1
    script.write_text(text.replace('"$@"', f'{SMALL} "$@"'))
    return directory


@pytest.fixture(scope="module")
def steps(recipe: Path) -> list[Step]:
    pytest.importorskip("espeakng_loader", reason="the extra 'demo' is not installed")
    found = []
    for command, shown in commands(TUTORIAL.read_text()):
        done = run(recipe, "bash", "-c", f"exec 2>&1; {command}", timeout=600)
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        found.append(Step(command, shown, done))
    return found


def shape(text: str) -> list[str]:
    """The lines without what another machine, or a smaller pool, prints otherwise."""
    lines: list[str] = []
    for line in text.splitlines():
        line = re.sub(r"\S*/(?=exp/)", "", line)  # The demo's directory.
        line = re.sub(r"(Left out, see filtered\.tsv:).*", r"\1", line)
        line = re.sub(r"(?:\d+\s+)?[\w-]+-pool\d+\s.*", "ROW", line)
        line = re.sub(r"[-+]?(?:\d[\d.,]*(?:e[-+]?\d+)?|nan\b)", "N", line)
        line = re.sub(r"\bN (?:s|minutes|h)\b", "N TIME", line)
        line = re.sub(r"\b(clip|utterance)s\b", r"\1", " ".join(line.split()))
        if line not in ("", *lines[-1:]):
            lines.append(line)
    return lines


@pytest.mark.slow
def test_from_data_to_the_report(steps: list[Step], recipe: Path) -> None:
    assert "| WER | decode_asr_asr_model_valid.loss.best/test |" in steps[0].done.stdout
    (selected,) = re.findall(
        r"^Selected (\d+) of 20 utterances by egl", "".join(s.done.stdout for s in steps), re.M
    )
    al_dir = recipe / "exp" / "al_asr_train_asr_ctc_conformer_raw_en_char_pool"
    round_dir = al_dir / "r1"
    assert 1 <= int(selected) < 20
    assert len((round_dir / "select" / "wav.scp").read_text().splitlines()) == int(selected)
    table = (round_dir / "annotate" / "transcribe.tsv").read_text().splitlines()
    assert len(table) == int(selected) + 1
    assert "<html" in (al_dir / "report" / "index.html").read_text()


@pytest.mark.slow
def test_the_tutorial_shows_what_its_commands_print(steps: list[Step]) -> None:
    for step in steps:
        printed = iter(shape(step.done.stdout))
        for line in shape("\n".join(step.shown)):
            assert line == "..." or line in printed, f"{step.command} does not print: {line}"


def test_the_tutorial_has_commands_with_outputs() -> None:
    found = list(commands(TUTORIAL.read_text()))
    assert len([command for command, _ in found if command.startswith("./run.sh")]) >= 3
    assert len([shown for _, shown in found if shown]) >= 3


def test_shapes_tell_texts_apart_and_not_numbers() -> None:
    assert shape("Selected 3 of 20 clips: 9.7 s\n") == shape("Selected 78 of 400 clips: 1.2 h")
    assert shape("Chosen 3 of 20") != shape("Selected 3 of 20")
    assert shape("x-pool0001 1.2 nine\n\ny-pool0002 0.1 1e-3 two") == shape("z-pool0003 3 one")
