"""A run as Parquet: the columns of the CSV with types, small, and with what made the run in the file's metadata."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import IO, Any

import numpy as np

from cggm_core.names import MetricKey
from cggm_core.store.export import COLUMNS, histories, origin, storable
from cggm_core.store.protocols import RunReader

METADATA = "cggm-lab"
_ROWS = 1 << 17  # of a row group: a reader takes in one at a time, and so do we


def write_parquet(reader: RunReader, file: IO[bytes], *, keys: Sequence[MetricKey] | None = None) -> int:
    """Write the histories of a run, one series after the other, each ascending in step, as `write_csv` does.

    `step` and `epoch` are int64, `metric` and `modality` dictionaries of text, `value` float64 with every bit of it,
    those of NaN included (CSV knows one NaN only). Names stand as they are: no spreadsheet runs them. The key
    `cggm-lab` of the file's metadata holds `origin(reader)` as JSON. Memory goes by one series, not by the run.

    Args:
        reader: the run.
        file: open for bytes.
        keys: series to write, None for all.

    Returns:
        Rows written.

    Raises:
        DamagedRunError: if a checksum does not fit; what is written by then is no Parquet file yet.
    """
    import pyarrow as pa  # a quarter of a second, for whoever exports this
    from pyarrow import parquet

    wanted = [MetricKey(*key) for key in (reader.keys() if keys is None else keys)]
    words = [sorted({storable(key[part]) for key in wanted}) for part in (0, 1)]
    lists = [pa.array(known, pa.string()) for known in words]
    places = [{word: place for place, word in enumerate(known)} for known in words]
    text = pa.dictionary(pa.int32(), pa.string())
    fields = zip(COLUMNS, (pa.int64(), pa.int64(), text, text, pa.float64()), strict=True)
    said = json.dumps({**origin(reader), "pyarrow": pa.__version__})
    schema = pa.schema(list(fields), metadata={METADATA: said})

    def batch(key: MetricKey, step: Any, epoch: Any, value: Any) -> Any:
        """Rows of one series; the two names are written once a file and pointed at once a row."""
        names = [
            pa.DictionaryArray.from_arrays(np.full(len(step), place[storable(word)], np.int32), held)
            for word, place, held in zip(key, places, lists, strict=True)
        ]
        return pa.record_batch([pa.array(step), pa.array(epoch), *names, pa.array(value)], schema=schema)

    written, waiting, rows = 0, [], 0
    with parquet.ParquetWriter(
        file, schema, compression="zstd", use_dictionary=["metric", "modality"], store_schema=True
    ) as out:
        for key, part in histories(reader, wanted, rows=_ROWS):
            waiting.append(batch(key, part.step, part.epoch, part.value))
            rows += len(part.step)
            if rows >= _ROWS:
                out.write_table(pa.Table.from_batches(waiting, schema), row_group_size=2 * _ROWS)
                written, waiting, rows = written + rows, [], 0
        out.write_table(pa.Table.from_batches(waiting, schema))
    return written + rows
