"""A run as an event file of TensorBoard: scalars with every bit, events as text, settings as hyperparameters.

TensorBoard's server shows scalars of 32 bits only. So values recorded together (same step, epoch and time) are one
event: each as such a scalar, their epoch as one more, and all of them once again as a tensor of float64, which it
leaves alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

import numpy as np

from cggm_core.names import METRICS, MetricKey
from cggm_core.store.bundle import scrubbed
from cggm_core.store.export import origin, storable
from cggm_core.store.protocols import RunReader, Series
from cggm_core.store.tensorboard_messages import DT_DOUBLE, DT_STRING, SCALAR, TEXT, Event, Hyperparameters
from cggm_core.store.tensorboard_records import framed
from cggm_core.store.tensorboard_tags import EPOCH, EVENTS, EXACT, RUN, tags

FORMAT, FORMAT_VERSION = "cggm-lab run", 1
_VALUES = 1 << 18  # in memory at a time, of series recorded together
_STATUS = {"finished": 1, "failed": 2, "died": 2, "stopped": 1}  # of the hyperparameter plugin; 3 is running


def write_events(reader: RunReader, file: IO[bytes]) -> int:
    """Write a run as the records of one event file.

    Beside each series `metric/modality` there is the epoch of its values; every event of the run is a text under
    `events/<kind>`; the text `cggm-lab/run` holds the configuration without folders, the versions, and which tag is
    which series, so that the lab reads the same run back. Texts are indented, which Markdown shows letter by letter.

    Args:
        reader: the run.
        file: open for bytes.

    Returns:
        Values written.

    Raises:
        DamagedRunError: if a checksum does not fit.
    """
    named = tags(reader.keys())
    lives = reader.attempts()
    began = lives[0].started_at if lives else reader.info().created_at
    file.write(framed(Event(wall_time=began, file_version=b"brain.Event:2").SerializeToString()))
    for event in _about(reader, named, began):
        file.write(framed(event.SerializeToString()))
    written = 0
    for group in _together(reader):
        for data in _scalars(reader, group, named, began):
            file.write(framed(data))
            written += len(group)
    for happened in reader.events():
        text = f"{scrubbed(happened.text)}\n{json.dumps(scrubbed(dict(happened.data)))}"
        file.write(framed(_text(EVENTS + happened.kind, text, happened.step, began + happened.seconds)))
    return written


def file_name(reader: RunReader) -> str:
    """Name of the run's event file; TensorBoard knows such files by its beginning."""
    return f"events.out.tfevents.{int(reader.info().created_at)}.{reader.run_id}"


def _about(reader: RunReader, named: Mapping[MetricKey, str], began: float) -> Iterator[Any]:
    made = origin(reader)
    info = reader.info()
    said = {
        "format": FORMAT, "version": FORMAT_VERSION, **made, "reason": scrubbed(info.reason), "started_at": began,
        "steps": info.steps, "epochs": info.epochs, "tags": list(info.tags), "notes": info.notes,
        "series": {tag: list(key) for key, tag in named.items()},
    }  # fmt: skip
    yield Event.FromString(_text(RUN, json.dumps(said, indent=1), 0, began))
    status = Hyperparameters(version=0)
    status.start.seconds = began
    for name, value in _flat(made["config"]):
        setting = status.start.setting.add(key=storable(name).encode())
        if isinstance(value, bool):
            setting.value.truth = value
        elif isinstance(value, int | float):
            setting.value.number = value
        else:
            setting.value.text = storable(str(value)).encode()
    yield _hyperparameters("session_start_info", status, began)
    end = Hyperparameters(version=0)
    end.end.status = _STATUS.get(info.state, 3)
    yield _hyperparameters("session_end_info", end, began)


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by dotted name; lists and what is empty are left to the configuration itself."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, str | int | float) and value != "" and name != "notes":
            yield prefix + name, value


def _hyperparameters(word: str, content: Any, began: float) -> Any:
    event = Event(wall_time=began, step=0)
    value = event.summary.value.add(tag=f"_hparams_/{word}".encode())
    value.metadata.plugin.name, value.metadata.plugin.content = b"hparams", content.SerializeToString()
    value.metadata.data_class = TEXT
    value.tensor.dtype = 1
    value.tensor.float_val.append(0.0)
    return event


def _text(tag: str, text: str, step: int, wall: float) -> bytes:
    event = Event(wall_time=wall, step=step)
    value = event.summary.value.add(tag=storable(tag).encode())
    value.metadata.plugin.name, value.metadata.data_class = b"text", TEXT
    value.tensor.dtype = DT_STRING
    value.tensor.shape.dim.add(size=1)
    indented = "\n".join(f"    {line}" for line in storable(text).split("\n"))
    value.tensor.string_val.append(indented.encode())
    data: bytes = event.SerializeToString()
    return data


def _together(reader: RunReader) -> list[list[MetricKey]]:
    """Series whose rows have the same steps, epochs and times; one series is in memory at a time."""
    groups: dict[bytes, list[MetricKey]] = {}
    for key in reader.keys():  # noqa: SIM118 - a reader's method
        rows = reader.series([key])[key]
        if len(rows.step):
            mark = hashlib.sha256()
            for axis in (rows.step, rows.epoch, rows.seconds):
                mark.update(np.ascontiguousarray(axis).data)
            groups.setdefault(mark.digest(), []).append(key)
    return list(groups.values())


def _scalars(
    reader: RunReader, group: Sequence[MetricKey], named: Mapping[MetricKey, str], began: float
) -> Iterator[bytes]:
    """One event a row of the group, its values in the group's order and then the epoch."""
    event = Event()
    for tag, metric in [*((named[key], key.metric) for key in group), (EPOCH, "")]:
        value = event.summary.value.add(tag=tag.encode())
        value.metadata.plugin.name, value.metadata.data_class = b"scalars", SCALAR
        value.metadata.description = METRICS[metric].description.encode() if metric in METRICS else b""
    shown = list(event.summary.value)
    exact = event.summary.value.add(tag=EXACT.encode())
    exact.metadata.plugin.name, exact.metadata.data_class = b"cggm-lab", TEXT
    exact.tensor.dtype = DT_DOUBLE
    exact.tensor.shape.dim.add(size=len(shown))
    first = True
    for part in _parts(reader, group):
        head = part[group[0]]
        rows = np.column_stack([*(part[key].value for key in group), head.epoch]).astype("<f8")
        axes = zip(head.step.tolist(), (head.seconds + began).tolist(), rows.tolist(), strict=True)
        for number, (step, wall, values) in enumerate(axes):
            event.step, event.wall_time, exact.tensor.content = step, wall, rows[number].tobytes()
            for place, value in zip(shown, values, strict=True):
                place.simple_value = value
            yield event.SerializeToString()
            if first:  # TensorBoard remembers what the first event of a tag says about it
                first = False
                for one in event.summary.value:
                    one.ClearField("metadata")


def _parts(reader: RunReader, group: Sequence[MetricKey]) -> Iterator[Mapping[MetricKey, Series]]:
    steps = reader.series([group[0]])[group[0]].step
    rows = max(1, _VALUES // len(group))
    for start in range(0, len(steps), rows):
        window = steps[start : start + rows]
        yield reader.series(group, first=int(np.min(window)), last=int(np.max(window)))
