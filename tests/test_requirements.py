"""What setup.py lets pip install is what the tests are run with."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
# Of PyTorch and torchaudio, as .ci/run has them.
PAIRS = {("2.6", "2.6"), ("2.11", "2.11"), ("2.14", "2.11")}


def minor(release: str) -> str:
    return ".".join(map(str, Version(release).release[:2]))


def requirement(name: str) -> Requirement:
    (line,) = re.findall(rf'"({name}[><=].*?)"', (ROOT / "setup.py").read_text(encoding="utf-8"))
    return Requirement(line)


@pytest.mark.parametrize(("position", "name"), enumerate(["torch", "torchaudio"]))
def test_no_release_is_allowed_that_is_not_tested(position: int, name: str) -> None:
    releases = [f"{major}.{n}" for major in (1, 2, 3) for n in range(30)]
    specifier = requirement(name).specifier
    allowed = {r for r in releases if any(specifier.contains(f"{r}.{patch}") for patch in (0, 1))}
    assert allowed == {pair[position] for pair in PAIRS}


def test_the_installed_pair_is_one_of_them() -> None:
    assert (minor(version("torch")), minor(version("torchaudio"))) in PAIRS


def test_the_lowest_are_the_lowest_allowed() -> None:
    lines = (ROOT / "tests" / "lowest.txt").read_text(encoding="utf-8").splitlines()
    lowest = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert tuple(map(minor, (lowest["torch"], lowest["torchaudio"]))) == min(
        PAIRS, key=lambda pair: Version(pair[0])
    )
    assert all(requirement(name).specifier.contains(lowest[name]) for name in lowest)
