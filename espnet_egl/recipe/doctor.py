"""What a machine and a recipe have of what the stages need: a line each, with what to do."""

from __future__ import annotations

import contextlib
import importlib
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from espnet_egl import __version__, recipe
from espnet_egl.errors import EGLError
from espnet_egl.running import told
from espnet_egl.store.tables import one_line

OK, NOTE, BAD = "ok", "--", "NO"
# Of setup.py: those that have a line of their own.
CENTRAL = ("espnet", "torch", "torchaudio")
# An extra of setup.py -> what it is for.
EXTRAS = {
    "label-studio": "Label Studio's server",
    "lhotse": "Lhotse's manifests",
    "textgrid": "Praat's TextGrid",
    "elan": "ELAN",
    "espnet3": "training by ESPnet3",
}
# What FFmpeg must decode of what phones and telephony make.
CODECS = ("aac", "amrnb", "opus", "wmav2", "g722")
# Less free space than this, in GiB, is soon gone.
LEAST_FREE = 2.0
# Of a recipe's trained model, the first that is there; else the newest checkpoint.
CHECKPOINTS = ("valid.acc.ave.pth", "valid.loss.ave.pth", "valid.loss.best.pth")


@dataclass(frozen=True)
class Finding:
    """A line.

    Attributes:
        name: What was looked at.
        state: OK; NOTE, what something optional lacks; or BAD, what will stop a stage.
        said: What was found, and what to do.
    """

    name: str
    state: str
    said: str

    def __str__(self) -> str:
        return f"{self.state}  {self.name:23}{one_line(self.said)}"


Look = Callable[[], Iterator[Finding]]


def examine(
    directory: Path, given: bool, train_config: Path | None, model_file: Path | None
) -> Iterator[Finding]:
    """Look at everything, one after the other; whatever is broken is a line.

    Args:
        directory: The recipe.
        given: Whether a user named it: then it is no note that it is none.
        train_config: The model's config.yaml; None: as the recipe's ``exp`` has it.
        model_file: Its checkpoint; None: the recipe's, or one beside ``train_config``.
    """
    looks: list[tuple[str, Look]] = [
        ("python", _python),
        ("packages", _packages),
        ("GPU", _gpu),
        ("disk", lambda: _disk(directory)),
        ("libsndfile", _libsndfile),
        ("PyAV", _pyav),
        ("Silero", _silero),
        *((EXTRAS[extra], lambda extra=extra: _extra(extra)) for extra in EXTRAS),  # type: ignore[misc]
        ("tools", _tools),
        ("recipe", lambda: _recipe(directory, given)),
        ("model", lambda: _model(directory, train_config, model_file)),
    ]
    for name, look in looks:
        yield from guarded(name, look)


def guarded(name: str, look: Look) -> Iterator[Finding]:
    """What it finds; an error of whatever kind is a finding."""
    try:
        yield from look()
    except (EGLError, OSError) as e:
        yield Finding(name, BAD, told(e))
    except Exception as e:  # what is broken here breaks in any way
        yield Finding(name, BAD, f"{type(e).__name__}: {e}")


def _python() -> Iterator[Finding]:
    yield Finding("python", OK, f"{platform.python_version()} on {platform.platform()}")
    yield Finding("espnet_egl", OK, __version__)


def _packages() -> Iterator[Finding]:
    wanted = _requirements()
    problems = {r.name: found for r in wanted if (found := _problem(r))}
    for name in CENTRAL:
        if name not in problems:
            importlib.import_module(name)  # what is there may still be broken
            yield Finding(name, OK, metadata.version(name))
    for package, problem in problems.items():
        yield Finding(package, BAD, problem)
    if not problems:
        yield Finding("other packages", OK, f"{len(wanted) - len(CENTRAL)}, as setup.py wants them")


def _requirements(extra: str = "", package: str = "espnet_egl") -> list[Requirement]:
    """What a package's metadata asks for always, or for an extra alone."""
    found = []
    for line in metadata.requires(package) or []:
        with contextlib.suppress(InvalidRequirement):
            found.append(Requirement(line))

    def asks(requirement: Requirement, extra: str) -> bool:
        return requirement.marker is None or requirement.marker.evaluate({"extra": extra})

    return [r for r in found if asks(r, extra) and (not extra or not asks(r, ""))]


def _problem(wanted: Requirement) -> str:
    """What is wrong with it, and what to do; empty: nothing."""
    try:
        version = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return f"not installed: pip install '{wanted.name}{wanted.specifier}'"
    if not wanted.specifier.contains(version, prereleases=True):
        return f"{version} is installed: pip install '{wanted.name}{wanted.specifier}'"
    parts = (r for extra in wanted.extras for r in _requirements(extra, wanted.name))
    return next(filter(None, map(_problem, parts)), "")


def _gpu() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            found = torch.cuda.get_device_properties(number)
            yield Finding("GPU", OK, f"{found.name}, {found.total_memory / 2**30:.0f} GiB")
    elif torch.version.cuda is None:
        yield Finding("GPU", NOTE, "this PyTorch is built for the CPU, which scores, too")
    else:
        yield Finding("GPU", NOTE, "none here, so leave out --al_gpu true: the CPU scores, too")


def _disk(directory: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(directory).free / 2**30
    said = f"{free:.1f} GiB free for {directory}"
    if free < LEAST_FREE:
        yield Finding("disk", BAD, f"{said}: make room, or give another --al_dir")
    else:
        yield Finding("disk", OK, said)


def _libsndfile() -> Iterator[Finding]:
    import soundfile

    kinds = {"WAV", "FLAC", "OGG", "MP3"} & soundfile.available_formats().keys()
    said = f"{soundfile.__libsndfile_version__}: {', '.join(sorted(kinds))}, ..."
    yield Finding("libsndfile", OK, said)


def _pyav() -> Iterator[Finding]:
    import av
    from av.codec import codecs_available

    if lacking := [codec for codec in CODECS if codec not in codecs_available]:
        said = f"{av.__version__} cannot decode {', '.join(lacking)}"
        yield Finding("PyAV", BAD, f"{said}: pip install --force-reinstall av")
    else:
        yield Finding("PyAV", OK, f"{av.__version__}: M4A, MP4, AMR, WMA, WebM, G.722, ...")


def _silero() -> Iterator[Finding]:
    from espnet_egl.data.vad import load_detector

    load_detector()
    said = f"{metadata.version('silero-vad')}: cuts recordings, measures speech"
    yield Finding("Silero", OK, said)


def _extra(extra: str) -> Iterator[Finding]:
    wanted = _requirements(extra)
    if not wanted:  # as of ESPnet3, which this Python is too old for
        yield Finding(EXTRAS[extra], NOTE, f"not for Python {platform.python_version()}")
    elif any(map(_problem, wanted)):
        said = f"not installed; if you want it: pip install 'espnet_egl[{extra}]'"
        yield Finding(EXTRAS[extra], NOTE, said)
    else:
        said = ", ".join(f"{r.name} {metadata.version(r.name)}" for r in wanted)
        yield Finding(EXTRAS[extra], OK, said)


def _tools() -> Iterator[Finding]:
    names = ("bash", "perl", "flock")
    if lacking := [name for name in names if shutil.which(name) is None]:
        said = f"al.sh needs {', '.join(lacking)}: install it with the system's packages"
        yield Finding("tools", BAD, said)
    else:
        yield Finding("tools", OK, ", ".join(names))


def _recipe(directory: Path, given: bool) -> Iterator[Finding]:
    script = recipe.script_of(directory)
    if not given and not (directory / script).exists():
        said = f"{directory} is none: go to one, or give --recipe DIR"
        yield Finding("recipe", NOTE, said)
        return
    recipe.check(directory)
    yield Finding("recipe", OK, str(directory))
    installed = directory / "al.sh"
    if not installed.exists():
        yield Finding("al.sh", NOTE, f"not in it yet: espnet-egl init {directory}")
    elif installed.read_bytes() != recipe.packaged("al.sh"):
        said = "of another version, or changed: move it away, then espnet-egl init"
        yield Finding("al.sh", BAD, f"{said} {directory}")
    elif (
        recipe.renamed(directory / "run.sh", "al.sh", script) == (directory / "run.sh").read_bytes()
    ):
        said = f"there, but run.sh calls ./{script}: write ./al.sh in its place"
        yield Finding("al.sh", NOTE, said)
    else:
        yield Finding("al.sh", OK, "of this version, and run.sh calls it")


def _model(
    directory: Path, train_config: Path | None, model_file: Path | None
) -> Iterator[Finding]:
    if train_config is None:
        models = f"exp/{recipe.script_of(directory).removesuffix('.sh')}_*"
        found = sorted(
            (path for path in directory.glob(f"{models}/config.yaml") if _checkpoint(path)),
            key=lambda path: path.stat().st_mtime,
        )
        if not found and model_file is None:
            said = f"none in {models}: train one (stage 11), or give --asr_train_config"
            yield Finding("model", NOTE, said)
            return
        train_config = found[-1] if found else Path("config.yaml")
    if model_file is not None and not train_config.exists():
        train_config = model_file.with_name("config.yaml")
    checkpoint = model_file or _checkpoint(train_config) or train_config.with_name(CHECKPOINTS[0])
    with contextlib.chdir(directory):  # token lists are named from there
        yield _loaded(train_config.absolute(), checkpoint.absolute())


def _checkpoint(train_config: Path) -> Path | None:
    """The one to score with of those beside a config.yaml."""
    there = sorted(train_config.parent.glob("*.pth"), key=lambda p: p.stat().st_mtime)
    named = {path.name: path for path in there if path.name != "checkpoint.pth"}
    return next((named[n] for n in CHECKPOINTS if n in named), next(reversed(named.values()), None))


def _loaded(train_config: Path, model_file: Path) -> Finding:
    from espnet_egl.model.loading import load_recognizer

    recognizer = load_recognizer(train_config, model_file)
    millions = sum(p.numel() for p in recognizer.model.parameters()) / 1e6
    branches = "with CTC" if recognizer.has_ctc_loss() else "without CTC"
    said = f"{millions:.3g} million parameters, {branches}, {recognizer.rate} Hz"
    return Finding("model", OK, f"loads, {said}: {model_file}")
