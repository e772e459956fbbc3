"""Registries, and a package of a third party that adds to them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from espnet_egl.acquisition import acquisition_methods
from espnet_egl.errors import ConfigError
from espnet_egl.exchange import exporters
from espnet_egl.hypotheses import hypothesis_sources

REGISTRIES = [acquisition_methods, hypothesis_sources, exporters]


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda r: r.kind)
def test_every_name_is_a_class(registry: object) -> None:
    for name in registry.names():  # type: ignore[attr-defined]
        assert isinstance(registry.get(name), type)  # type: ignore[attr-defined]


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda r: r.kind)
def test_an_unknown_name_lists_the_known_ones(registry: object) -> None:
    with pytest.raises(ConfigError, match=f"unknown {registry.kind} 'x'.*choose from"):  # type: ignore[attr-defined]
        registry.get("x")  # type: ignore[attr-defined]


def test_a_wrong_option_is_a_message() -> None:
    with pytest.raises(ConfigError, match="'random' does not take"):
        acquisition_methods.build("random", {"colour": "red"})


def install(directory: Path, entry_points: str, module: str) -> None:
    """What pip leaves of a small package: its module and its metadata."""
    info = directory / "third_party-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    (directory / "third_party.py").write_text(module)


ENTRY_POINTS = """\
[espnet_egl.acquisition]
alphabetical = third_party:Alphabetical
broken = third_party:NotThere
[espnet_egl.hypotheses]
nothing = third_party:Nothing
[espnet_egl.exchange]
empty = third_party:Empty
"""

MODULE = """\
print("imported")
from espnet_egl.acquisition import AbsAcquisition
class Alphabetical(AbsAcquisition):
    def __init__(self, sign=1.0): self.sign = sign
    def score(self, evidence): return self.sign * -ord(evidence.utterance.uid[0])
class Nothing: pass
class Empty: pass
"""


def run(directory: Path, code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": f"{directory}:{Path(__file__).parent.parent}", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_a_third_party_adds_to_every_registry_by_entry_points(tmp_path: Path) -> None:
    install(tmp_path, ENTRY_POINTS, MODULE)
    code = """
from espnet_egl.acquisition import acquisition_methods as a
from espnet_egl.exchange import exporters as e
from espnet_egl.hypotheses import hypothesis_sources as h
assert a.names()[:3] == ["egl", "confidence", "random"], a.names()
assert a.names()[-2:] == ["alphabetical", "broken"], a.names()
assert "nothing" in h.names() and "empty" in e.names()
a.get("egl")
print("nothing imported yet")
assert a.build("alphabetical", {"sign": 2.0}).sign == 2.0
assert h.get("nothing").__name__ == "Nothing" and e.get("empty").__name__ == "Empty"
from espnet_egl.errors import ConfigError
try:
    a.get("broken")
except ConfigError as error:
    print(error)
"""
    lines = run(tmp_path, code).splitlines()
    assert lines[:2] == ["nothing imported yet", "imported"]
    assert "third_party:NotThere, which cannot be imported" in lines[2]
