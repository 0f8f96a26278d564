"""The run store: one writer, many readers, a run in one folder. This is all other packages need of it."""

from cggm_core.store.arrivals import take_in
from cggm_core.store.bundle import pack, staging
from cggm_core.store.catalogue import Catalogue
from cggm_core.store.control import ControlInbox, Request, send
from cggm_core.store.downsample import downsampled, kept_indices
from cggm_core.store.export import write_csv
from cggm_core.store.identity import Identity, identity_of, is_alive, own_identity
from cggm_core.store.layout import (
    CHECKPOINT,
    CONFIG,
    CONTROL,
    DATABASE,
    LOG,
    check_run_id,
    create_run,
    is_run_id,
    note_launch,
    run_folder,
)
from cggm_core.store.looks import Contribution, RobustnessCurve
from cggm_core.store.marks import Marks, read_marks, update_marks
from cggm_core.store.memory import MemoryRun, MemoryRunWriter
from cggm_core.store.memory_reader import MemoryRunReader
from cggm_core.store.parquet import write_parquet
from cggm_core.store.protocols import (
    ENDED,
    Attempt,
    Event,
    News,
    RunInfo,
    RunReader,
    RunWriter,
    Series,
    Snapshot,
    State,
    Summary,
)
from cggm_core.store.sqlite_reader import SqliteRunReader, open_reader
from cggm_core.store.sqlite_writer import SqliteRunWriter, open_writer
from cggm_core.store.tensorboard_export import write_events
from cggm_core.store.trashcan import delete, restore, trash, trashed
from cggm_core.store.unbundle import unpack

__all__ = [
    "CHECKPOINT",
    "CONFIG",
    "CONTROL",
    "DATABASE",
    "ENDED",
    "LOG",
    "Attempt",
    "Catalogue",
    "Contribution",
    "ControlInbox",
    "Event",
    "Identity",
    "Marks",
    "MemoryRun",
    "MemoryRunReader",
    "MemoryRunWriter",
    "News",
    "Request",
    "RobustnessCurve",
    "RunInfo",
    "RunReader",
    "RunWriter",
    "Series",
    "Snapshot",
    "SqliteRunReader",
    "SqliteRunWriter",
    "State",
    "Summary",
    "check_run_id",
    "create_run",
    "delete",
    "downsampled",
    "identity_of",
    "is_alive",
    "is_run_id",
    "kept_indices",
    "note_launch",
    "open_reader",
    "open_writer",
    "own_identity",
    "pack",
    "read_marks",
    "restore",
    "run_folder",
    "send",
    "staging",
    "take_in",
    "trash",
    "trashed",
    "unpack",
    "update_marks",
    "write_csv",
    "write_events",
    "write_parquet",
]
