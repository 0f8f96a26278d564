"""`export`: a run's numbers as CSV or Parquet, runs for TensorBoard, whole runs as one archive."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from cggm_core._commands.finding import catalogue
from cggm_core.errors import ConfigError
from cggm_core.store import Catalogue, SqliteRunReader, pack, write_csv, write_parquet
from cggm_core.store.export import folder_name
from cggm_core.store.tensorboard_export import file_name, write_events


def add(listed: Any, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = listed.add_parser("export", parents=[common], help="runs as a file", allow_abbrev=False)
    parser.add_argument("ids", metavar="RUN", nargs="+", help="its id, or an unambiguous beginning of it")
    parser.add_argument(
        "--to",
        choices=("csv", "parquet", "tensorboard", "archive", "report"),
        default="csv",
        help="csv, parquet: one run's step, epoch, metric, modality, value; tensorboard: a folder of event files, one "
        "a run; archive: runs whole, for import; report: figures and tables",
    )
    parser.add_argument(
        "--out", required=True, metavar="FILE", help="file (for tensorboard the folder) to write; - is standard output"
    )
    parser.add_argument("--force", action="store_true", help="replace the file if it is there")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Write the file, whole or not at all."""
    runs = catalogue(given)
    found = [runs.find(run_id).id for run_id in given.ids]
    if given.to == "archive":
        return _pack(runs, found, given)
    if given.to == "report":
        return _report(runs, found, given)
    if given.to == "tensorboard":
        return _tensorboard(runs, found, given)
    if len(found) > 1:
        raise ConfigError(f"{given.to} holds one run, found {len(found)}; name one, or take --to archive")
    if given.to == "parquet" and given.out == "-":
        raise ConfigError("a Parquet file is written to a file; name one with --out")
    reader = runs.reader(found[0])
    try:
        if given.out == "-":
            write_csv(reader, sys.stdout)
            return 0
        path = Path(given.out)
        count = _write(reader, path, given)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise ConfigError(f"{given.out} cannot be written: {error.strerror or error}") from error
    finally:
        reader.close()
    print(f"{count} values in {path}")
    return 0


def _pack(runs: Catalogue, found: Sequence[str], given: argparse.Namespace) -> int:
    if given.out == "-":
        raise ConfigError("an archive is written to a file; name one with --out")
    path = Path(given.out)
    _check_place(path, given.force)
    size = pack([runs.folder(run_id) for run_id in found], path)
    print(f"{len(set(found))} {'run' if len(set(found)) == 1 else 'runs'}, {size} bytes in {path}")
    return 0


def _report(runs: Catalogue, found: Sequence[str], given: argparse.Namespace) -> int:
    if given.out == "-":
        raise ConfigError("a report is written to a file; name one with --out")
    path = Path(given.out)
    _check_place(path, given.force)
    # matplotlib: half a second that other exports do not pay
    from cggm_core.embedding.obtained import obtained
    from cggm_core.figures.report import write_report

    with contextlib.ExitStack() as held:
        read = [
            (runs.find(one), held.enter_context(contextlib.closing(runs.reader(one)))) for one in dict.fromkeys(found)
        ]
        try:
            with _whole(path) as file:
                count = write_report(
                    read, file, mapped=lambda found, tell: obtained(runs.root, found.vectors, "tsne", tell=tell)
                )
        except OSError as error:
            raise ConfigError(f"{given.out} cannot be written: {error.strerror or error}") from error
    print(f"{count} figures of {len(read)} {'run' if len(read) == 1 else 'runs'} in {path}")
    return 0


def _tensorboard(runs: Catalogue, found: Sequence[str], given: argparse.Namespace) -> int:
    """A folder for each run, as TensorBoard wants it; those that were written before an error stay."""
    if given.out == "-":
        raise ConfigError("event files are written to a folder; name one with --out")
    top, count = Path(given.out), 0
    try:
        for run_id in dict.fromkeys(found):
            with contextlib.closing(runs.reader(run_id)) as reader:
                folder = top / folder_name(reader.info())
                path = folder / file_name(reader)
                if path.exists() and not given.force:
                    raise ConfigError(f"{path} is there already; take another folder, or --force to replace it")
                folder.mkdir(parents=True, exist_ok=True)
                with _whole(path) as file:
                    count += write_events(reader, file)
    except OSError as error:
        raise ConfigError(f"{top} cannot be written: {error.strerror or error}") from error
    print(f"{count} values of {len(set(found))} {'run' if len(set(found)) == 1 else 'runs'} in {top}")
    return 0


def _check_place(path: Path, force: bool) -> None:
    try:
        folder = path.is_dir()
    except OSError as error:
        raise ConfigError(f"{path} is no name for a file: {error.strerror or error}") from error
    if folder:
        raise ConfigError(f"{path} is a folder; name a file in it")
    if path.exists() and not force:
        raise ConfigError(f"{path} is there already; take another name, or --force to replace it")
    if not path.parent.is_dir():
        raise ConfigError(f"the folder {path.parent} does not exist; make it first")


def _write(reader: SqliteRunReader, path: Path, given: argparse.Namespace) -> int:
    _check_place(path, given.force)
    with _whole(path) as file:
        if given.to == "parquet":
            return write_parquet(reader, file)
        with io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
            return write_csv(reader, text)


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its place only when all of it was written."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with open(handle, "wb") as file:
            yield file
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _umask() -> int:
    # The only way to read it is to set it.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
