"""What a prompted model is told of a clip beside its audio: the language, and the task."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from espnet_egl.errors import ConfigError, UtteranceError

# Of Whisper's tokens, bars belong to it: <|en|>.
_SYMBOL = re.compile(r"<[^<>\s]+>")
_BEGINNING = re.compile(rf"(?:\s*{_SYMBOL.pattern})*")


@dataclass(frozen=True)
class Prompts:
    """The prompts of a pool's clips.

    Attributes:
        symbols: As ``--prompt`` has them, in their order; fewer than a model takes, or none, leave
            the rest to the options of ESPnet's decoding.
        languages: Utterance -> language, with its brackets or without; none: all clips have the
            same.
    """

    symbols: tuple[str, ...] = ()
    languages: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, prompt: str | None, languages: Mapping[str, str] | None = None) -> Prompts:
        """From ``--prompt``, e.g. ``<eng><asr>``, and the rows of ``--utt2lang``.

        Raises:
            ConfigError: There is more in the prompt than symbols.
        """
        symbols = cls.symbols_of(prompt or "")
        if "".join(symbols) != "".join((prompt or "").split()):
            raise ConfigError(f"--prompt {prompt}: write symbols of the model, as '<eng><asr>'")
        return cls(symbols, languages or {})

    @staticmethod
    def symbols_of(text: str) -> tuple[str, ...]:
        """The symbols that a text begins with."""
        beginning = _BEGINNING.match(text)
        return tuple(_SYMBOL.findall(beginning[0])) if beginning else ()

    def __bool__(self) -> bool:
        return bool(self.symbols or self.languages)

    def language(self, uid: str, known: Mapping[str, int]) -> str | None:
        """The symbol of a clip's language; None where all have the same.

        Args:
            uid: The clip.
            known: The model's symbols.

        Raises:
            UtteranceError: The clip is not in the map, or the model has no such language.
        """
        if not self.languages:
            return None
        if uid not in self.languages:
            raise UtteranceError("no_language", f"{uid} is not in --utt2lang")
        symbol = bracketed(self.languages[uid])
        if symbol not in known:
            raise UtteranceError(
                "unknown_language", f"--utt2lang has {symbol}, of which the model knows nothing"
            )
        return symbol

    def check(self, known: Mapping[str, int]) -> None:
        """Refuse what no clip could be scored with.

        Raises:
            ConfigError: The model has not these symbols, or none of the map's languages.
        """
        for symbol in self.symbols:
            check_symbol("--prompt", symbol, known)
        languages = {bracketed(language) for language in self.languages.values()}
        if languages and languages.isdisjoint(known):
            check_symbol("--utt2lang", min(languages), known)


def bracketed(symbol: str) -> str:
    """``eng`` or ``<eng>`` -> ``<eng>``."""
    return f"<{symbol.strip('<>')}>"


def check_symbol(option: str, symbol: str, known: Mapping[str, int]) -> None:
    """Refuse a symbol that is none of the model's.

    Raises:
        ConfigError: It names a few that are.
    """
    if symbol not in known:
        found = sorted(s for s in known if _SYMBOL.fullmatch(s) and s[1:2].isalpha())
        near = sorted(found, key=lambda s: -_begins_alike(s, symbol))[:12]
        raise ConfigError(
            f"{option}: the model has no symbol {symbol}; of those it has: {' '.join(near)}"
        )


def _begins_alike(a: str, b: str) -> int:
    pairs = list(zip(a, b, strict=False))
    return next((i for i, (x, y) in enumerate(pairs) if x != y), len(pairs))


# Symbols that are of a transcript.
_WORDS = ("<space>", "<unk>")


def words_of(text: str, known: Mapping[str, int]) -> str:
    """A text without the symbols of ``known``, wherever they stand: times are at its end, too."""

    def blank(found: re.Match[str]) -> str:
        return " " if found[0] in known and found[0] not in _WORDS else found[0]

    return " ".join(_SYMBOL.sub(blank, text).split())


def without_symbols(tokens: Sequence[str]) -> list[str]:
    """Tokens that are of the transcript: neither languages nor tasks nor times."""
    return [t for t in tokens if t in _WORDS or not (t[:1] == "<" and t[-1:] == ">" and len(t) > 2)]
