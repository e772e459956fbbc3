"""What of a machine and a recipe works: a line each, and never a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import MODELS, write_model
from packaging.requirements import Requirement

from espnet_egl.bin import al_doctor
from espnet_egl.recipe import doctor, packaged
from espnet_egl.recipe.doctor import BAD, NOTE, OK

RUN = '#!/usr/bin/env bash\n./al.sh --lang en "$@"\n'


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    for name in ("asr.sh", "path.sh", "cmd.sh"):
        (tmp_path / name).write_text("if [ ${stage} -le 15 ]; then\n")
    (tmp_path / "run.sh").write_text(RUN)
    (tmp_path / "al.sh").write_bytes(packaged("al.sh"))
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, tuple[str, str]]:
    """Name -> state and what was said; the status fits them."""
    al_well = al_doctor.doctor(al_doctor.get_parser().parse_args(words))
    lines = capsys.readouterr().out.splitlines()
    found = {line[4:27].strip(): (line[:2], line[27:]) for line in lines[:-2]}
    assert len(found) == len(lines) - 2, "a line each"
    assert al_well == (BAD not in {state for state, _ in found.values()})
    assert lines[-1].startswith(f"{len(found)} looked at: ")
    return found


def test_a_recipe_with_a_model_is_well(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = write_model(recipe / "exp" / "asr_x", **MODELS["ctc_conformer"]).checkpoint
    found = run(capsys, "--recipe", str(recipe))
    assert found["recipe"] == (OK, str(recipe))
    assert found["al.sh"][0] == OK
    assert found["model"][0] == OK
    assert found["model"][1].endswith(f" Hz: {made}")
    assert found["options"][1].startswith("defaults: egl, 20%; effort normal")
    for name in ("python", "torch", "torchaudio", "espnet", "libsndfile", "PyAV", "Silero"):
        assert found[name][0] == OK, found[name]


def test_what_is_broken_is_told_and_the_rest_is_looked_at(
    recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = write_model(recipe / "exp" / "asr_x", **MODELS["ctc_conformer"]).checkpoint
    made.write_bytes(b"no checkpoint")
    (recipe / "al.sh").write_text("of another version\n")
    (recipe / "conf").mkdir()
    (recipe / "conf" / "al.yaml").write_text("al_select: {method: nearest}\n")
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr(doctor, "LEAST_FREE", 2.0**60)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    found = run(capsys, "--recipe", str(recipe))
    assert {name for name, (state, _) in found.items() if state == BAD} == {
        *("al.sh", "model", "options", "PyAV", "disk", "tools")
    }
    assert "espnet-egl init" in found["al.sh"][1]
    assert str(made) in found["model"][1]
    assert "nearest" in found["options"][1]
    (recipe / "conf" / "al.yaml").write_text("al_select: {budgett: 20%}\n")
    state, said = run(capsys, "--recipe", str(recipe))["options"]
    assert state == BAD
    assert "budgett" in said


def test_no_recipe_is_a_note_and_one_that_is_given_must_be_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = run(capsys)
    assert found["recipe"][0] == found["model"][0] == NOTE
    assert "--recipe DIR" in found["recipe"][1]
    monkeypatch.setattr(doctor, "_packages", lambda: iter(()))
    found = run(capsys, "--recipe", str(tmp_path), "--asr_model_file", str(tmp_path / "no.pth"))
    assert found["recipe"][0] == found["model"][0] == BAD
    assert "run.sh is missing" in found["recipe"][1]


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("torch>=2", ""),
        ("torch<2", "is installed: pip install 'torch<2'"),
        ("is-not-there>=1", "not installed: pip install 'is-not-there>=1'"),
    ],
)
def test_a_requirement_that_is_not_met_says_what_to_install(wanted: str, told: str) -> None:
    found = doctor._problem(Requirement(wanted))
    assert found.endswith(told)
    assert bool(found) == bool(told)


def test_a_recipe_of_the_task_s2t_is_one(
    recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (recipe / "asr.sh").rename(recipe / "s2t.sh")
    (recipe / "run.sh").write_text("./s2t.sh\n")
    monkeypatch.chdir(recipe)
    monkeypatch.setattr(doctor, "_packages", lambda: iter(()))
    found = run(capsys)
    assert "exp/s2t_*" in found["model"][1]
    assert "run.sh calls ./s2t.sh" in found["al.sh"][1]


@pytest.mark.parametrize("package", ["yaml", "packaging.requirements"])
def test_it_answers_where_a_package_of_its_own_is_missing(package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None\n"
    code += "from espnet_egl.bin import al_doctor\nal_doctor.main([])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith("NO  packages: ")


def test_it_answers_where_espnet_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "espnet2").mkdir()
    (tmp_path / "espnet2" / "__init__.py").write_text("raise ImportError('broken')\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    code += "from espnet_egl.bin import main\nmain.main(['doctor'])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "NO  options                ImportError: broken" in done.stdout
