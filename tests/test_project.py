"""What stands beside the code says the same as the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from espnet_egl import __version__
from espnet_egl.bin import main

ROOT = Path(__file__).parents[1]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_version_is_one() -> None:
    cited = yaml.safe_load(text("CITATION.cff"))
    assert cited["version"] == __version__
    (date,) = re.findall(rf"^## \[{re.escape(__version__)}\] - (\S+)$", text("CHANGELOG.md"), re.M)
    assert str(cited["date-released"]) == date


def test_hooks_before_a_commit_run_what_make_check_runs() -> None:
    (repository,) = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"]
    checks = re.search(r"^check:.*\n((?:\t.*\n)+)", text("Makefile"), re.M)
    assert checks is not None
    for hook in repository["hooks"]:
        words = hook["entry"].replace(" --force-exclude", "")
        assert words in checks[1], f"{words} is not in make check"
    left_out = {line.split()[0] for line in checks[1].splitlines()}
    assert left_out - {hook["entry"].split()[0] for hook in repository["hooks"]} == {".ci/audit.py"}


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda p: p.stem)
def test_what_the_forge_reads_is_yaml(path: Path) -> None:
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.parent.name == "workflows":
        (job,) = found["jobs"].values()
        assert job["steps"][-1] == {"run": ".ci/run"}


def test_files_that_documents_name_are_there() -> None:
    for name in ("CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md"):
        for link in re.findall(
            r"\]\(([^)#]+)\)|`((?:espnet_egl|tests|docs|examples)/[^`]+)`", text(name)
        ):
            target = next(filter(None, link))
            assert target.startswith("https://") or (ROOT / target).exists(), f"{name}: {target}"


def test_an_issue_asks_for_what_there_is() -> None:
    assert "doctor" in main.COMMANDS
    assert "espnet-egl doctor" in text(".github/ISSUE_TEMPLATE/fault.yml")
