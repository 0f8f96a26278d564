"""Errors of the lab: one root, and messages that name the value found and the next action.

Why one root: a page or a command catches `CggmError`, shows its text and no traceback; anything else is a
fault of ours and is shown as one.
"""


class CggmError(Exception):
    """Root of every error a user can cause or mend."""


class ConfigError(CggmError):
    """A setting is unknown, of the wrong type or outside its range."""


class UnknownNameError(ConfigError):
    """No card carries the name asked for; the message lists those that do."""

    def __init__(self, kind: str, name: str, known: tuple[str, ...]) -> None:
        self.kind, self.name, self.known = kind, name, known
        super().__init__(f"no {kind} named {name[:80]!r}; there are: {', '.join(known) or 'none'}")


class CardError(CggmError):
    """A plug-in file has no readable card, or its card contradicts its code."""


class DataError(CggmError):
    """A data file or array does not have the form the format asks for."""


class CapabilityError(CggmError):
    """A method needs what the model, the task or the data set does not offer."""


class PhaseError(CggmError):
    """A step's field was read before the phase that fills it."""


class StoreError(CggmError):
    """A run folder cannot be read or written as asked."""


class SchemaTooNewError(StoreError):
    """The file was written by a later version of this software."""


class DamagedRunError(StoreError):
    """The file is there, but what it holds cannot be trusted."""


class WriterConflictError(StoreError):
    """Another living process writes this run."""


class RunNotFoundError(StoreError):
    """No run folder has the id asked for."""


class ControlError(CggmError):
    """A request to a running worker is malformed or cannot be met."""


class LaunchError(CggmError):
    """A worker could not be started or signalled."""
