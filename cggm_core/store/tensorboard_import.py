"""Event files of TensorBoard as finished runs.

Refused whole, with nothing left behind: a record that ends early or does not fit its checksum, a step that is negative
or beyond 2^53, a time that is none, a tag that is no text, more tags or values than fit. Nothing in a file is ever run
or taken for a path, and memory goes by what waits to be written, not by the file.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from google.protobuf.message import DecodeError

from cggm_core.config import NAME_LENGTH, clean_text
from cggm_core.errors import StoreError
from cggm_core.store.buffer import Batch, Block, Said
from cggm_core.store.files import atomic_write
from cggm_core.store.layout import CONFIG, create_run
from cggm_core.store.protocols import State
from cggm_core.store.run_file import RunFile
from cggm_core.store.tensorboard_reading import BEYOND, Found, at, take
from cggm_core.store.tensorboard_records import records

MOST_CONFIG = 8_000_000
_AT_ONCE = 250_000  # values in memory before they are written
_LISTED, _SHOWN = 500, 300  # original tags kept in the configuration, and letters of each
_ENDS: dict[object, State] = {"finished": "finished", "stopped": "stopped", "failed": "failed"}


@dataclass(frozen=True)
class EventFile:
    """One event file, wherever it lies.

    Attributes:
        name: for people and messages; never a path that is opened.
        folder: files of one folder are one run; "" is a run without a name of its own.
        open: opens it for bytes.
    """

    name: str
    folder: str
    open: Callable[[], contextlib.AbstractContextManager[BinaryIO]]


def make_run(files: Sequence[EventFile], place: Path) -> Path | None:
    """Write the run that some event files of one folder hold, in their order.

    Args:
        files: at least one.
        place: existing folder in which the run's folder is made; whoever calls throws it away after an error.

    Returns:
        The run's folder, sealed; None where the files hold no scalar.

    Raises:
        StoreError: for anything that is wrong with a file; the message names file and record.
    """
    found = Found()
    file: RunFile | None = None
    folder = None
    try:
        for one in files:
            with one.open() as opened:
                for number, data in enumerate(records(opened, one.name)):
                    try:
                        take(found, data)
                    except (StoreError, DecodeError) as error:
                        raise at(one.name, number, error) from error
                    if found.waiting >= _AT_ONCE:
                        folder, file = _written(found, folder, file, place)
        if not found.values:
            return None
        folder, file = _written(found, folder, file, place)
        _end(found, file, files)
    finally:
        if file is not None:
            file.let_go()
    text = _config(found, files)
    if len(text) > MOST_CONFIG:
        raise StoreError(
            f"{files[0].name}: the configuration would have {len(text)} bytes, at most {MOST_CONFIG} are kept"
        )
    atomic_write(folder / CONFIG, text)
    return folder


def _written(found: Found, folder: Path | None, file: RunFile | None, place: Path) -> tuple[Path, RunFile]:
    """Commit what waits; the run is made with the first of it."""
    if folder is None or file is None:
        folder = place / create_run(place, "{}")
        # The clock of the run is the file's: it begins with the first record, and each commit is as old as the newest.
        begun: list[RunFile] = []
        file = RunFile(folder, None, lambda: found.wall if begun else found.first_wall)
        begun.append(file)
    blocks = [_block(stream, rows) for stream, rows in found.rows.items()]
    file.commit(Batch(found.new, blocks, found.events, seconds=max(0.0, found.wall - found.first_wall)))
    found.new, found.rows, found.events, found.waiting = [], {}, [], 0
    return folder, file


def _block(stream: int, rows: Iterable[tuple[int, int, float, list[float]]]) -> Block:
    steps, epochs, seconds, values = zip(*rows, strict=True)
    whole = (np.array(steps, np.int64), np.array(epochs, np.int64))
    return Block(stream, *whole, np.array(seconds, np.float64), np.array(values, np.float64))


def _end(found: Found, file: RunFile, files: Sequence[EventFile]) -> None:
    said = found.said
    state: State = _ENDS.get(str(said.get("state")), "stopped") if said else "finished"
    text = f"taken in from {_counted(len(files), 'event file')} of TensorBoard"
    if found.left_out:
        text += f"; {_counted(found.left_out, 'record')} of images, graphs, histograms or texts left out"
    at = max(0.0, found.wall - found.first_wall)
    told = Said(found.step, at, json.dumps({"kind": "import", "text": text, "data": {}}))
    steps, epochs = (said.get(word) for word in ("steps", "epochs"))
    planned = (
        steps if type(steps) is int and 0 < steps < BEYOND else found.step + 1,
        epochs if type(epochs) is int and 0 < epochs < BEYOND else found.epoch + 1,
    )
    reason = clean_text(str(said.get("reason", "")), 2000)
    file.commit(Batch(events=[told], state=state, reason=reason, planned=planned, seconds=at))
    file.seal()


def _config(found: Found, files: Sequence[EventFile]) -> str:
    """Configuration of the run: whose it is, and which tags stand under another name."""
    made = found.said.get("config", {})
    changed = found.names.changed()
    imported = {
        "from": "TensorBoard event files", "files": [clean_text(one.name, 200) for one in files[:100]],
        "renamed": {key: _visible(tag, _SHOWN) for key, tag in changed[:_LISTED]}, "configuration": made,
    }  # fmt: skip
    notes = clean_text(str(found.said.get("notes", "")), 10_000, lines=True)
    if changed:
        listed = "\n".join(f"{key} was {_visible(tag, 100)}" for key, tag in changed[:20])
        more = f"\nand {len(changed) - 20} more" if len(changed) > 20 else ""
        notes += f"\nTags that no name can be made of stand under another:\n{listed}{more}"
    words = {word: made[word] for word in ("dataset", "method", "preset", "model") if isinstance(made.get(word), str)}
    name = clean_text(str(found.said.get("name") or files[0].folder or "TensorBoard"), NAME_LENGTH)
    tags = found.said.get("tags")
    return json.dumps(
        {"name": name, "tags": tags if isinstance(tags, list) else [], "notes": notes.strip(), **words,
         "imported": imported}
    )  # fmt: skip


def _visible(tag: str, limit: int) -> str:
    """A tag as it was, with what does not show written out."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in tag[: limit + 1])
    return shown if len(shown) <= limit else f"{shown[:limit]}…"


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
