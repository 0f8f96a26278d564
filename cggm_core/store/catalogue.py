"""All runs of a root at the price of a few stats each: what has not changed comes from a cache.

The cache (`.catalogue.db` in the root) is never the truth: it is keyed by the files' times, sizes and inodes,
and one that is missing, damaged or of another version is silently rebuilt from the run folders. Runs that
claim to go on are looked at again each time, because a killed process leaves no trace in a file.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cggm_core.errors import RunNotFoundError, StoreError
from cggm_core.store import standing
from cggm_core.store.catalogue_cache import CatalogueCache, Key
from cggm_core.store.layout import CONFIG, DATABASE, MARKS, is_run_id, run_folder, stat_key
from cggm_core.store.protocols import RunInfo
from cggm_core.store.sqlite_reader import TICK_NS, SqliteRunReader, open_reader

SHORTEST_PREFIX = 6
RUN_ID_LENGTH = 26


@dataclass(frozen=True)
class Entry:
    """One run as last read.

    Attributes:
        key: stats of its files at that time.
        owner: JSON identity of its writer while it has not ended.
        info: as read, before the writer's life is checked again.
    """

    key: Key
    owner: str
    info: RunInfo


class Catalogue:
    """Every run of a folder, and of folders of sample runs that are only read. Safe between threads.

    Args:
        root: the folder of all runs; need not exist yet.
        sample_roots: folders of runs that came with the software.
    """

    def __init__(self, root: Path | str, sample_roots: Sequence[Path | str] = ()) -> None:
        self.root = Path(root)
        self.sample_roots = tuple(Path(folder) for folder in sample_roots)
        self._cache = CatalogueCache(self.root / ".catalogue.db")
        self._entries: dict[str, Entry] | None = None
        self._lock = threading.Lock()
        self._answer: tuple[RunInfo, ...] = ()
        self._answered = -math.inf
        self._unread = 0

    @property
    def unread(self) -> int:
        """Runs that the last answer left out because its patience had ended."""
        return self._unread

    def runs(self, *, max_age: float = 0.0, patience: float = math.inf) -> tuple[RunInfo, ...]:
        """Every run, newest first; a damaged one is listed with what is wrong and hurts no other.

        Args:
            max_age: seconds; an answer that is no older is given again, whoever asked for it. 0 always looks.
            patience: seconds spent on runs never read before, after which the others are left for the next call, the
                oldest first; how many they are says `unread`. Endless reads all. Looking at known runs does not
                count, or a slow machine would never come to the end.
        """
        with self._lock:
            if time.monotonic() - self._answered <= max_age and not self._unread:
                return self._answer
            self._look(patience)
            return self._answer

    def _look(self, patience: float) -> None:
        known = self._known()
        entries: dict[str, Entry] = {}
        shown: dict[str, RunInfo] = {}
        unread, spent = 0, 0.0
        for sample, path in self._folders():
            held = known.get(path)
            if held is None and spent > patience:
                unread += 1
                continue
            began = time.monotonic() if held is None else 0.0
            with contextlib.suppress(RunNotFoundError):  # removed between the listing and the look
                entries[path] = _current(path, sample, held)
                # A run of one's own wins over a sample of the same id.
                shown.setdefault(path[-RUN_ID_LENGTH:], _stands(path, entries[path]))
            spent += time.monotonic() - began if held is None else 0.0
        changed = {path: entry for path, entry in entries.items() if known.get(path) is not entry}
        gone = known.keys() - entries.keys()
        self._entries, self._unread = entries, unread
        if changed or gone:
            kept = {p: (e.key, e.owner, e.info) for p, e in changed.items() if not e.info.damaged}
            self._cache.store(kept, gone | (changed.keys() - kept.keys()))
        self._answer = tuple(sorted(shown.values(), key=lambda info: info.id, reverse=True))
        self._answered = time.monotonic()

    def find(self, text: str) -> RunInfo:
        """One run, by its id or by an unambiguous beginning of at least six characters.

        Raises:
            RunNotFoundError: if no run or more than one fits.
        """
        wanted = text.strip().upper()
        if is_run_id(wanted):
            folder, sample = self._place(wanted)
            return open_reader(folder, sample=sample).info()
        fitting = [info for info in self.runs() if len(wanted) >= SHORTEST_PREFIX and info.id.startswith(wanted)]
        if len(fitting) == 1:
            return fitting[0]
        if len(wanted) < SHORTEST_PREFIX:
            what = f"give at least {SHORTEST_PREFIX} characters of its id"
        elif fitting:
            what = f"{len(fitting)} runs begin so, as {fitting[0].id} and {fitting[1].id}; give more of it"
        else:
            what = f"no run in {self.root} begins so; list the runs to see their ids"
        raise RunNotFoundError(f"run {text[:80]!r} was not found: {what}")

    def folder(self, run_id: str) -> Path:
        """Folder of a run, by its whole id.

        Raises:
            RunNotFoundError: if there is none.
        """
        return self._place(run_id)[0]

    def reader(self, run_id: str) -> SqliteRunReader:
        """A reader of a run, by its whole id.

        Raises:
            RunNotFoundError: if there is none.
        """
        folder, sample = self._place(run_id)
        return open_reader(folder, sample=sample)

    def _known(self) -> dict[str, Entry]:
        if self._entries is not None:
            return self._entries
        return {path: Entry(*cached) for path, cached in self._cache.load().items()}

    def _place(self, run_id: str) -> tuple[Path, bool]:
        for sample, root in self._roots():
            folder = run_folder(root, run_id)
            if folder.is_dir() and not folder.is_symlink():
                return folder, sample
        raise RunNotFoundError(f"there is no run {run_id} in {self.root}; list the runs to see their ids")

    def _roots(self) -> list[tuple[bool, Path]]:
        return [(False, self.root), *((True, root) for root in self.sample_roots)]

    def _folders(self) -> list[tuple[bool, str]]:
        found = []
        for sample, root in self._roots():
            try:
                with os.scandir(root) as listed:
                    # A link could lead anywhere; the folders of runs are folders.
                    names = [e.name for e in listed if is_run_id(e.name) and e.is_dir(follow_symlinks=False)]
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StoreError(f"the runs folder {root} cannot be listed: {error.strerror or error}") from error
            found += [(sample, f"{root}/{name}") for name in sorted(names, reverse=True)]
        return found


def _current(path: str, sample: bool, known: Entry | None) -> Entry:
    key = _key(path)
    # A file written again inside one tick of its clock keeps its time: such a moment is not remembered.
    young = any(abs(time.time_ns() - file[0]) < TICK_NS for file in key)
    if known is not None and known.key == key and not known.info.damaged and known.info.sample == sample:
        return known
    reader = open_reader(path, sample=sample)
    info = reader.info()
    recorded, owner = reader.recorded()
    # While a writer lives, files change between the stats and the reading; the older stats make it read
    # again.
    return Entry(() if young else key, owner, replace(info, state=recorded) if owner else info)


def _stands(path: str, entry: Entry) -> RunInfo:
    """The entry as of now: a run that has not ended may have lost its writer since."""
    if entry.info.damaged:
        return entry.info
    if entry.owner:
        state, reason = standing.of_owner(Path(path), entry.info.state, entry.owner)
    elif entry.info.state in ("starting", "died"):
        state, reason = standing.of_unwritten(Path(path))
    else:
        return entry.info
    return replace(entry.info, state=state, reason=reason)


def _key(path: str) -> Key:
    # Plain texts: joining Path objects took longer than the stats themselves.
    return tuple(stat_key(f"{path}/{name}") for name in (DATABASE, f"{DATABASE}-wal", MARKS, CONFIG))
