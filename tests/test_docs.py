"""What the documents name is there: files, headings, commands, options."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
README, JAPANESE = ROOT / "README.md", ROOT / "README.ja.md"
FENCED = re.compile(r"^( *)```.*?^\1```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<!`)\]\(([^)\s]+)\)")


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", FENCED.sub("", text))


def code(text: str) -> str:
    """All of it: fenced, indented and within a line."""
    spans = re.findall(r"`([^`\n]+)`", FENCED.sub("", text))
    indented = re.findall(r"^    .*", text, re.MULTILINE)
    return "\n".join([*(found[0] for found in FENCED.finditer(text)), *spans, *indented])


@cache
def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.*)", FENCED.sub("", page.read_text()), re.MULTILINE)
    # Those of what is generated are seen by make docs.
    parsers = [f"espnet-egl {name}" for name in commands()] if page.stem == "commands" else []
    return {re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in headings + parsers}


def main() -> Any:
    return import_module("espnet_egl.bin.main")


def commands() -> list[str]:
    """Of ``espnet-egl``."""
    return list(main().COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(FENCED.sub("", page.read_text())):
        if target.startswith(("https://", "http://")):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.is_file(), target
        assert file.is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page: Path) -> None:
    text = code(page.read_text())
    rules = re.findall(r"^([\w -]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    targets = {name for rule in rules for name in rule.split()}
    assert {*re.findall(r"^(?:FSDD=DIR )?make ([a-z-]+)", text, re.MULTILINE)} <= targets
    assert {*re.findall(r"^(?:\$ )?espnet-egl ([a-z]+)", text, re.MULTILINE)} <= {*commands()}
    for module in re.findall(r"espnet_egl\.bin\.(\w+)", text):
        assert (ROOT / "espnet_egl" / "bin" / f"{module}.py").exists(), module
    if page.name != "CHANGELOG.md":  # It also tells of what was.
        assert {*re.findall(r"--((?:al|egl|confidence)_\w+)", text)} <= options()


@cache
def options() -> set[str]:
    """Of al.sh and of the commands."""
    help_text = subprocess.run(
        ["./al.sh", "--help"],
        cwd=ROOT / "recipes" / "TEMPLATE" / "asr1",
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = set(re.findall(r"^ +--(\w+)", help_text, re.MULTILINE))
    for name in ("al_score", "al_select", "al_report", "al_export"):
        parser = import_module(f"espnet_egl.bin.{name}").get_parser()
        found |= {o.removeprefix("--") for a in parser._actions for o in a.option_strings}
    return found


def test_the_site_has_every_option_command_and_method(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mkdocs", reason="the extra 'docs' is not installed")
    monkeypatch.syspath_prepend(ROOT / "docs")
    generate = import_module("generate")
    rows = re.findall(r"^\| `--(\w+)` \| \S", generate.al_sh(), re.MULTILINE)
    assert rows[0] == "al_method"
    assert {*rows} >= {name for name in options() if name.startswith("al_")}
    text = generate.commands()
    modules = {module: name for name, (module, _) in main().COMMANDS.items()}
    for path in (ROOT / "espnet_egl" / "bin").glob("al_*.py"):
        called = f"espnet_egl.bin.{path.stem}"
        if path.stem in modules:
            called = f"espnet-egl {modules[path.stem]}"
        assert f"{called} --help" in text
    assert "| `--budget` | 500utt, 2.5h, 20% (of the pool's hours)" in text
    methods = import_module("espnet_egl.acquisition").acquisition_methods.names()
    assert re.findall(r"^### (\w+)$", generate.methods(), re.MULTILINE) == methods


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 200


def test_every_page_has_a_place_on_the_site_and_says_what_it_is_for() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    nav = re.findall(r"(\S+\.md)$", yaml.dump(yaml.safe_load(text)["nav"]), re.MULTILINE)
    pages = sorted((ROOT / "docs").glob("*.md"))
    assert {page.name for page in pages} <= {*nav}
    for page in pages:
        assert re.match(r"# .+\n\nAfter this page ", page.read_text()), page


def test_the_japanese_readme_keeps_step() -> None:
    """The same commands, the same numbers, the same targets of links."""
    english, japanese = README.read_text(), JAPANESE.read_text()

    def blocks(text: str) -> list[str]:
        found = [block[0] for block in FENCED.finditer(text)]
        return [re.sub(r" *# .*", "", block) for block in found]

    def numbers(text: str) -> list[str]:
        return sorted(re.findall(r"\d+(?:\.\d+)*", without_code(re.sub(r"\]\(.*?\)", "]", text))))

    def spans(text: str) -> set[str]:
        return {*re.findall(r"`([^`\n]+)`", FENCED.sub("", text))}

    assert blocks(japanese) == blocks(english)
    assert numbers(japanese) == numbers(english)
    assert spans(japanese) == spans(english)
    of_the_other = {README.name, JAPANESE.name}
    assert {*LINK.findall(japanese)} - of_the_other == {*LINK.findall(english)} - of_the_other
