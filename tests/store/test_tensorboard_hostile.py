"""Event files that are broken or made to hurt: one sentence each, nothing left behind, memory within bounds."""

from __future__ import annotations

import json
import math
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import pytest

from cggm_core.errors import CggmError, StoreError
from cggm_core.names import MetricKey
from cggm_core.store import MemoryRun, open_reader, take_in
from cggm_core.store import tensorboard_reading as reading
from cggm_core.store.tensorboard_export import write_events
from cggm_core.store.tensorboard_messages import DT_STRING, Event
from cggm_core.store.tensorboard_records import LARGEST, framed, records
from tests.support.workers import PROJECT

NAME = "events.out.tfevents.1.x"


def scalar(tag: str | bytes, number: float, step: int = 0, wall: float = 1e9) -> bytes:
    event = Event(wall_time=wall, step=step)
    event.summary.value.add(tag=tag.encode() if isinstance(tag, str) else tag, simple_value=number)
    return framed(event.SerializeToString())


def text(tag: str, words: str) -> bytes:
    event = Event(wall_time=1e9, step=0)
    value = event.summary.value.add(tag=tag.encode())
    value.metadata.plugin.name, value.tensor.dtype = b"text", DT_STRING
    value.tensor.string_val.append(words.encode())
    return framed(event.SerializeToString())


def exact(shown: float, *numbers: float, cut: int = 0) -> bytes:
    event = Event(wall_time=1e9, step=0)
    event.summary.value.add(tag=b"loss", simple_value=shown)
    value = event.summary.value.add(tag=b"cggm-lab/exact")
    value.tensor.dtype = 2
    value.tensor.content = struct.pack(f"<{len(numbers)}d", *numbers)[cut:]
    return framed(event.SerializeToString())


def said(**changed: Any) -> bytes:
    sound = {"format": "cggm-lab run", "version": 1, "config": {}, "series": {"loss": ["loss", ""]}, "started_at": 1e9}
    return text("cggm-lab/run", json.dumps({**sound, **changed}))


def refused(tmp_path: Path, given: Path, **limits: int) -> str:
    """Try to take it in; nothing may be there afterwards."""
    root = tmp_path / "runs"
    root.mkdir(exist_ok=True)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(StoreError) as raised:
        take_in(given, root, **limits)
    assert set(tmp_path.rglob("*")) == before
    sentence = str(raised.value)
    assert sentence.endswith("; nothing was changed")
    assert len(sentence) < 600
    assert "\n" not in sentence
    return sentence


SOUND = scalar("loss", 1.0)
CASES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "no scalar"),
    "text": (b"hello, I am no event file at all", "is no event file of TensorBoard"),
    "three bytes": (b"abc", "ends inside record 0"),
    "cut head": (SOUND + b"\x01\x02", "ends inside record 1"),
    "cut body": (SOUND + SOUND[:20], "ends inside record 1, which begins at byte"),
    "cut tail": (SOUND[:-2], "ends inside record 0"),
    "flipped body": (SOUND + SOUND[:-5] + bytes([SOUND[-5] ^ 1]) + SOUND[-4:], "record 1 at byte .* checksum"),
    "flipped tail": (SOUND + SOUND[:-1] + bytes([SOUND[-1] ^ 1]), "record 1 .* checksum"),
    "flipped length": (SOUND + b"\xff" + SOUND[1:], "record 1 .* length that does not fit its checksum"),
    "no message": (SOUND + framed(b"\xff" * 40), "record 1 is no event of TensorBoard"),
    "negative step": (scalar("loss", 1.0, -1), "record 0 has the step -1 for tag 'loss', expected 0 or more"),
    "step beyond": (scalar("loss", 1.0, 2**53), "has the step 9007199254740992, expected a number below"),
    "lowest step": (scalar("loss", 1.0, -(2**63)), "has the step -9223372036854775808"),
    "time that is none": (scalar("loss", 1.0, 0, math.nan), "has the time nan"),
    "endless time": (scalar("loss", 1.0, 0, math.inf), "has the time inf"),
    "time before time": (scalar("loss", 1.0, 0, -1.0), "has the time -1.0, expected seconds since 1970"),
    "time after time": (scalar("loss", 1.0, 0, 1e300), "has the time 1e[+]300"),
    "tag of bytes": (scalar(b"\xff\xfe", 1.0), "a tag that is no text"),
    "long tag": (scalar("x" * 20_000, 1.0), "a tag of 20000 bytes, at most 16384"),
    "no scalar": (framed(Event(wall_time=1.0, file_version=b"brain.Event:2").SerializeToString()), "no scalar in it"),
    "said: no JSON": (text("cggm-lab/run", "hello"), "no JSON under cggm-lab/run"),
    "said: deep": (text("cggm-lab/run", "[" * 100_000), "no JSON"),
    "said: another": (said(format="x"), "does not say"),
    "said: newer": (said(version=2), "format 2 of a run, this version reads 1"),
    "said: no series": (said(series=[]), "does not list series"),
    "said: odd series": (said(series={"loss": ["loss", ""], "x": ["a", 3]}), "expected a metric and a modality"),
    "said: double": (said(series={"a": ["loss", ""], "b": ["loss", ""]}), "names a series twice"),
    "said: no beginning": (said(started_at="x"), "beginning"),
    "said: far": (said(started_at=1e300), "beginning"),
    "said: huge number": (text("cggm-lab/run", '{"version": ' + "9" * 5000 + "}"), "no JSON"),
    "epoch": (said() + scalar("cggm-lab/epoch", 0.5), "has the epoch 0.5"),
    "epoch of none": (said() + scalar("cggm-lab/epoch", math.nan), "has the epoch nan"),
    "bits of another": (said() + exact(1.0, 1.1), "scalars and values under cggm-lab/exact that are not the same"),
    "bits too few": (said() + exact(1.0), "that are not the same"),
    "bits of a half": (said() + exact(1.0, 1.0, cut=3), "that are not the same"),
    "event without data": (said() + text("events/x", "hello"), "not as the lab writes it"),
    "event too long": (said() + text("events/x", "x" * 30_000 + "\n{}"), "not as the lab writes it"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_file_that_is_not_sound_is_refused_whole(case: str, tmp_path: Path) -> None:
    raw, words = CASES[case]
    (tmp_path / NAME).write_bytes(raw)
    sentence = refused(tmp_path, tmp_path / NAME)
    assert re.search(words, sentence), sentence


def test_one_bad_file_among_good_ones_keeps_all_out(tmp_path: Path) -> None:
    for name, raw in (("a", SOUND), ("b", SOUND[:-1]), ("c", SOUND)):
        (tmp_path / "logs" / name).mkdir(parents=True)
        (tmp_path / "logs" / name / NAME).write_bytes(raw)
    assert "ends inside record 0" in refused(tmp_path, tmp_path / "logs")


def test_a_length_is_not_believed_before_the_bytes_are_there(tmp_path: Path) -> None:
    """With a checksum that fits: whoever forges a length forges that too."""
    for length in (2**40, 2**63 - 1, 2**64 - 1, LARGEST + 1):
        head = struct.pack("<Q", length)
        crc = google_crc32c.value(head)
        masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
        (tmp_path / NAME).write_bytes(head + struct.pack("<I", masked) + b"x" * 100)
        assert "ends inside record 0" in refused(tmp_path, tmp_path / NAME)


def test_a_record_too_large_for_scalars_is_checked_and_stepped_over(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(framed(bytes(LARGEST + 1)) + SOUND)
    (tmp_path / "runs").mkdir()
    (run_id,) = take_in(tmp_path / NAME, tmp_path / "runs")
    assert "1 record of images" in open_reader(tmp_path / "runs" / run_id).events()[-1].text
    broken = bytearray(framed(bytes(LARGEST + 1)))
    broken[LARGEST // 2] ^= 1
    (tmp_path / NAME).write_bytes(bytes(broken) + SOUND)
    assert "record 0 at byte 0 does not fit its checksum" in refused(tmp_path, tmp_path / NAME)


def test_more_tags_or_values_than_fit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tagged(count: int, long: str = "") -> Iterator[bytes]:
        return (scalar(f"{n} {long}", 1.0, n) for n in range(count))

    (tmp_path / NAME).write_bytes(b"".join(tagged(reading.MOST_TAGS + 1)))
    assert "goes beyond the 10000 tags" in refused(tmp_path, tmp_path / NAME)
    (tmp_path / NAME).write_bytes(b"".join(tagged(1200, "x" * 15_000)))
    assert "of 16000000 bytes in all" in refused(tmp_path, tmp_path / NAME)
    monkeypatch.setattr(reading, "MOST_COLUMNS", 100)
    several = []
    for first in range(20):
        event = Event(wall_time=1e9, step=0)
        for n in range(first, 20):
            event.summary.value.add(tag=str(n).encode(), simple_value=1.0)
        several.append(framed(event.SerializeToString()))
    (tmp_path / NAME).write_bytes(b"".join(several))
    assert "too many different sets" in refused(tmp_path, tmp_path / NAME)
    monkeypatch.setattr(reading, "MOST_VALUES", 3)
    (tmp_path / NAME).write_bytes(SOUND * 4)
    assert "goes beyond the 3 values" in refused(tmp_path, tmp_path / NAME)
    assert "at most 100 are taken in" in refused(tmp_path, tmp_path / NAME, most_bytes=100)


def test_links_and_pipes_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(SOUND)
    for name, make in (
        ("link", lambda path: path.symlink_to(tmp_path / "secret")),
        ("pipe", os.mkfifo),
        ("lost", lambda path: path.symlink_to(tmp_path / "nowhere")),
    ):
        (tmp_path / name).mkdir()
        make(tmp_path / name / NAME)
        assert "is a link or a device" in refused(tmp_path, tmp_path / name)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inside").symlink_to(tmp_path)
    assert "no event file" in refused(tmp_path, tmp_path / "folder")
    assert "plain file" in refused(tmp_path, tmp_path / "pipe" / NAME)


def test_hostile_zips_of_event_files(tmp_path: Path) -> None:
    def zipped(change: Callable[[zipfile.ZipFile], None]) -> Path:
        with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            change(archive)
        return tmp_path / "x.zip"

    def link(archive: zipfile.ZipFile) -> None:
        entry = zipfile.ZipInfo(f"a/{NAME}")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, b"/etc/passwd")

    def twice(archive: zipfile.ZipFile) -> None:
        archive.writestr(f"a/{NAME}", SOUND)
        archive.writestr(f"a/{NAME}", SOUND)

    assert "a link or in it twice" in refused(tmp_path, zipped(link))
    with pytest.warns(UserWarning, match="Duplicate"):
        path = zipped(twice)
    assert "a link or in it twice" in refused(tmp_path, path)
    bomb = zipped(lambda archive: archive.writestr(f"a/{NAME}", bytes(20_000_000)))
    assert path.stat().st_size < 100_000
    assert "at most 1000000 are taken in" in refused(tmp_path, bomb, most_bytes=1_000_000)
    # One that lies about its size: what is read ends where it promised to.
    raw = bomb.read_bytes()
    size = (20_000_000).to_bytes(4, "little")
    assert raw.count(size) == 2
    (tmp_path / "liar.zip").write_bytes(raw.replace(size, (5000).to_bytes(4, "little")))
    refused(tmp_path, tmp_path / "liar.zip")
    raw = zipped(lambda archive: archive.writestr(f"a/{NAME}", SOUND)).read_bytes()
    (tmp_path / "cut.zip").write_bytes(raw[: len(raw) // 2])
    assert "no event file" in refused(tmp_path, tmp_path / "cut.zip")
    flagged = bytearray(raw)
    flagged[raw.rindex(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(flagged)
    assert "encrypted" in refused(tmp_path, tmp_path / "locked.zip")


def test_memory_stays_bounded_whatever_a_record_holds(tmp_path: Path) -> None:
    """A record as large as is looked into, of the smallest messages there are."""
    empty = b"\x0a\x00" * ((LARGEST - 100) // 2)
    length = b""
    count = len(empty)
    while count > 127:
        length, count = length + bytes([count & 127 | 128]), count >> 7
    body = b"\x09" + struct.pack("<d", 1e9) + b"\x2a" + length + bytes([count]) + empty
    (tmp_path / NAME).write_bytes(framed(body) + SOUND)
    code = (
        "import resource, sys; from pathlib import Path; from cggm_core.store import take_in\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: take_in(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "except Exception as error: print(error, file=sys.stderr)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n"
    )
    (tmp_path / "runs").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / NAME), str(tmp_path / "runs")],
        capture_output=True, text=True, timeout=200, cwd=PROJECT, check=False,
    )  # fmt: skip
    assert "values, at most 10000 are read at once; nothing was changed" in done.stderr
    assert int(done.stdout) < 600


def test_mutated_files_are_refused_or_give_the_same_numbers(tmp_path: Path) -> None:
    """Flipped, cut, doubled and swapped bytes; checksums made to fit again in half of them, as a forger would."""
    run = MemoryRun()
    writer = run.writer()
    stream = writer.stream("s", [MetricKey("loss"), MetricKey("score", "audio")])
    for step in range(5):
        writer.log(stream, step, step // 2, (step / 3, math.inf))
    writer.event(0, "start", "hello", {"a": 1})
    writer.finish("finished")
    with open(tmp_path / NAME, "wb") as file:
        write_events(run.reader(), file)
    whole = (tmp_path / NAME).read_bytes()
    with open(tmp_path / NAME, "rb") as file:
        parts = [data for data in records(file, NAME) if data is not None]
    random_ = random.Random(5)
    root = tmp_path / "runs"
    root.mkdir()
    taken = refusals = 0
    for number in range(150):
        if number % 2:
            changed = list(parts)
            place = random_.randrange(len(changed))
            changed[place] = _mutated(changed[place], random_)
            raw = b"".join(framed(data) for data in changed)
        else:
            raw = _mutated(whole, random_)
        (tmp_path / NAME).write_bytes(raw)
        try:
            (run_id,) = take_in(tmp_path / NAME, root)
        except CggmError:
            refusals += 1
            assert [path.name for path in root.iterdir() if path.name != ".import.lock"] == []
            continue
        taken += 1
        reader = open_reader(root / run_id)
        assert reader.info().damaged == ""
        if not number % 2 and raw[: len(whole)] == whole:
            assert reader.series([MetricKey("loss")])[MetricKey("loss")].value.tolist() == [n / 3 for n in range(5)]
        reader.close()
        shutil.rmtree(root / run_id)
    assert taken > 5
    assert refusals > 60


def _mutated(raw: bytes, random_: random.Random) -> bytes:
    data = bytearray(raw)
    place = random_.randrange(max(1, len(data)))
    match random_.randrange(5):
        case 0:
            data[place] ^= 1 << random_.randrange(8)
        case 1:
            del data[place:]
        case 2:
            data[place:place] = data[place : place + random_.randrange(1, 40)]
        case 3:
            data[place : place + 1] = random_.randbytes(random_.randrange(4))
        case _:
            other = random_.randrange(len(data))
            data[place], data[other] = data[other], data[place]
    return bytes(data)
