"""What the records of an event file say, one by one; believed only as far as it was checked.

Read: scalars in either form (`simple_value`, and tensors of the scalar plugin), and the texts that our own export
writes. Stepped over and counted: images, histograms, graphs, other texts.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError

from cggm_core.errors import StoreError
from cggm_core.names import MetricKey
from cggm_core.store.buffer import Said
from cggm_core.store.tables import Stream
from cggm_core.store.tensorboard_export import FORMAT, FORMAT_VERSION
from cggm_core.store.tensorboard_messages import DT_STRING, PACKED, Event
from cggm_core.store.tensorboard_tags import EPOCH, EVENTS, EXACT, RUN, Names

MOST_TAGS, TAG_BYTES, ALL_TAG_BYTES = 10_000, 16_384, 16_000_000
MOST_COLUMNS = 50_000  # over all sets of tags recorded together
MOST_VALUES = 200_000_000
MOST_EVENTS, TEXT_LENGTH = 10_000, 20_000
BEYOND, LAST_TIME = 2**53, 253_402_300_799.0  # exact as float64; the last second of the year 9999


@dataclass
class Found:
    """What was read of one run; rows, events and new streams only until they are written."""

    said: dict[str, Any] = field(default_factory=dict)  # by our own export; empty for a foreign file
    names: Names = field(default_factory=lambda: Names({}))
    scalar: dict[bytes, bool] = field(default_factory=dict)  # tags said to be of a plugin: whether of scalars
    text: dict[bytes, str] = field(default_factory=dict)  # every tag met
    streams: dict[tuple[str, ...], Stream] = field(default_factory=dict)
    rows: dict[int, list[tuple[int, int, float, list[float]]]] = field(default_factory=dict)
    events: list[Said] = field(default_factory=list)
    new: list[Stream] = field(default_factory=list)
    tag_bytes: int = 0
    waiting: int = 0
    values: int = 0
    columns: int = 0
    happened: int = 0
    left_out: int = 0
    first_wall: float = -1.0
    wall: float = 0.0
    step: int = 0
    epoch: int = 0


def at(name: str, number: int, error: Exception) -> StoreError:
    """What went wrong with which record of which file."""
    if isinstance(error, DecodeError):
        return StoreError(f"{name}: record {number} is no event of TensorBoard")
    return StoreError(f"{name}: record {number} {error}")


def take(found: Found, data: bytes | None) -> None:
    """One record into the rows that wait.

    Raises:
        StoreError, DecodeError: if it is not to be believed; the message begins where "record 7" ends.
    """
    if data is None:
        found.left_out += 1
        return
    event = Event.FromString(data)
    wall, step = event.wall_time, event.step
    if not 0 <= wall <= LAST_TIME:
        raise StoreError(f"has the time {wall!r}, expected seconds since 1970")
    if not event.HasField("summary"):
        return
    if found.first_wall < 0:
        found.first_wall = wall
    found.wall = max(found.wall, wall)
    if abs(step) >= BEYOND:
        raise StoreError(f"has the step {step}, expected a number below 2^53")
    if len(event.summary.value) > MOST_TAGS:
        raise StoreError(f"holds {len(event.summary.value)} values, at most {MOST_TAGS} are read at once")
    scalars: dict[str, float] = {}
    exact: bytes | None = None
    for value in event.summary.value:
        raw = value.tag
        tag = found.text[raw] if raw in found.text else _tag(found, raw)
        if value.HasField("metadata") and raw not in found.scalar:
            found.scalar[raw] = value.metadata.plugin.name == b"scalars"
        number = _scalar(value, found.scalar.get(raw, False))
        if number is not None:
            scalars[tag] = number
        elif tag == EXACT and found.said:
            exact = value.tensor.content
        elif tag == RUN and not found.said and not found.values:
            _listen(found, _text(value))
        elif tag.startswith(EVENTS) and found.said:
            _happened(found, tag.removeprefix(EVENTS), _text(value), step, wall)
        else:
            found.left_out += not tag.startswith("_hparams_/")
    if exact is not None:
        scalars = _exact(scalars, exact)
    epoch = _epoch(scalars.pop(EPOCH)) if found.said and EPOCH in scalars else 0
    if scalars:
        if step < 0:
            raise StoreError(f"has the step {step} for tag {min(scalars)[:80]!r}, expected 0 or more")
        _row(found, scalars, step, epoch, max(0.0, wall - found.first_wall))


def _tag(found: Found, raw: bytes) -> str:
    """A tag met for the first time."""
    if len(raw) > TAG_BYTES:
        raise StoreError(f"has a tag of {len(raw)} bytes, at most {TAG_BYTES} are read")
    found.tag_bytes += len(raw)
    if len(found.text) >= MOST_TAGS or found.tag_bytes > ALL_TAG_BYTES:
        raise StoreError(f"goes beyond the {MOST_TAGS} tags, of {ALL_TAG_BYTES} bytes in all, that a run may have")
    try:
        found.text[raw] = raw.decode()
    except UnicodeDecodeError as error:
        raise StoreError(f"has a tag that is no text: {raw[:40]!r}") from error
    return found.text[raw]


def _scalar(value: Any, of_scalars: bool) -> float | None:
    """The number of a scalar in either form, None of anything else."""
    if value.HasField("simple_value"):
        return float(value.simple_value)
    tensor = value.tensor
    if not of_scalars or tensor.dtype not in PACKED or any(dim.size != 1 for dim in tensor.shape.dim):
        return None
    packed, field = PACKED[tensor.dtype]
    if content := tensor.content:
        return float(struct.unpack(packed, content)[0]) if len(content) == struct.calcsize(packed) else None
    held = getattr(tensor, field)
    return float(held[0]) if len(held) == 1 else None


def _exact(shown: dict[str, float], content: bytes) -> dict[str, float]:
    """The scalars of an event of ours with all their bits, which must be what TensorBoard shows."""
    if len(content) == 8 * len(shown):
        numbers = struct.unpack(f"<{len(shown)}d", content)
        if all(map(_agree, shown.values(), numbers)):
            return dict(zip(shown, numbers, strict=True))
    raise StoreError(f"has scalars and values under {EXACT} that are not the same")


def _agree(shown: float, exact: float) -> bool:
    """Whether the one is the other in 32 bits, or nearly."""
    if exact != exact or abs(exact) > 3.4e38:
        return shown != shown if exact != exact else abs(shown) > 3.3e38 and (shown > 0) == (exact > 0)
    return abs(shown - exact) <= 1e-6 * abs(exact) + 1e-44


def _text(value: Any) -> str:
    """A text of ours, its indent taken away."""
    tensor = value.tensor
    if tensor.dtype != DT_STRING or len(tensor.string_val) != 1:
        raise StoreError(f"has a text under {value.tag[:80]!r} that is none")
    return "\n".join(line.removeprefix("    ") for line in tensor.string_val[0].decode("utf-8", "replace").split("\n"))


def _listen(found: Found, text: str) -> None:
    """What our own export says of the run; where it does not hold together the file was tampered with."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"has no JSON under {RUN}") from error
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise StoreError(f"does not say under {RUN} that it is a run of this lab")
    if said.get("version") != FORMAT_VERSION:
        raise StoreError(f"has format {str(said.get('version'))[:20]} of a run, this version reads {FORMAT_VERSION}")
    listed, config, began = said.get("series"), said.get("config"), said.get("started_at")
    sound = isinstance(listed, dict) and len(listed) <= MOST_TAGS and isinstance(config, dict)
    if not sound or not isinstance(began, int | float) or not 0 <= began <= LAST_TIME:
        raise StoreError(f"does not list series, configuration and beginning under {RUN}")
    assert isinstance(listed, dict)
    keys = {}
    for tag, key in listed.items():
        if not isinstance(key, list) or len(key) != 2 or not all(isinstance(word, str) for word in key):
            raise StoreError(f"names {str(key)[:80]} as a series, expected a metric and a modality")
        keys[tag] = MetricKey(*key)
    if len(set(keys.values())) < len(keys):
        raise StoreError(f"names a series twice under {RUN}")
    found.said, found.names, found.first_wall = said, Names(keys), float(began)
    if keys:  # without rows: it keeps the order of the series, which decides their colours
        found.new.append(Stream(0, "series", tuple(keys.values())))


def _happened(found: Found, kind: str, text: str, step: int, wall: float) -> None:
    """An event of the run, as our own export wrote it: its text, and its data on the last line."""
    found.happened += 1
    words, _, last = text.rpartition("\n")
    try:
        data = json.loads(last)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or len(text) > TEXT_LENGTH or found.happened > MOST_EVENTS:
        raise StoreError(f"has a text under {EVENTS}{kind[:80]} that is not as the lab writes it, or one too many")
    body = json.dumps({"kind": kind, "text": words, "data": data})
    found.events.append(Said(step, max(0.0, wall - found.first_wall), body))
    found.waiting += 1 + len(body) // 100


def _epoch(number: float) -> int:
    if not 0 <= number < BEYOND or number != int(number):
        raise StoreError(f"has the epoch {number!r}, expected a whole number from 0")
    return int(number)


def _row(found: Found, scalars: dict[str, float], step: int, epoch: int, seconds: float) -> None:
    tags = tuple(scalars)
    stream = found.streams.get(tags)
    if stream is None:
        columns = tuple(found.names.of(tag) for tag in tags)
        found.columns += len(columns)
        if found.columns > MOST_COLUMNS:
            raise StoreError(f"brings its tags in too many different sets, more than {MOST_COLUMNS} places in all")
        number = len(found.streams) + bool(found.said.get("series"))
        stream = found.streams[tags] = Stream(number, f"imported {number}", columns)
        found.new.append(stream)
    found.rows.setdefault(stream.id, []).append((step, epoch, seconds, list(scalars.values())))
    found.step, found.epoch = max(found.step, step), max(found.epoch, epoch)
    found.values, found.waiting = found.values + len(tags), found.waiting + 3 + len(tags)
    if found.values > MOST_VALUES:
        raise StoreError(f"goes beyond the {MOST_VALUES} values that a run may have")
