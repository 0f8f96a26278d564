"""Mutated archives: each is refused in one sentence with nothing left behind, or holds the very same run."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import zipfile
from pathlib import Path

import pytest

from cggm_core.errors import CggmError
from cggm_core.store import open_reader, pack, take_in
from cggm_core.store.bundle import contents
from tests.store.test_bundle import make_run

# More of them: CGGM_MUTATIONS=2000.
MUTATIONS = int(os.environ.get("CGGM_MUTATIONS", "80"))


def mutated(raw: bytes, random_: random.Random) -> bytes:
    """Bytes with one to three of them flipped, cut off, doubled, replaced or swapped."""
    data = bytearray(raw)
    for _ in range(random_.randrange(1, 4)):
        place = random_.randrange(max(1, len(data)))
        match random_.randrange(6):
            case 0:
                data[place] ^= 1 << random_.randrange(8)
            case 1:
                del data[place + random_.randrange(4096) :]
            case 2:
                data[place:place] = data[place : place + random_.randrange(1, 400)]
            case 3:
                data[place : place + 1] = random_.randbytes(random_.randrange(4))
            case 4:
                data[place : place + 4] = random_.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"../."))
            case _:
                other = random_.randrange(len(data))
                data[place], data[other] = data[other], data[place]
        data = data or bytearray(b"\0")
    return bytes(data)


def relisted(parts: dict[str, bytes]) -> bytes:
    """An archive whose manifest was made to agree with its parts, as a forger would."""
    said = json.loads(parts["manifest.json"])
    for run in said["runs"]:
        for name in run["files"]:
            data = parts[f"runs/{run['id']}/{name}"]
            run["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, data in {**parts, "manifest.json": json.dumps(said).encode()}.items():
            archive.writestr(name, data)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["raw", "manifest.json", "run.db"])
def test_a_mutated_archive_is_refused_or_equal(kind: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a")
    pack([folder], tmp_path / "sound.zip")
    whole = (tmp_path / "sound.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "sound.zip") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    database = next(name for name in parts if name.endswith("run.db"))
    (tmp_path / "packed.db").write_bytes(parts[database])
    wanted, random_ = contents(tmp_path / "packed.db"), random.Random(kind)
    root, file = tmp_path / "runs", tmp_path / "bad.zip"
    root.mkdir()
    refusals = 0
    for number in range(MUTATIONS):
        if kind == "raw":
            raw = mutated(whole, random_)
        elif kind == "run.db":
            raw = relisted({**parts, database: mutated(parts[database], random_)})
        else:
            held = io.BytesIO()
            with zipfile.ZipFile(held, "w") as archive:
                for name, data in parts.items():
                    archive.writestr(name, mutated(data, random_) if name == kind else data)
            raw = held.getvalue()
        file.write_bytes(raw)
        there = {path for path in tmp_path.rglob("*") if path.name != ".import.lock"}
        try:
            taken = take_in(file, root)
        except CggmError as error:
            refusals += 1
            sentence = str(error)
        else:
            assert taken == (folder.name,), number
            assert contents(root / folder.name / "run.db") == wanted, number
            reader = open_reader(root / folder.name)
            assert reader.info().damaged == ""
            assert reader.info().config["name"] == "a/b <i>"
            shutil.rmtree(root / folder.name)
            continue
        assert "\n" not in sentence, number
        assert len(sentence) < 600, sentence
        assert {path for path in tmp_path.rglob("*") if path.name != ".import.lock"} == there, number
    assert refusals > MUTATIONS // 2
