"""Reads pickles that nobody vouches for: numpy arrays and builtin values come out, nothing runs.

A pickle is a program, and the standard machine for it imports and calls whatever it names. This is another machine,
with fewer instructions: a name is looked up in `_NAMES` and stays a name, `REDUCE` and `BUILD` know how to put an
array together from its bytes and nothing else, and no length is believed before the bytes are there.
"""

from __future__ import annotations

import mmap
import pickle as opcodes
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from cggm_core.datasets._pickled_arrays import (
    PendingArray,
    PendingType,
    build_array,
    build_type,
    call,
    in_words,
    refuse_leftovers,
    token_of,
)
from cggm_core.errors import DataError

MOST_STEPS = 5_000_000
_MOST_MARKS = 100
_LONGEST_NAME = 200
_LONGEST_NUMBER = 8
_SLACK = 1 << 16
_OLD = frozenset(b"FILSVgipPcao(dlt0RNbu]})")  # what protocol 0 and 1 files are made of, beside what is shared


def load_pickle(path: Path, shown: str) -> Any:
    """What a pickle of numpy arrays and builtin values holds.

    Args:
        path: of the file, protocol 2 to 5, written by Python 2 or 3 and numpy 1 or 2. Text of Python 2 is taken
            for Latin-1, as the field's files want it.
        shown: the file's name in messages.

    Returns:
        dict, list, tuple, set, text, bytes, numbers, None, and numpy arrays of numbers or fixed-length text.

    Raises:
        DataError: for a file that is no pickle, is truncated, promises more than it holds, is nested deeper than
            data are, or asks for anything else; nothing of it was run.
    """
    try:
        size = path.stat().st_size
        if size == 0:
            raise DataError(f"{shown}: the file is empty, expected a pickle")
        if 2 * size > (free := psutil.virtual_memory().available):
            raise DataError(
                f"{shown}: has {size / 1e9:.1f} GB, and reading a pickle takes twice that, but {free / 1e9:.1f} GB "
                "of memory are free; take a part of it, or write it as .npz"
            )
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
            machine = _Machine(held, size)
            try:
                return machine.run()
            except Refused as error:
                raise DataError(f"{shown}: {error}") from error
            except _FAULTS as error:
                why = (str(error).splitlines() or [type(error).__name__])[0][:120]
                raise DataError(f"{shown}: is no sound pickle ({why} at byte {machine.at}); nothing was run") from error
    except OSError as error:
        raise DataError(f"{shown}: cannot be read ({error.strerror or error})") from error


class Refused(Exception):
    """Why a pickle is not read, without the file's name."""


_FAULTS = (
    struct.error, IndexError, KeyError, TypeError, ValueError, AttributeError, OverflowError, MemoryError,
    RecursionError,
)  # fmt: skip


class _Machine:
    """Stack, memo and place of one reading."""

    def __init__(self, held: mmap.mmap, size: int) -> None:
        self._held, self._size = held, size
        self.at = 0
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        # Copies made of what the file holds once; a file that asks for more multiplies itself.
        self._budget = 2 * size + _SLACK

    def run(self) -> Any:
        """Every instruction up to the end."""
        first = self._held[0]
        if first != opcodes.PROTO[0]:
            old = first in _OLD
            raise Refused(
                "is a pickle of protocol 0 or 1, or none at all; expected protocol 2 to 5 "
                "(pickle.dump(data, file, protocol=4))"
                if old
                else "is no pickle, expected protocol 2 to 5"
            )
        for _ in range(MOST_STEPS):
            code = self._held[self.at]
            self.at += 1
            if code == opcodes.STOP[0]:
                found = self._stack.pop()
                refuse_leftovers(found, Refused)
                return found
            step = _STEPS.get(code)
            if step is None:
                raise Refused(
                    f"holds the pickle instruction {_shown(code)} at byte {self.at - 1}, which plain data do not need; "
                    "expected numpy arrays and builtin values, and nothing was run"
                )
            step(self)
        raise Refused(f"has more than {MOST_STEPS} instructions, expected a few large arrays")

    # reading

    def take(self, count: int) -> bytes:
        """The next bytes, if they are there."""
        left = self._size - self.at
        if not 0 <= count <= left:
            raise Refused(f"promises {count} bytes at byte {self.at}, but {left} are there; expected a whole file")
        self.at += count
        return self._held[self.at - count : self.at]

    def number(self, form: str) -> Any:
        """One little- or big-endian number."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        end = self._held.find(b"\n", self.at, self.at + _LONGEST_NAME)
        if end < 0:
            raise Refused(f"holds a name of more than {_LONGEST_NAME} letters at byte {self.at}")
        return self.take(end + 1 - self.at)[:-1].decode()

    # instructions

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def mark(self) -> None:
        if len(self._below) >= _MOST_MARKS:
            raise Refused(f"is nested deeper than {_MOST_MARKS} levels, expected arrays in a few dictionaries")
        self._below.append(self._stack)
        self._stack = []

    def since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def pop_many(self, count: int) -> tuple[Any, ...]:
        if len(self._stack) < count:
            raise IndexError("the stack is empty")
        items = tuple(self._stack[len(self._stack) - count :])
        del self._stack[len(self._stack) - count :]
        return items

    def long(self, form: str) -> None:
        length = self.number(form)
        if not 0 <= length <= _LONGEST_NUMBER:
            raise Refused(f"holds a whole number of {length} bytes, expected at most {_LONGEST_NUMBER}")
        self.push(int.from_bytes(self.take(length), "little", signed=True))

    def remember(self, place: int) -> None:
        value = self._stack[-1]
        if isinstance(value, (PendingArray, PendingType)):
            value.places.append(place)
        self._memo[place] = value

    def extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            raise TypeError(f"items appended to a {type(target).__name__}")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise TypeError(f"pairs put into a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_key(key)] = value

    def add_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not set:
            raise TypeError(f"members put into a {type(target).__name__}")
        target.update(map(_key, items))

    def name(self, module: object, attribute: object) -> None:
        token = token_of(module, attribute)
        if token is None:
            raise Refused(
                f"asks for {in_words(module)}.{in_words(attribute)}, which could run code; only numpy arrays and "
                "builtin values are read, and nothing was run"
            )
        self.push(token)

    def reduce(self) -> None:
        function, arguments = self.pop_many(2)
        self.push(call(function, arguments, self._spend, Refused))

    def build(self) -> None:
        target, state = self.pop_many(2)
        if isinstance(target, PendingType):
            made: Any = build_type(target, state, Refused)
        elif isinstance(target, PendingArray):
            made = build_array(state, self._spend, Refused)
        else:
            raise Refused(
                f"sets the inside of a {type(target).__name__}, which plain data do not need; nothing was run"
            )
        if target.built:
            raise Refused("fills the same array twice, which plain data do not need; nothing was run")
        target.built = True
        for place in target.places:
            if self._memo[place] is target:
                self._memo[place] = made
        self.push(made)

    def frame(self) -> None:
        length, left = self.number("<Q"), self._size - self.at
        if length > left:
            raise Refused(f"promises a frame of {length} bytes, but {left} are there; expected a whole file")

    def text(self, form: str) -> None:
        self.push(self.take(self.number(form)).decode("utf-8", "surrogatepass"))

    def protocol(self) -> None:
        if not 2 <= (version := self.number("<B")) <= opcodes.HIGHEST_PROTOCOL:
            raise Refused(f"is a pickle of protocol {version}, expected 2 to {opcodes.HIGHEST_PROTOCOL}")

    def recall(self, place: int) -> None:
        self.push(self._memo[place])

    def discard(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self.since_mark()

    def _spend(self, count: int) -> None:
        self._budget -= count
        if self._budget < 0:
            raise Refused("uses the same bytes again and again, so that it would grow far beyond its size when read")


def _key(value: Any) -> str | bytes | int:
    """A key or member: of a plain type, since hashing a deep tuple would exhaust the stack of the processor."""
    if type(value) not in (str, bytes, int, bool):
        raise Refused(f"has a {type(value).__name__} as key or member of a set, expected text or whole numbers")
    found: str | bytes | int = value
    return found


def _shown(code: int) -> str:
    names = (n for n, v in vars(opcodes).items() if n.isupper() and isinstance(v, bytes) and v == bytes([code]))
    return next(names, f"{code:#04x}")


Step = Callable[[_Machine], None]
_STEPS: dict[int, Step] = {
    code[0]: step
    for code, step in (
        (opcodes.PROTO, _Machine.protocol),
        (opcodes.FRAME, _Machine.frame),
        (opcodes.NONE, lambda m: m.push(None)),
        (opcodes.NEWTRUE, lambda m: m.push(True)),
        (opcodes.NEWFALSE, lambda m: m.push(False)),
        (opcodes.BININT, lambda m: m.push(m.number("<i"))),
        (opcodes.BININT1, lambda m: m.push(m.number("<B"))),
        (opcodes.BININT2, lambda m: m.push(m.number("<H"))),
        (opcodes.LONG1, lambda m: m.long("<B")),
        (opcodes.LONG4, lambda m: m.long("<i")),
        (opcodes.BINFLOAT, lambda m: m.push(m.number(">d"))),
        (opcodes.BINSTRING, lambda m: m.push(m.take(m.number("<i")).decode("latin-1"))),
        (opcodes.SHORT_BINSTRING, lambda m: m.push(m.take(m.number("<B")).decode("latin-1"))),
        (opcodes.BINBYTES, lambda m: m.push(m.take(m.number("<I")))),
        (opcodes.SHORT_BINBYTES, lambda m: m.push(m.take(m.number("<B")))),
        (opcodes.BINBYTES8, lambda m: m.push(m.take(m.number("<Q")))),
        (opcodes.BYTEARRAY8, lambda m: m.push(m.take(m.number("<Q")))),
        (opcodes.BINUNICODE, lambda m: m.text("<I")),
        (opcodes.SHORT_BINUNICODE, lambda m: m.text("<B")),
        (opcodes.BINUNICODE8, lambda m: m.text("<Q")),
        (opcodes.EMPTY_DICT, lambda m: m.push({})),
        (opcodes.EMPTY_LIST, lambda m: m.push([])),
        (opcodes.EMPTY_TUPLE, lambda m: m.push(())),
        (opcodes.EMPTY_SET, lambda m: m.push(set())),
        (opcodes.MARK, _Machine.mark),
        (opcodes.TUPLE, lambda m: m.push(tuple(m.since_mark()))),
        (opcodes.TUPLE1, lambda m: m.push(m.pop_many(1))),
        (opcodes.TUPLE2, lambda m: m.push(m.pop_many(2))),
        (opcodes.TUPLE3, lambda m: m.push(m.pop_many(3))),
        (opcodes.FROZENSET, lambda m: m.push(frozenset(map(_key, m.since_mark())))),
        (opcodes.APPEND, lambda m: m.extend(list(m.pop_many(1)))),
        (opcodes.APPENDS, lambda m: m.extend(m.since_mark())),
        (opcodes.SETITEM, lambda m: m.set_items(list(m.pop_many(2)))),
        (opcodes.SETITEMS, lambda m: m.set_items(m.since_mark())),
        (opcodes.ADDITEMS, lambda m: m.add_items(m.since_mark())),
        (opcodes.POP, _Machine.discard),
        (opcodes.POP_MARK, lambda m: m.since_mark() and None),
        (opcodes.DUP, lambda m: m.push(m.pop_many(1)[0]) or m.push(m._stack[-1])),
        (opcodes.BINPUT, lambda m: m.remember(m.number("<B"))),
        (opcodes.LONG_BINPUT, lambda m: m.remember(m.number("<I"))),
        (opcodes.MEMOIZE, lambda m: m.remember(len(m._memo))),
        (opcodes.BINGET, lambda m: m.recall(m.number("<B"))),
        (opcodes.LONG_BINGET, lambda m: m.recall(m.number("<I"))),
        (opcodes.GLOBAL, lambda m: m.name(m.line(), m.line())),
        (opcodes.STACK_GLOBAL, lambda m: m.name(*m.pop_many(2))),
        (opcodes.REDUCE, _Machine.reduce),
        (opcodes.BUILD, _Machine.build),
    )
}
