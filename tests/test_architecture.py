"""Imports follow the data, in one direction."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "espnet_egl"
# The ground floor: everyone may use it, and what stands there uses nothing above it.
COMMON = {"types", "errors", "registry", "options", "progress", "store"}
# The rooms, in the order in which data flows.
ORDER = ["data", "model", "hypotheses", "gradients", "fitted", "acquisition", "scoring"]
ORDER += ["selection", "exchange", "loop", "report", "recipe", "bin", "espnet3"]


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
