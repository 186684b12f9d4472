"""Errors that a user can mend. The command line turns each into one line and exit code 2."""

import errno

# What an operating system answers where something cannot be written for want of room.
NO_ROOM = {
    errno.ENOSPC: "no space left on the disk",
    errno.EDQUOT: "no space left in the disk quota",
    errno.EFBIG: "no space left in a file of the largest size allowed (`ulimit -f`, or the file system)",
}


class CalrecError(Exception):
    """Base of every error that is the user's to mend; its message names the place, the value and the mend."""


class DataError(CalrecError):
    """A file, a line, a column or a history that cannot be used."""


class ConfigError(CalrecError):
    """A recipe, an option or a setting that is wrong."""


class ModelError(CalrecError):
    """A backbone or a run that cannot be found, loaded or trusted."""


class StorageError(CalrecError):
    """A disk that has no room for what must be written."""
