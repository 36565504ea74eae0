"""What went wrong, said once and in the user's words."""


class UserError(ValueError):
    """Something the user can mend: the message says what came, what was expected and how to fix it.

    Binaries print it in one line and exit with code 2.
    """


class DataError(UserError):
    """A data set that is missing, unreadable, or not what its name promises."""


class ConfigError(UserError):
    """A configuration field that does not exist or holds an impossible value."""


class CheckpointError(UserError):
    """A checkpoint that is truncated, corrupt, or belongs to another architecture."""


class ExportError(UserError):
    """An export target that exists already, or an artefact that disagrees with its model."""
