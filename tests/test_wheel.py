"""The wheel, as who installs it gets it: all is in it, and works where there is no checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from espnet_egl import __version__

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def run(*words: str | Path, **options: object) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, env=environment, **options
    )  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tracked(folder: str) -> list[str]:
    return run("git", "ls-files", folder, cwd=ROOT).splitlines()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of what git knows, and of nothing else that lies about."""
    home = tmp_path_factory.mktemp("wheel")
    for name in [*tracked("espnet_egl"), "setup.py", "pyproject.toml", "README.md", "LICENSE"]:
        (home / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, home / "source" / name)
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", home / "dist"]
    run(sys.executable, "-m", "pip", *build, home / "source")
    (found,) = (home / "dist").glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin/ of an environment that has the wheel, and the packages that it needs from ours."""
    home = tmp_path_factory.mktemp("env")
    venv.create(home, with_pip=False, symlinks=True)
    site = Path(run(home / "bin" / "python", "-c", "import site; print(*site.getsitepackages())"))
    site = Path(str(site).strip())
    run(sys.executable, "-m", "pip", "--python", home / "bin/python", "install", "--no-deps", wheel)
    # Behind its own; the .pth files there, which may name this checkout, are not read, but for that
    # by which setuptools stands in for distutils.
    needed = Path(sysconfig.get_path("purelib"))
    (site / "a_needed.pth").write_text(f"{needed}\n")
    for path in needed.glob("distutils-precedence.pth"):
        shutil.copy(path, site)
    return home / "bin"


def test_it_has_every_file_of_the_package_and_no_other(wheel: Path) -> None:
    inside = [n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n]
    assert sorted(inside) == sorted(tracked("espnet_egl"))
    # What a recipe and the report are made of.
    for name in ("recipe/al.sh", "recipe/al.yaml", "report/page.html.j2", "report/report.css"):
        assert f"espnet_egl/{name}" in inside
    assert "espnet_egl/report/vendor/dataTables.min.js" in inside
    assert "espnet_egl/py.typed" in inside


def test_its_commands_answer(installed: Path, tmp_path: Path) -> None:
    assert run(installed / "espnet-egl", "--version", cwd=tmp_path) == f"{__version__}\n"
    assert "put the stages into a recipe" in run(installed / "espnet-egl", "--help", cwd=tmp_path)
    where = "import espnet_egl; print(espnet_egl.__file__)"
    found = run(installed / "python", "-c", where, cwd=tmp_path)
    assert found.startswith(str(installed.parent))


def test_its_stages_come_into_a_recipe(installed: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "egs2" / "corpus" / "asr1"
    recipe.mkdir(parents=True)
    for name in ("asr.sh", "cmd.sh", "path.sh"):
        shutil.copy(ROOT / "recipes" / "TEMPLATE" / "asr1" / name, recipe)
    (recipe / "run.sh").write_text('#!/usr/bin/env bash\n./asr.sh --lang en "$@"\n')
    (recipe / "run.sh").chmod(0o755)
    assert "Done." in run(installed / "espnet-egl", "init", recipe, "--apply", cwd=tmp_path)
    assert (recipe / "run.sh").read_text().endswith('./al.sh --lang en "$@"\n')
    assert os.access(recipe / "al.sh", os.X_OK)
    assert (recipe / "al.sh").read_bytes() == (ROOT / "espnet_egl/recipe/al.sh").read_bytes()
    assert (recipe / "conf" / "al.yaml").read_bytes() == (ROOT / "conf" / "al.yaml").read_bytes()


def test_its_report_has_its_languages_and_scripts(installed: Path, tmp_path: Path) -> None:
    code = (
        "from espnet_egl.report import language, page\n"
        "page.html(page.Report('t', [], [], 'en'), language.read_language('ja'))\n"
        "print(*language.languages())"
    )
    assert run(installed / "python", "-c", code, cwd=tmp_path) == "en ja\n"
