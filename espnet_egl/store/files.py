"""Small files written so that a killed job leaves either the old one or the new one."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import yaml

from espnet_egl.errors import ConfigError, DataError, ManifestError, StorageError

logger = logging.getLogger(__name__)

# What to do about it, by the system's error.
ADVICE = {
    errno.ENOSPC: "make room on that disk",
    errno.EDQUOT: "make room within your quota",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f), or write elsewhere",
    errno.EROFS: "that file system is read-only: mount it for writing, or write elsewhere",
    errno.EACCES: "set its permissions, or write elsewhere",
    errno.EPERM: "set its permissions, or write elsewhere",
    errno.ENOENT: "see that the disk it is on is there",
    errno.ESTALE: "see that the network disk it is on is mounted",
    errno.EIO: "see that the disk it is on works",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
}
# What a yaml file may come to when its anchors are written out.
YAML_NODES = 5_000_000


@contextmanager
def atomic_open(path: str | Path, mode: str = "w") -> Iterator[Any]:
    """Open ``path`` for writing text, or bytes with ``wb``; it appears, whole, only when the
    block ends well.

    Raises:
        StorageError: It cannot be written; what was there before is there still.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    with _replacing(temporary, path), temporary.open(mode, **text) as f:
        yield f
        f.flush()
        os.fsync(f.fileno())


@contextmanager
def _replacing(temporary: Path, path: Path) -> Iterator[None]:
    """``temporary``, which the block writes and has on the disk, takes the place of ``path``."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
        temporary.replace(path)
        sync_directory(path.parent)
    except OSError as e:
        # One of another file came out of the block.
        ours = (temporary, path, *path.parents)
        if e.filename is not None and Path(e.filename) not in ours:
            raise
        raise StorageError(f"{path} cannot be written: {explain(e)}") from e
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def sync_directory(directory: str | Path) -> None:
    """Have the disk know of a file that was made or renamed; where that cannot be, go on."""
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def explain(error: OSError) -> str:
    """What the system says, and what to do about it."""
    advice = ADVICE.get(error.errno or 0, "mend that")
    reason = error.strerror or str(error)
    return f"{reason}; {advice}, then run the same command again: what is done is kept"


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A path for a library that writes files by itself; what it wrote appears at ``path``, whole,
    only when the block ends well.

    Raises:
        StorageError: It cannot be written; what was there before is there still.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with _replacing(temporary, path):
        yield temporary
        with temporary.open("rb") as f:
            os.fsync(f.fileno())


@contextmanager
def lock(path: str | Path, wait: bool = False) -> Iterator[int]:
    """Only one process at a time is in this block; one that was killed stands in nobody's way.

    Args:
        path: A file to hold on to; made if it is missing, and left there.
        wait: Until the other is done, which then must not take long.

    Yields:
        Its descriptor. Processes that inherit it keep the lock, should this one be killed.

    Raises:
        DataError: Another process is, and it is not waited for.
    """
    with Path(path).open("a") as f:
        hold(f, path, wait)
        yield f.fileno()


def hold(file: IO[Any], path: str | Path, wait: bool = False) -> None:
    """Keep an open file to this process until it is closed; a process that is gone keeps none.

    Some network disks know no locks: there a warning is all that can be given.

    Raises:
        DataError: Another process keeps it, and it is not waited for.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise DataError(
            f"{path} is being written by another process ({_holder(file)}): wait for it, or end it"
        ) from None
    except OSError as e:
        logger.warning(
            f"{path} cannot be locked ({e.strerror}): nothing keeps a second run from writing "
            "here at the same time; see that there is none"
        )


def _holder(file: IO[Any]) -> str:
    """Who holds a lock on an open file, as far as this machine's kernel tells."""
    status = os.fstat(file.fileno())
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with suppress(OSError):
        for line in Path("/proc/locks").read_text(encoding="utf-8").splitlines():
            # 1: FLOCK  ADVISORY  WRITE 4711 fd:01:1234 0 EOF
            fields = line.split()
            if len(fields) > 5 and fields[1] == "FLOCK" and fields[5] == device:
                return f"process {fields[4]} on this machine"
    return "on another machine, it seems"


def write_lines(path: str | Path, lines: Iterable[str]) -> None:
    """Write ``lines`` (without line ends) to ``path`` at once."""
    with atomic_open(path) as f:
        f.writelines(f"{line}\n" for line in lines)


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        DataError: It cannot be read.
    """
    try:
        with Path(path).open("rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest()
    except OSError as e:
        raise DataError(f"{path}: cannot be read ({e.strerror})") from e


# As sha256sum writes it, and checks with --check.
CHECKSUMS = "SHA256SUMS"


def write_checksums(directory: Path, names: Iterable[str]) -> None:
    """Leave the checksums of finished files beside them."""
    write_lines(directory / CHECKSUMS, (f"{file_hash(directory / n)}  {n}" for n in names))


def verify_checksums(directory: Path) -> None:
    """See that files are still what :func:`write_checksums` found.

    Raises:
        DataError: One is not, or there are no checksums: what writes the directory did not finish.
    """
    path = directory / CHECKSUMS
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path} is missing: what writes it did not finish; see its log") from None
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"{path}: cannot be read ({e})") from e
    for line in lines:
        digest, _, name = line.partition("  ")
        table = directory / name
        if Path(name).name != name or not table.exists() or file_hash(table) != digest:
            raise DataError(
                f"{table} is not what was written there, by {path}: a damaged disk, or "
                "a hand. The same command, given again, makes it anew"
            )


def is_finished(directory: Path) -> bool:
    """Whether there are checksums, and the files they are of are still what was written."""
    if not (directory / CHECKSUMS).exists():
        return False
    try:
        verify_checksums(directory)
    except DataError as e:
        logger.warning(f"{e}")
        return False
    return True


class _BoundedLoader(yaml.SafeLoader):
    """No objects of Python, and no anchors that write themselves out to more than fits memory."""

    def get_single_node(self) -> yaml.Node | None:
        """As PyYAML's, but bounded."""
        node = super().get_single_node()
        if node is not None and _written_out(node, {}) > YAML_NODES:
            raise yaml.YAMLError("its anchors write out to more than fits memory")
        return node


def _written_out(node: yaml.Node, known: dict[int, float]) -> float:
    """How many nodes are under ``node``, those behind anchors once for every use."""
    if id(node) not in known:
        known[id(node)] = float("inf")  # met again below itself, it has no end
        parts: list[Any] = node.value if isinstance(node, yaml.CollectionNode) else []
        nodes = [n for part in parts for n in (part if isinstance(part, tuple) else (part,))]
        known[id(node)] = 1 + sum(_written_out(n, known) for n in nodes)
    return known[id(node)]


def parse_yaml(text: str | bytes, name: str | Path) -> Any:
    """What a yaml text says: numbers, texts, lists and mappings, nothing else.

    Args:
        text: Yaml.
        name: Where it is from, for messages.

    Raises:
        ConfigError: It is not yaml, or more than that.
    """
    try:
        return yaml.load(text, _BoundedLoader)  # noqa: S506  # nosec B506
    except Exception as e:  # yaml.YAMLError, and what its constructors make of bad numbers
        raise ConfigError(f"{name}: not yaml: {e}") from e


def read_yaml(path: str | Path) -> Any:
    """What a yaml file says, see :func:`parse_yaml`.

    Raises:
        ConfigError: It cannot be read, or is not yaml.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read ({e.strerror})") from e
    except UnicodeDecodeError as e:
        raise ConfigError(f"{path}: not UTF-8 ({e})") from e
    return parse_yaml(text, path)


def parse_json(text: str) -> Any:
    """What a JSON text says.

    Raises:
        ValueError: It is not JSON, or more lists or objects lie in each other than Python follows.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("too many lists or objects lie in each other") from None


def text_hash(text: str) -> str:
    """SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def safe_name(name: str, made_of: object) -> str:
    """A file's name, without suffix, for every file system, one that ignores case included.

    Args:
        name: What it starts like.
        made_of: Whose ``repr`` tells apart what must have different names.
    """
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:100]
    return f"{safe}-{text_hash(repr(made_of))[:8]}"


def seed_of(text: str) -> int:
    """A number of 56 bits from a text: the same on every machine, whatever else is drawn."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


def claim_directory(directory: str | Path, settings: dict[str, Any], advice: str) -> None:
    """Write down, before a run starts, what the results of ``directory`` are made with.

    Args:
        directory: Where the results go; made if it is missing.
        settings: What determines the results: options, hashes, versions (JSON values).
        advice: What to do if the directory holds results of other settings.

    Raises:
        ManifestError: It holds results made with other settings; the message names them.
    """
    check_directory(directory, settings, advice)
    if not (Path(directory) / "manifest.json").exists():
        write_manifest(directory, settings)


def write_manifest(directory: str | Path, settings: dict[str, Any]) -> None:
    """Write down what the results of a directory are made with, in place of what stood there."""
    text = json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False)
    write_lines(Path(directory) / "manifest.json", [text])


def read_manifest(directory: str | Path) -> dict[str, Any]:
    """What :func:`claim_directory` wrote down.

    Raises:
        DataError: It is missing or no JSON.
    """
    path = Path(directory) / "manifest.json"
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise DataError(f"{path}: cannot be read ({e}); run the stage that makes it again") from e
    if not isinstance(found, dict):
        raise DataError(f"{path}: no settings stand in it; run the stage that makes it again")
    return found


def check_directory(directory: str | Path, settings: dict[str, Any], advice: str) -> None:
    """Refuse a directory that was claimed for other settings; writes nothing.

    Args:
        directory: As for :func:`claim_directory`.
        settings: As for :func:`claim_directory`.
        advice: As for :func:`claim_directory`.

    Raises:
        ManifestError: It holds results made with other settings; the message names them.
    """
    path = Path(directory) / "manifest.json"
    if not path.exists():
        return
    settings = json.loads(json.dumps(settings))
    found = read_manifest(directory)
    differences = [
        f"  {key}: {found.get(key)!r} there, {settings.get(key)!r} now"
        for key in sorted({*found, *settings})
        if found.get(key) != settings.get(key)
    ]
    if differences:
        raise ManifestError(
            f"{directory} holds results made with other settings:\n"
            + "\n".join(differences)
            + f"\n{advice}"
        )
