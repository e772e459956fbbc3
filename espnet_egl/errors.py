"""Typed exceptions. Every message says what is wrong, where, and what to do."""


class EGLError(Exception):
    """Base of all errors a user can cause and mend; shown without a traceback."""


class ConfigError(EGLError):
    """An option or a configuration file is wrong."""


class DataError(EGLError):
    """A data file (Kaldi directory, score table, ...) is missing or malformed."""


class StorageError(EGLError):
    """A disk is full, read-only or gone; what was written before is kept."""


class ManifestError(EGLError):
    """A directory holds results made with other settings, another model or another pool."""


class CheckpointError(EGLError):
    """A checkpoint cannot be loaded into the model its configuration describes."""


class BudgetError(EGLError):
    """A budget cannot be parsed, or cannot be met by the pool."""


class UnsupportedModelError(EGLError):
    """The model is of a kind that gradient lengths or hypotheses cannot be computed for."""


class UtteranceError(EGLError):
    """One utterance cannot be scored; it is listed and the job goes on.

    Args:
        reason: A short lower-case word for tables, e.g. ``too_short``.
        detail: What happened, for a person to read.
    """

    def __init__(self, reason: str, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
