"""Imports follow the data, in one direction."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "espnet_egl"
PAGE = Path(__file__).parent.parent / "docs" / "architecture.md"
# The ground floor: everyone may use it, and what stands there uses nothing above it.
COMMON = {"types", "errors", "registry", "options", "progress", "running", "store"}
# The rooms, in the order in which data flows.
ORDER = ["data", "model", "hypotheses", "gradients", "fitted", "acquisition", "scoring"]
ORDER += ["selection", "exchange", "loop", "report", "recipe", "api", "bin", "espnet3"]
LONGEST = 400
# A module that is longer: the reason why it is not parted.
LONGER: dict[str, str] = {}


def imports(path: Path) -> set[str]:
    """First-level names below espnet_egl that a module imports, type checking aside."""
    found = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("espnet_egl"):
            rest = (node.module or "").removeprefix("espnet_egl").strip(".")
            names = [rest.split(".")[0]] if rest else [alias.name for alias in node.names]
            found.update(names)
    return found - {"__version__"}


def test_imports_follow_the_data() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for other in imports(path) - {own} - COMMON:
            assert own not in COMMON, f"{own} is used by all and must import none: {other}"
            assert ORDER.index(other) < ORDER.index(own), f"{path} imports {other}"


def test_differences_between_espnet_releases_stand_in_one_module() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.name != "compat.py":
            assert "espnet2.legacy" not in path.read_text(), path


def test_every_module_has_a_room_or_stands_on_the_ground_floor() -> None:
    found = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.name[0] != "_"}
    assert found - {"py.typed"} == {*ORDER, *COMMON}


def test_no_module_is_long_without_a_reason() -> None:
    lengths = {
        str(path.relative_to(PACKAGE)): len(path.read_text().splitlines())
        for path in PACKAGE.rglob("*.py")
    }
    assert {name for name, length in lengths.items() if length > LONGEST} == set(LONGER)


def test_the_page_shows_the_rooms_as_they_are() -> None:
    page = PAGE.read_text()
    picture = re.search(r"^    bin/.*?(?=^\|)", page, re.DOTALL | re.MULTILINE)
    assert picture is not None
    flow = re.findall(r"(\w+)/", picture[0][picture[0].index("data/") :])
    assert flow == [*ORDER[: ORDER.index("recipe")], "store"]
    rows = re.findall(r"^\| `(\w+)/` \| .* \| (.*) \|$", page, re.MULTILINE)
    told = {room: sorted(re.findall(r"`(\w+)`", modules)) for room, modules in rows}
    modules = {
        room: sorted(p.stem for p in (PACKAGE / room).glob("*.py") if p.stem != "__init__")
        for room in [*ORDER, "store"]
        if (PACKAGE / room).is_dir()
    }
    assert told == modules
