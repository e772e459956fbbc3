"""How a report's figures were made, so that they can be made again."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from espnet_egl.errors import DataError
from espnet_egl.loop.tables import Table
from espnet_egl.loop.worth import Say
from espnet_egl.scoring.records import OF_LISTS, OF_SHARD, RUN
from espnet_egl.store.files import file_hash, parse_json, read_manifest

PACKAGES = ("espnet_egl", "espnet", "torch", "numpy", "matplotlib", "jinja2")


def scoring_manifest(score_dir: Path) -> dict[str, Any]:
    """What the scores were made with; empty if it is not told.

    Raises:
        DataError: A manifest is damaged, or shards were scored with other settings.
    """
    found: dict[str, Any] = {}
    for path in sorted(score_dir.glob("logdir/output.*/manifest.json")):
        settings = read_manifest(path.parent)
        settings.pop(OF_SHARD, None)
        # A pool that grew has other lists from one arrival to the next.
        if found and _without_lists(settings) != _without_lists(found):
            raise DataError(f"{path}: made with other settings than the other shards: score again")
        found = settings
    return found


def _without_lists(settings: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in OF_LISTS}


def run_record(directory: Path) -> dict[str, Any]:
    """What a run came to, or was asked for, as its ``run.json`` says; empty if there is none.

    Raises:
        DataError: It is damaged.
    """
    path = directory / RUN
    if not path.exists():
        return {}
    try:
        return dict(parse_json(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as e:
        raise DataError(f"{path}: cannot be read ({e}); remove it") from e


def training_manifest(directory: Path) -> dict[str, Any]:
    """What stage 24 trained a model with, and how long that took.

    Raises:
        DataError: The manifest is missing or damaged.
    """
    settings = read_manifest(directory)
    path = directory / "train_seconds"
    if path.exists():
        settings["train_seconds"] = path.read_text(encoding="utf-8").strip()
    return settings


def manifest_table(title: str, settings: Mapping[str, Any], say: Say) -> Table:
    """Every setting as it was."""
    rows = [[key, _value(settings[key])] for key in sorted(settings)]
    return Table(title, [say("setting"), say("value")], rows)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def files_table(paths: Sequence[Path], say: Say) -> Table:
    """SHA-256 of what the report was made from.

    Raises:
        DataError: One cannot be read.
    """
    rows = [[str(path), file_hash(path)] for path in paths]
    return Table(say("Files"), [say("file"), "SHA-256"], rows)


def versions_table(say: Say) -> Table:
    """Of what made the report."""
    rows = [["Python", platform.python_version()]]
    for package in PACKAGES:
        try:
            rows.append([package, version(package)])
        except PackageNotFoundError:
            continue
    return Table(say("Versions that made this report"), [say("package"), say("version")], rows)
