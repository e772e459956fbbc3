"""Putting the stages into a recipe: al.sh beside asr.sh or s2t.sh, al.yaml, one word of run.sh."""

from __future__ import annotations

import difflib
import re
import shutil
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from espnet_egl.errors import ConfigError
from espnet_egl.store.files import atomic_open

# In a recipe -> in this package.
FILES = {"al.sh": "al.sh", "conf/al.yaml": "al.yaml"}
BACKUP = "run.sh.bak"


@dataclass(frozen=True)
class Step:
    """One thing to do, or to leave alone.

    Attributes:
        path: In the recipe.
        what: For people, before it is done.
        content: To write; None: nothing, or, with ``remove``, to take it away.
        remove: Whether it is taken away.
        shown_only: Whether ``content`` is what people are to write themselves.
    """

    path: Path
    what: str
    content: bytes | None = None
    remove: bool = False
    shown_only: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


def packaged(name: str) -> bytes:
    """A file of a recipe as this version has it."""
    return (files(__package__) / FILES[name]).read_bytes()


def check(recipe: Path) -> None:
    """Raise unless it is a recipe whose asr.sh leaves the stages from 20 on free.

    Raises:
        ConfigError: It is none; the message says what is missing.
    """
    if (recipe / "uasr.sh").exists():
        raise ConfigError(
            f"{recipe} is a recipe for unsupervised recognition: uasr.sh has a stage 20 of its own"
        )
    script = script_of(recipe)
    for name in ("run.sh", script, "path.sh", "cmd.sh"):
        if (recipe / name).is_symlink() and not (recipe / name).exists():
            raise ConfigError(f"{recipe / name} is a broken link: give a recipe in its checkout")
        if not (recipe / name).exists():
            raise ConfigError(
                f"{recipe} is no recipe of asr1 or s2t1: {name} is missing; give a directory like "
                "egs2/mini_an4/asr1, or s2t1"
            )
    # Bytes: a script may be in any encoding.
    content = (recipe / script).read_bytes()
    if own := re.search(rb"stage\}? -le (2[0-9]|[3-9][0-9])\b", content):
        raise ConfigError(f"{recipe / script} has a stage {own[1].decode()} of its own")


def script_of(recipe: Path) -> str:
    """The script that a recipe's run.sh calls: ``asr.sh``, or ``s2t.sh`` of the task s2t."""
    has_s2t_alone = not (recipe / "asr.sh").exists() and (recipe / "s2t.sh").exists()
    return "s2t.sh" if has_s2t_alone else "asr.sh"


def plan(recipe: Path, apply: bool) -> list[Step]:
    """What there is to do to install.

    Args:
        recipe: The directory.
        apply: Whether run.sh is changed, too.

    Raises:
        ConfigError: See :func:`check`; or something there is not ours to replace.
    """
    check(recipe)
    steps = [_install(recipe, name) for name in FILES]
    run, script = recipe / "run.sh", script_of(recipe)
    changed = renamed(run, script, "al.sh")
    if changed == run.read_bytes():
        if renamed(run, "al.sh", script) == changed:
            raise ConfigError(f"{run} does not call ./{script}: write ./al.sh in its place by hand")
        return [*steps, Step(run, "calls ./al.sh already")]
    if not apply:
        what = f"stays as it is; write ./al.sh for ./{script}, or give --apply true"
        return [*steps, Step(run, what, changed, shown_only=True)]
    _check_own(run)
    backup = recipe / BACKUP
    if backup.exists() and backup.read_bytes() != run.read_bytes():
        raise ConfigError(f"{backup} is there already and differs from run.sh: move it away")
    return [
        *steps,
        Step(backup, "to write: run.sh as it is", run.read_bytes()),
        Step(run, f"to change: ./al.sh for ./{script}", changed),
    ]


def removal(recipe: Path) -> list[Step]:
    """What there is to do to undo it; what people changed stays.

    Raises:
        ConfigError: See :func:`check`.
    """
    check(recipe)
    run, backup = recipe / "run.sh", recipe / BACKUP
    script = script_of(recipe)
    restored = renamed(run, "al.sh", script)
    steps = []
    if restored != run.read_bytes():
        _check_own(run)
        steps.append(Step(run, f"to change: ./{script} for ./al.sh", restored))
    if backup.exists():
        same = backup.read_bytes() == restored
        what = "to remove" if same else "stays: it differs from what run.sh becomes"
        steps.append(Step(backup, what, remove=same))
    for name in FILES:
        path = recipe / name
        if path.exists():
            same = path.read_bytes() == packaged(name) and not path.is_symlink()
            what = "to remove" if same else "stays: it is not as this version wrote it"
            steps.append(Step(path, what, remove=same))
    return steps


def _check_own(run: Path) -> None:
    if run.is_symlink():
        raise ConfigError(f"{run} is a link to {run.resolve()}: change it there, or by hand")


def _install(recipe: Path, name: str) -> Step:
    path, content = recipe / name, packaged(name)
    if not path.exists():
        return Step(path, "to write", content)
    if path.read_bytes() == content:
        return Step(path, "is there already")
    if name == "al.sh":
        raise ConfigError(
            f"{path} is of another version, or was changed: move it away to have this version's"
        )
    return Step(path, "stays as it is: yours")


def renamed(run: Path, old: str, new: str) -> bytes:
    """A script that calls ``./new`` where it called ``./old``; comments stay."""
    lines = run.read_bytes().splitlines(keepends=True)
    call = re.compile(rb"^(?!\s*#)(.*?)\./" + re.escape(old.encode()) + rb"(?=[\s\\]|$)")
    return b"".join(call.sub(rb"\1./" + new.encode(), line) for line in lines)


def difference(step: Step) -> str:
    """What a step changes in a file that is there, as a unified diff."""
    if step.content is None or not step.path.exists():
        return ""
    # What is not UTF-8 cannot be printed as it is.
    before, after = (
        content.decode(errors="backslashreplace").splitlines(keepends=True)
        for content in (step.path.read_bytes(), step.content)
    )
    return "".join(difflib.unified_diff(before, after, str(step.path), str(step.path), n=1))


def carry_out(steps: list[Step]) -> None:
    """Do it: files appear whole, scripts stay executable."""
    for step in steps:
        if step.remove:
            step.path.unlink()
        elif step.content is not None and not step.shown_only:
            mode = step.path.stat().st_mode if step.path.exists() else None
            with atomic_open(step.path, "wb") as f:
                f.write(step.content)
            if mode is not None:
                step.path.chmod(mode)
            elif step.path.suffix != ".yaml":
                shutil.copymode(step.path.with_name(script_of(step.path.parent)), step.path)
