"""The errors a user can mend: each message is one line that names the thing and the remedy."""

from __future__ import annotations


class VtmError(Exception):
    """Base of all errors that the command line prints as one line, without a traceback.

    Examples
    --------
    >>> from vtm import VtmError, from_parameters
    >>> try:
    ...     from_parameters({"n_topic": 20})
    ... except VtmError as error:
    ...     print(f"{type(error).__name__}: {error}")
    ConfigError: unknown parameter 'n_topic': did you mean 'n_topics'?
    """


class ConfigError(VtmError, ValueError):
    """A parameter has a value that cannot be used."""


class DataError(VtmError, ValueError):
    """A file of the user's or of a corpus does not hold what it should."""


class StorageError(VtmError, OSError):
    """A place cannot be written: it is full, read-only, or not the user's; the message names it."""

    # As MissingError: a plain sentence, no errno.
    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class MissingError(VtmError, FileNotFoundError):
    """Something that must be there is not; the message says how to get it."""

    # FileNotFoundError formats itself from errno; ours is a plain sentence.
    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""
