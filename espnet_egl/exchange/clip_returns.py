"""What came back in formats with one file a clip: a folder, or single files."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from espnet_egl.errors import DataError
from espnet_egl.exchange import AbsImporter, Answer, answer_in_words, visible
from espnet_egl.exchange.spelling import difference, key
from espnet_egl.store.tables import one_line, read_rows

TABLE = "clips.tsv"
TIER = "transcript"
DRAFT = "draft"
# Where the clip is, in a file that has more than it; and what was written beside it there.
CLIP, AROUND = "clip", "transcript around the clip"
# What this plugin writes beside the files of clips, in this format or in another.
WRITTEN = {
    *("clips.tsv", "skipped.tsv", "tasks.json", "config.xml", "project.yaml", "pulled.json"),
    *("transcribe.tsv", "transcribe.csv", "text", "draft", "wav.scp", "segments"),
    *("manifest.jsonl", "recordings.jsonl.gz", "supervisions.jsonl.gz"),
}
COLUMNS = ("utterance", "file")
AUDIO_SUFFIXES = {
    *(".aac", ".aif", ".aifc", ".aiff", ".al", ".amr", ".ark", ".au", ".caf", ".flac", ".g722"),
    *(".gsm", ".m4a", ".mp3", ".mp4", ".oga", ".ogg", ".opus", ".raw", ".rf64", ".sph", ".ul"),
    *(".voc", ".w64", ".wav", ".webm", ".wma"),
}
# What ELAN remembers of its windows.
SETTINGS = {".pfsx"}
SYSTEMS = {"thumbs.db", "desktop.ini"}
SYSTEMS_OWN = "a file of the computer's own, not of an annotator"


class Listed(NamedTuple):
    """A line of TABLE: the utterance, file and line, and the draft as it is there now."""

    uid: str
    where: str
    draft: str | None


def part_by_clip(
    tiers: Mapping[str, Sequence[tuple[float, float, str]]],
) -> dict[str, list[str]]:
    """The texts of tiers, those of TIER parted by whether their middle is in the clip.

    Args:
        tiers: Begin, end and text of a tier's entries, in order; CLIP has one where the file has
            more than the clip.
    """
    texts = {name: [text for _, _, text in entries] for name, entries in tiers.items()}
    for start, end, _ in list(tiers.get(CLIP, ()))[:1]:
        inside = [start <= (a + b) / 2 <= end for a, b, _ in tiers.get(TIER, ())]
        said = texts.get(TIER, [])
        texts[TIER] = [text for text, is_in in zip(said, inside, strict=True) if is_in]
        texts[AROUND] = [text for text, is_in in zip(said, inside, strict=True) if not is_in]
    return texts


class ClipImporter(AbsImporter):
    """Reads a folder with one file a clip, wherever below it they lie, or one such file.

    TABLE says whose they are; without it, their names do. The case of the suffix does not count. Of
    several files of a clip the one with text counts. One that is missing is still out. What has
    another name is not read, and noted. ``<not_speech>`` and ``<cannot_understand>`` as the whole
    text are marks.
    """

    file_name = TABLE
    suffix: ClassVar[str]

    def read(self, path: Path) -> list[Answer]:
        if path.suffix.casefold() == self.suffix.casefold() and path.is_file():
            return self._read_clips({}, [path])
        table = path / TABLE if path.is_dir() else path
        if path.is_dir() and not table.exists():
            tables = sorted(path.rglob(TABLE))
            table = tables[0] if len(tables) == 1 else table
        rows = read_rows(table, COLUMNS) if table.exists() or not path.is_dir() else []
        known = {}
        for number, row in enumerate(rows, 2):
            name = row["file"]
            if name != Path(name).name or not name:
                raise DataError(f"{table}:{number}: '{name}' is no name of a file")
            listed = Listed(row["utterance"], f"{table}:{number}", row.get("draft"))
            known[Path(name).stem.casefold()] = listed
        root = path if path.is_dir() else path.parent
        files = sorted((p for p in root.rglob("*") if p.is_file()), key=_deepest_first)
        answers = self._read_clips(known, files)
        if not known and not answers:
            raise DataError(
                f"{path} holds neither {TABLE} nor a file '{self.suffix}' of a clip of this round"
            )
        return answers

    def _read_clips(self, known: Mapping[str, Listed], files: Sequence[Path]) -> list[Answer]:
        """An answer of every clip that is known or has a file."""
        listed = {row.uid: row for row in known.values()}
        clips: dict[str, list[Path]] = {uid: [] for uid in listed}
        for path in files:
            uid = self._clip_of(known, path)
            if uid is not None:
                clips.setdefault(uid, []).append(path)
        return [self._read_clip(uid, found, listed.get(uid)) for uid, found in clips.items()]

    def _clip_of(self, known: Mapping[str, Listed], path: Path) -> str | None:
        """The utterance that a file is the answer to; what is none is noted."""
        stem = path.stem.casefold()
        named = known[stem].uid if stem in known else None
        if is_systems_own(path) or path.suffix.casefold() in SETTINGS:
            self.leave(path, SYSTEMS_OWN)
            return None
        if path.suffix.casefold() == self.suffix.casefold():
            if named or (named := self.clips.of_file(path.name)):
                return named
            like = [row.uid for name, row in known.items() if name in stem]
            uid = like[0] if len(like) == 1 else self.clips.like(stem)
            if path.name not in WRITTEN:
                renamed = "renamed: give it its clip's name again, as in clips.tsv"
                self.leave(path, renamed if uid else "its name is that of no clip", uid)
        elif path.name not in WRITTEN and path.suffix.casefold() not in AUDIO_SUFFIXES:
            self.leave(path, f"not a file '{self.suffix}'", named or self.clips.of_file(path.name))
        return None

    def _read_clip(self, uid: str, paths: Sequence[Path], listed: Listed | None) -> Answer:
        """What a clip's files say, of which one is to have text."""
        found: list[tuple[str, str | None, Path]] = []
        for path in paths:
            try:
                found.append((*self._read_file(uid, path), path))
            except DataError as e:  # the other clips' files are answers all the same
                self.leave(path, str(e).removeprefix(f"{path}: "), uid)
        filled_in = [(text, draft, path) for text, draft, path in found if text]
        if len({key(text) for text, _, _ in filled_in}) > 1:
            other = next(f for f in filled_in if key(f[0]) != key(filled_in[0][0]))
            raise DataError(
                f"{' and '.join(str(path) for *_, path in filled_in)} hold different transcripts "
                f"of '{uid}': keep one of them{difference(filled_in[0][0], other[0])}"
            )
        if listed is not None:
            found.append(("", listed.draft, Path(listed.where)))
        # A draft that somebody changed is worth more than one that was not.
        handed_over = key(one_line(self.clips.drafts.get(uid, "")))
        changed = [f for f in found if f[1] and key(one_line(f[1])) != handed_over]
        text, draft, path = (filled_in or changed or found or [("", None, paths[0])])[0]
        return answer_in_words(uid, text, str(path), draft)

    def _read_file(self, uid: str, path: Path) -> tuple[str, str | None]:
        """The transcript, and the draft as it is now."""
        tiers = self.read_tiers(path)
        for name, texts in tiers.items():
            if name not in (TIER, DRAFT, CLIP) and any(text.strip() for text in texts):
                self.leave(path, f"the tier '{name}' is not read, only '{TIER}'", uid)
        text = visible(" ".join(tiers[TIER]))
        return text, one_line(" ".join(tiers[DRAFT])) if DRAFT in tiers else None

    @abstractmethod
    def read_tiers(self, path: Path) -> dict[str, list[str]]:
        """The texts of a clip's file in the order of time, by tier; TIER is one of them.

        Raises:
            DataError: The file is malformed; the message names it.
        """


def is_systems_own(path: Path) -> bool:
    """Whether no person made a file, but the system it was on."""
    return path.name.startswith(".") or path.name.casefold() in SYSTEMS


def _deepest_first(path: Path) -> tuple[int, str]:
    return -len(path.parts), str(path)
