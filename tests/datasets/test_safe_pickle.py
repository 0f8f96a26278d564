"""Pickles from anywhere: plain data come out as they went in, everything else is refused and runs nothing."""

import collections
import contextlib
import io
import os
import pickle
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from cggm_core import cli
from cggm_core.datasets import _safe_pickle
from cggm_core.datasets._safe_pickle import load_pickle
from cggm_core.errors import CggmError, DataError

PLAIN = {
    "f4": np.arange(24, dtype="f4").reshape(2, 3, 4),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "strided": np.arange(10)[::2],
    "big endian": np.arange(3, dtype=">f8"),
    "empty": np.zeros((0, 3)),
    "text": np.array(["a", "bcd", "\u00e9"]),
    "bytes": np.array([b"a", b"bc"]),
    "truth": np.array([True, False]),
    "scalar": np.float32(1.5),
    "no axis": np.array(7),
    "list": ["a", 1, None, True, -7, 2**40, 1.5, (1, 2, 3, 4), ()],
    "set": {1, "b"},
    "frozen": frozenset("ab"),
    "raw": b"\x00\xff",
    "nothing": b"",
    "accent": "\u00e9\u4e2d",
}


def same(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.dtype == other.dtype and np.array_equal(one, other)
    return type(one) is type(other) and one == other


@pytest.fixture
def put(tmp_path: Path):
    def write(content: bytes) -> Path:
        path = tmp_path / "mine.pkl"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_data_come_out_as_they_went_in(put, protocol: int) -> None:
    shared = [1, 2]
    found = load_pickle(put(pickle.dumps({"train": PLAIN, "a": shared, "b": shared}, protocol)), "mine.pkl")
    assert list(found["train"]) == list(PLAIN)
    for name, value in PLAIN.items():
        assert same(value, found["train"][name]), name
    assert found["a"] is found["b"]


def array_state(dtype: bytes, shape: bytes, content: bytes, module: bytes = b"numpy.core.multiarray") -> bytes:
    """The part of a protocol 2 file by which Python 2 wrote an array: text is bytes, contents are a string."""
    return (
        b"c" + module + b"\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87Rq\x03"
        b"(K\x01" + shape + b"cnumpy\ndtype\nq\x04U" + bytes([len(dtype)]) + dtype + b"K\x00K\x01\x87Rq\x05"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + content + b"tb"
    )  # fmt: skip


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_what_python_2_wrote_is_read(put, module: bytes) -> None:
    values = np.array([[1.5, -2.0, 255.25]], "<f8").tobytes()
    raw = b"T" + struct.pack("<i", len(values)) + values
    content = b"\x80\x02}(U\x05trainq\x00" + array_state(b"f8", b"K\x01K\x03\x86", raw, module) + b"U\x02idU\x02\xe9xu."
    reference = pickle.loads(content, encoding="latin1")
    found = load_pickle(put(content), "mine.pkl")
    assert np.array_equal(found["train"], reference["train"])
    assert found["train"].tolist() == [[1.5, -2.0, 255.25]]
    assert found["id"] == reference["id"] == "\u00e9x"


class Runs:
    """Makes a file where it is run."""

    def __init__(self, canary: Path, how: str) -> None:
        self.canary, self.how = str(canary), how

    def __reduce__(self):
        if self.how == "system":
            return os.system, (f"touch {self.canary}",)
        if self.how == "eval":
            return eval, (f"open({self.canary!r}, 'w').close()",)
        if self.how == "open":
            return io.open, (self.canary, "w")
        if self.how == "getattr":
            return getattr, (np.ndarray, "tofile")
        return os.mkdir, (self.canary,)


class Inside:
    """A state that an object's own method would take."""

    ran = False

    def __setstate__(self, state: object) -> None:
        type(self).ran = True


class Keeper(pickle.Pickler):
    def persistent_id(self, thing: object) -> object:
        return "anything" if thing == "kept" else None


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("how", ["system", "eval", "open", "getattr", "mkdir"])
@pytest.mark.parametrize("deep", [False, True])
def test_what_would_run_is_refused_and_has_not_run(put, tmp_path: Path, protocol: int, how: str, deep: bool) -> None:
    canary = tmp_path / "canary"
    hostile = Runs(canary, how)
    content = pickle.dumps({"train": {"text": np.ones(3), "id": [hostile]}} if deep else hostile, protocol)
    with pytest.raises(DataError, match=r"^mine.pkl: asks for .* could run code; .*nothing was run$"):
        load_pickle(put(content), "mine.pkl")
    assert not canary.exists()
    if how in ("system", "eval", "open", "mkdir"):  # the file is truly hostile: Python's own machine runs it
        made = pickle.loads(content)
        if how == "open":
            (made["train"]["id"][0] if deep else made).close()
        assert canary.exists()


def names(module: str, name: str, then: bytes = b"") -> bytes:
    return b"\x80\x02c" + module.encode() + b"\n" + name.encode() + b"\n" + then + b"."


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


HOSTILE = {
    "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
    "name through memo": b"\x80\x04\x8c\x06system\x94\x8c\x02osh\x00\x93.",
    "dotted name": b"\x80\x04" + b"\x8c\x05numpy" + b"\x8c\x15core.multiarray.system" + b"\x93.",
    "module of numpy": names("numpy", "load", text("x.npy") + b"\x85R"),
    "numpy test helper": names("numpy.testing._private.utils", "runstring", b")R"),
    "reduce of a list": b"\x80\x02])R.",
    "reduce of an array": b"\x80\x02" + array_state(b"f8", b")", b"U\x08" + b"\0" * 8) + b")R.",
    "encode by another codec": names("_codecs", "encode", text("x") + text("rot13") + b"\x86R"),
    "dtype of a dictionary": names("numpy", "dtype", b"}K\x00K\x01\x87R"),
    "state for a list": b"\x80\x02]}b.",
    "state for a dictionary": b"\x80\x02}}" + text("__class__") + b"K\x01sb.",
    "state for a name": names("numpy", "ndarray", b"}" + text("__reduce__") + b"K\x01sb"),
    "slots for a name": names("numpy.core.multiarray", "_reconstruct", b"N}" + text("__code__") + b"K\x01s\x86b"),
    "attribute state for an array": names(
        "numpy.core.multiarray",
        "_reconstruct",
        b"cnumpy\nndarray\nK\x00\x85" + text("b") + b"\x87R}" + text("a") + b"K\x01sb",
    ),
    "persistent id": b"\x80\x02" + text("x") + b"Q.",
    "persistent id as text": b"\x80\x02Px\n.",
    "extension 1": b"\x80\x02\x82\x01.",
    "extension 2": b"\x80\x02\x83\x01\x00.",
    "extension 4": b"\x80\x02\x84\x01\x00\x00\x00.",
    "instance": b"\x80\x02(ios\nsystem\n.",
    "object": b"\x80\x02(cos\nsystem\no.",
    "new object": b"\x80\x02cnumpy\nndarray\n)\x81.",
    "new object with keywords": b"\x80\x04\x8c\x05numpy\x8c\x07ndarray\x93)}\x92.",
    "buffer from outside": b"\x80\x05\x97.",
    "buffer made read-only": b"\x80\x05\x97\x98.",
    "an array filled twice": b"\x80\x02" + array_state(b"f8", b")", b"U\x08" + b"\0" * 8).replace(
        b"q\x03(", b"q\x032(", 1
    ) + b"0" + array_state(b"f8", b")", b"U\x08" + b"\0" * 8).partition(b"q\x03")[2] + b".",
    "a name left over": names("numpy", "dtype"),
    "a name inside": b"\x80\x02]cnumpy\ndtype\na.",
    "half an array": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R.",
    "dates": b"\x80\x02" + array_state(b"M8", b"K\x01\x85", b"U\x08" + b"\0" * 8) + b".",
    "records": b"\x80\x02" + array_state(b"V8", b"K\x01\x85", b"U\x08" + b"\0" * 8) + b".",
    "text without size": b"\x80\x02" + array_state(b"U0", b"J\xff\xff\xff\x7f\x85", b"U\x00") + b".",
    "comma type": b"\x80\x02" + array_state(b"f8,f8", b"K\x01\x85", b"U\x08" + b"\0" * 8) + b".",
}  # fmt: skip
LAUGHS = b")" + b"22\x87" * 14  # a tuple of three times itself, 14 times over: 60 bytes, written out 90 MB
WORDY = {
    "module": b"\x80\x04" + LAUGHS + text("x") + b"\x93.",
    "name": b"\x80\x04" + text("x") + LAUGHS + b"\x93.",
    "shape": b"\x80\x02" + array_state(b"f8", LAUGHS, b"U\x08" + b"\0" * 8) + b".",
    "byte order": b"\x80\x02" + array_state(b"f8", b")", b"U\x00").replace(b"(K\x03U\x01<", b"(K\x03" + LAUGHS) + b".",
    "number format": b"\x80\x03(" + b"B" + struct.pack("<I", 100_000) + b"8" * 100_000 + b"q\x00"
    + b"cnumpy\ndtype\nh\x00NN\x87R" * 50 + b"t.",
}  # fmt: skip
PROMISES = {
    "text": b"\x80\x02X" + struct.pack("<I", 1 << 30) + b"abc.",
    "bytes": b"\x80\x03B" + struct.pack("<I", 1 << 30) + b"abc.",
    "long bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 30) + b"abc.",
    "endless bytes": b"\x80\x04\x8e" + struct.pack("<Q", (1 << 64) - 1) + b"abc.",
    "byte array": b"\x80\x05\x96" + struct.pack("<Q", 1 << 30) + b"abc.",
    "long text": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 30) + b"abc.",
    "old text": b"\x80\x02T" + struct.pack("<i", 1 << 30) + b"abc.",
    "negative text": b"\x80\x02T" + struct.pack("<i", -5) + b"abc.",
    "frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 30) + b"N.",
    "whole number": b"\x80\x02\x8b" + struct.pack("<i", 1 << 30) + b"\x01.",
    "place in the memo": b"\x80\x02Nr" + struct.pack("<I", (1 << 32) - 1) + b".",
    "array": b"\x80\x02" + array_state(b"f8", b"J\x00\x00\x00\x08\x85", b"U\x08" + b"\0" * 8) + b".",
    "array with an overflow": (
        b"\x80\x02" + array_state(b"f8", b"\x8a\x06\0\0\0\0\0\x20\x8a\x03\0\0\1\x86", b"U\x00") + b"."
    ),
    "empty axis": b"\x80\x02" + array_state(b"f8", b"K\x00J\xff\xff\xff\x7f\x86", b"U\x00") + b".",
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_what_plain_data_do_not_need_is_refused(put, case: str) -> None:
    with pytest.raises(DataError) as caught:
        load_pickle(put(HOSTILE[case]), "mine.pkl")
    said = str(caught.value)
    assert said.startswith("mine.pkl: ")
    assert "\n" not in said
    assert "nothing was run" in said or "expected" in said


@pytest.mark.parametrize("case", WORDY)
def test_a_refusal_never_writes_out_what_it_refuses(put, case: str) -> None:
    path = put(WORDY[case])
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="nothing was run") as caught:
            load_pickle(path, "mine.pkl")
        assert len(str(caught.value)) < 300
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("case", PROMISES)
def test_a_promise_is_refused_before_its_memory_is_taken(put, case: str) -> None:
    path = put(PROMISES[case])
    tracemalloc.start()
    try:
        if case == "place in the memo":
            assert load_pickle(path, "mine.pkl") is None  # a place is a word here, not a table of four thousand million
        else:
            with pytest.raises(DataError, match=r"^mine.pkl: "):
                load_pickle(path, "mine.pkl")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_arrays_of_objects_are_refused(put) -> None:
    for protocol in (2, 4, 5):
        with pytest.raises(DataError, match="array of Python objects, which is never loaded"):
            load_pickle(put(pickle.dumps({"id": np.array(["a", None], dtype=object)}, protocol)), "mine.pkl")


@pytest.mark.parametrize("nest", [b"\x85", b"]a", b"(", b"}K\x01"])
def test_deep_nesting_is_refused(put, nest: bytes) -> None:
    count = 200_000
    content = {
        b"\x85": b"\x80\x02)" + nest * count + b".",
        b"]a": b"\x80\x02" + b"]" * count + b"a" * (count - 1) + b".",
        b"(": b"\x80\x02" + nest * count + b"t" * count + b".",
        b"}K\x01": b"\x80\x02" + nest * count + b"N" + b"s" * count + b".",
    }[nest]
    with pytest.raises(DataError, match="nested deeper than"):
        load_pickle(put(content), "mine.pkl")


def test_a_deep_tuple_as_a_key_is_refused_and_never_hashed(put) -> None:
    with pytest.raises(DataError, match="has a tuple as key"):
        load_pickle(put(b"\x80\x02})" + b"\x85" * 1_000_000 + b"Ns."), "mine.pkl")


def test_what_multiplies_itself_is_refused(put, monkeypatch) -> None:
    block = text("x" * 100_000)
    encode = b"c_codecs\nencode\nh\x00" + text("latin1") + b"\x86R"
    with pytest.raises(DataError, match="again and again"):
        load_pickle(put(b"\x80\x02](" + block + b"q\x00" + encode * 1000 + b"e."), "mine.pkl")
    laughs = b"\x80\x02]" + text("ha") + b"aq\x00" + b"".join(
        b"](" + b"h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1]) for i in range(15)
    ) + b"."  # fmt: skip
    assert load_pickle(put(laughs), "mine.pkl")[0] is not None  # 2**15 of them, none of them a copy
    monkeypatch.setattr(_safe_pickle, "MOST_STEPS", 1000)
    with pytest.raises(DataError, match="more than 1000 instructions"):
        load_pickle(put(b"\x80\x02" + b"N0" * 1000 + b"N."), "mine.pkl")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"hello", "is no pickle"),
        (b"(dp0\nS'a'\np1\nI1\ns.", "protocol 0 or 1"),
        (b"\x80\x09N.", "protocol 9, expected 2 to 5"),
        (b"\x80\x02N", "no sound pickle"),
        (b"\x80\x02.", "no sound pickle"),
        (b"\x80\x02e.", "no sound pickle"),
        (b"\x80\x02h\x07.", "no sound pickle"),
        (b"\x80\x02K\x01K\x02a.", "no sound pickle"),
        (b"\x80\x02X\x01\0\0\0\xff.", "no sound pickle"),
        (b"\x80\x02c" + b"x" * 1000 + b"\ny\n.", "a name of more than 200 letters"),
    ],
)
def test_what_is_no_pickle(put, content: bytes, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        load_pickle(put(content), "mine.pkl")


def test_every_other_type_is_refused(put) -> None:
    for value in (collections.OrderedDict(a=1), collections.Counter("a"), Path("x"), slice(1), 1j, Inside()):
        with pytest.raises(CggmError):
            load_pickle(put(pickle.dumps(value, 4)), "mine.pkl")
    assert not Inside.ran
    out = io.BytesIO()
    Keeper(out, 4).dump(["kept"])
    with pytest.raises(DataError, match="instruction BINPERSID"):
        load_pickle(put(out.getvalue()), "mine.pkl")


def test_a_file_cut_or_changed_anywhere_never_gives_another_error(put) -> None:
    whole = pickle.dumps({"train": {k: v for k, v in PLAIN.items() if k != "frozen"}}, 4)
    random = np.random.default_rng(0)
    for cut in range(0, len(whole), 17):
        with pytest.raises(DataError):
            load_pickle(put(whole[:cut]), "mine.pkl")
    for _ in range(500):
        broken = bytearray(whole)
        broken[random.integers(len(whole))] = random.integers(256)
        with contextlib.suppress(DataError):
            load_pickle(put(bytes(broken)), "mine.pkl")


@pytest.mark.parametrize("name", ["mine.pkl", "mine.pickle", "mine.p", "mine.npz", "food/train.pkl"])
def test_no_command_runs_a_pickle_whatever_it_is_called(tmp_path: Path, runs_root: Path, name: str, capsys) -> None:
    path, canary = tmp_path / name, tmp_path / "canary"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pickle.dumps({"train": Runs(canary, "system")}, 4))
    data = str(path.parent if "/" in name else path)
    for command in (["check"], ["train", "--runs", str(runs_root)]):
        assert cli.main([*command, "--dataset", data]) == 2
        said = capsys.readouterr()
        assert said.err.startswith("error: ")
        assert said.err.count("\n") == 1
    assert not canary.exists()
    assert [name for name in os.listdir(runs_root) if name != ".catalogue.db"] == []
