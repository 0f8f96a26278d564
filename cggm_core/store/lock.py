"""One writer a run: a lock that goes with its process, and the name of who holds it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from cggm_core.errors import StoreError, WriterConflictError
from cggm_core.store.files import try_lock
from cggm_core.store.identity import Identity, own_identity
from cggm_core.store.layout import LOCK


class WriterLock:
    """Exclusive right to write a run, held until `release` or the end of the process.

    Args:
        folder: the run folder.

    Raises:
        WriterConflictError: if another writer holds it; the message names its process and host.
        StoreError: if the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreError(f"run {folder.name} cannot be written: {error.strerror or error}") from error
        if not try_lock(self._handle):
            holder = Identity.from_json(os.pread(self._handle, 1000, 0).decode("utf-8", "replace"))
            self.close()
            who = f"process {holder.pid} on {holder.host}" if holder else "another process"
            raise WriterConflictError(f"run {folder.name} is being written by {who}; stop that one first")
        self._note(own_identity().to_json())

    def release(self) -> None:
        """Let the next writer in; the file stays, because removing it would let two in."""
        if self._handle >= 0:
            self._note("")
        self.close()

    def close(self) -> None:
        """Close the file only: in a forked child this leaves the parent's lock in place."""
        if self._handle >= 0:
            with contextlib.suppress(OSError):
                os.close(self._handle)
        self._handle = -1

    def _note(self, text: str) -> None:
        # Who holds it is for messages only; the lock itself is the kernel's, so a full disk does no harm.
        with contextlib.suppress(OSError):
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, text.encode(), 0)
