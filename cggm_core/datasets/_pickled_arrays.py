"""How a pickle spells a numpy array, and how one is put together from it without calling what the pickle names."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST_LEVELS = 20
_LONGEST_EMPTY = 1_000_000
_NUMBERS_AND_TEXT = "biufcSU"
_LONGEST_WORD = 40  # of numpy's own words: U12, <


class Token(Enum):
    """What a name in a pickle stands for; a word, never the function itself."""

    RECONSTRUCT = auto()
    FROM_BUFFER = auto()
    ARRAY = auto()
    TYPE = auto()
    SCALAR = auto()
    ENCODE = auto()
    SET = auto()
    FROZENSET = auto()
    BYTEARRAY = auto()
    BYTES = auto()


_NAMES: dict[tuple[str, str], Token] = {
    **{
        (f"numpy.{core}.{file}", name): token
        for core in ("core", "_core")
        for file, name, token in (
            ("multiarray", "_reconstruct", Token.RECONSTRUCT),
            ("multiarray", "scalar", Token.SCALAR),
            ("numeric", "_frombuffer", Token.FROM_BUFFER),
        )
    },
    ("numpy", "ndarray"): Token.ARRAY,
    ("numpy", "dtype"): Token.TYPE,
    # Bytes in protocol 2: text, and the name of the codec that turns it back.
    ("_codecs", "encode"): Token.ENCODE,
    **{
        (module, name): token
        for module in ("builtins", "__builtin__")
        for name, token in (
            ("set", Token.SET),
            ("frozenset", Token.FROZENSET),
            ("bytearray", Token.BYTEARRAY),
            ("bytes", Token.BYTES),
        )
    },
}


@dataclass
class PendingArray:
    """An array before its content came; `places` of the memo wait for it, once."""

    places: list[int] = field(default_factory=list)
    built: bool = False


@dataclass
class PendingType:
    """A number format before its byte order came."""

    code: str
    places: list[int] = field(default_factory=list)
    built: bool = False


Spend = Callable[[int], None]
Refusal = type[Exception]


def token_of(module: object, name: object) -> Token | None:
    """What a name stands for, or None for what plain data do not need."""
    return _NAMES.get((module, name)) if isinstance(module, str) and isinstance(name, str) else None


def call(function: object, arguments: object, spend: Spend, refusal: Refusal) -> Any:
    """What a named function would make of its arguments, for the few that there are.

    Raises:
        Exception: of type `refusal`, or TypeError or ValueError for arguments that do not fit.
    """
    if not isinstance(arguments, tuple) or not isinstance(function, Token):
        raise refusal(f"calls a {type(function).__name__}, which plain data do not need; nothing was run")
    match function, arguments:
        case Token.RECONSTRUCT, (Token.ARRAY, _, _):
            return PendingArray()
        case Token.TYPE, (str() | bytes() as code, _, _):
            return PendingType(_text(code, refusal))
        case Token.FROM_BUFFER, (content, np.dtype() as dtype, shape, order):
            return _array(shape, dtype, order == "F", content, spend, refusal)
        case Token.SCALAR, (np.dtype() as dtype, content):
            return _array((), dtype, False, content, spend, refusal)[()]
        case Token.ENCODE, (str() as text, str() as codec) if codec in ("latin1", "latin-1"):
            spend(len(text))
            return text.encode("latin-1")
        case ((Token.BYTES | Token.BYTEARRAY), ()):
            return b""
        case ((Token.BYTES | Token.BYTEARRAY), (bytes() as content,)):
            return content
        case Token.BYTEARRAY, (str() as text, str() as codec) if codec in ("latin1", "latin-1"):
            spend(len(text))
            return text.encode("latin-1")
        case ((Token.SET | Token.FROZENSET), (list() as members,)) if all(
            type(v) in (str, bytes, int) for v in members
        ):
            spend(len(members))
            return set(members) if function is Token.SET else frozenset(members)
    raise refusal(f"calls {function.name.lower()} in a way numpy does not; nothing was run")


def build_type(pending: PendingType, state: object, refusal: Refusal) -> np.dtype[Any]:
    """The number format, from its code (`f4`, `U12`) and byte order.

    Raises:
        Exception: of type `refusal`, for objects, records, dates and what has no size.
    """
    if not isinstance(state, tuple) or len(state) < 4:
        raise refusal("describes a number format in a way numpy does not; nothing was run")
    order = _text(state[1], refusal)
    if pending.code[:1] == "O":
        raise refusal(
            "holds an array of Python objects, which is never loaded; expected arrays of numbers (a list of texts "
            "may stay a list: array.tolist())"
        )
    plain = state[2] is None and state[3] is None and pending.code[1:].isascii() and pending.code[1:].isdigit()
    if pending.code[:1] not in tuple(_NUMBERS_AND_TEXT) or not plain or order not in ("<", ">", "|", "="):
        raise refusal(f"holds an array of type {pending.code[:20]!r}, expected numbers or text of fixed length")
    dtype = np.dtype(("" if order == "|" else order) + pending.code)
    if dtype.itemsize == 0 or dtype.hasobject:
        raise refusal(f"holds an array of type {pending.code[:20]!r} without size, expected numbers or text")
    return dtype


def build_array(state: object, spend: Spend, refusal: Refusal) -> NDArray[Any]:
    """The array, from `(version, shape, type, Fortran order, bytes)`.

    Raises:
        Exception: of type `refusal`, for a shape that promises other than the bytes there are.
    """
    match state:
        case (int(), tuple() as shape, np.dtype() as dtype, fortran, content):
            return _array(shape, dtype, bool(fortran), content, spend, refusal)
    raise refusal("describes an array in a way numpy does not; nothing was run")


def refuse_leftovers(found: object, refusal: Refusal) -> None:
    """Whether what came out is plain data, nested as data are.

    Raises:
        Exception: of type `refusal`, for a name or half an array inside, or for deep nesting.
    """
    level, seen, depth = [found], set[int](), 0
    while level:
        if depth > _MOST_LEVELS:
            raise refusal(f"is nested deeper than {_MOST_LEVELS} levels, expected arrays in a few dictionaries")
        below: list[object] = []
        for value in level:
            if isinstance(value, (Token, PendingArray, PendingType, np.dtype)):
                raise refusal(f"holds a {type(value).__name__.lower()} where data belong; nothing was run")
            if isinstance(value, (dict, list, tuple)) and id(value) not in seen:
                seen.add(id(value))
                below.extend(value.values() if isinstance(value, dict) else value)
        level, depth = below, depth + 1


def _array(
    shape: Any, dtype: np.dtype[Any], fortran: bool, content: Any, spend: Spend, refusal: Refusal
) -> NDArray[Any]:
    if isinstance(content, str):  # Python 2
        spend(len(content))
        content = content.encode("latin-1")
    if isinstance(shape, int):
        shape = (shape,)
    axes = isinstance(shape, tuple) and len(shape) <= 32 and all(type(n) is int and n >= 0 for n in shape)
    if not axes or not isinstance(content, bytes):
        said = list(shape) if axes else f"{in_words(shape)}, expected up to 32 whole numbers,"
        raise refusal(f"holds an array of shape {said} and {type(content).__name__} content; nothing was run")
    promised = math.prod(shape) * dtype.itemsize
    if promised != len(content) or (promised == 0 and max(shape) > _LONGEST_EMPTY):
        raise refusal(
            f"holds an array of shape {list(shape)} and type {dtype}, which needs {promised} bytes, but "
            f"{len(content)} are there; expected a whole file"
        )
    spend(promised)
    made: NDArray[Any] = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
    return made


def in_words(value: object) -> str:
    """A value in a message: text cut to 80 letters, else the type: nested tuples are endless when written."""
    if isinstance(value, bytes):
        return repr(value[:80])
    return " ".join(value[:80].split()) if isinstance(value, str) else f"({type(value).__name__})"


def _text(value: object, refusal: Refusal) -> str:
    """A short word, which Python 2 wrote as bytes; a long one could be asked for again and again."""
    if not isinstance(value, (str, bytes)) or len(value) > _LONGEST_WORD:
        raise refusal(f"describes a number format by {in_words(value)}, which numpy does not; nothing was run")
    return value.decode("latin-1") if isinstance(value, bytes) else value
