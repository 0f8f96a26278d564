"""What becomes of open writers at the two moments nobody calls them: a fork, and the interpreter's exit."""

from __future__ import annotations

import atexit
import contextlib
import os
import weakref
from typing import Protocol


class Ending(Protocol):
    """A writer that can be told of both moments."""

    def leave(self) -> None:
        """The interpreter exits: commit, and say nothing untrue."""

    def disown(self) -> None:
        """This is a forked child: never write."""


_OPEN: weakref.WeakSet[Ending] = weakref.WeakSet()


def watch(writer: Ending) -> None:
    """Tell this writer of a fork and of the exit."""
    _OPEN.add(writer)


def forget(writer: Ending) -> None:
    """It has ended by itself."""
    _OPEN.discard(writer)


def _leave_all() -> None:
    for writer in list(_OPEN):
        with contextlib.suppress(Exception):
            writer.leave()


def _disown_all() -> None:
    for writer in list(_OPEN):
        writer.disown()
    _OPEN.clear()


atexit.register(_leave_all)
# A data loader's workers inherit the writer; its thread is not forked, but its file handles are.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_all)
