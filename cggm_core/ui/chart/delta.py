"""What must be sent so that the browser's figure becomes the server's: usually the ends of some arrays.

A refresh of a long run repeats most of what the browser holds: down-sampling keeps points in place and
smoothing looks back only. So each message names the picture it builds on and, trace by trace, how many
leading points stay. A browser that holds another picture (a message was lost or overtaken, the page was left
and opened again) asks for everything. Pictures are numbered over the whole server, so that many viewers of one
run are told the same, and it is worked out and written down once.
"""

from __future__ import annotations

import base64
import itertools
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cggm_core.figures import screen

_ARRAYS = ("x", "y")
_SERVER = secrets.token_hex(4)  # no picture of another life of the server has this in its version
_NUMBERS = itertools.count()
_REMEMBERED = 4


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure as a browser may hold it; never changed.

    Attributes:
        version: names it; no other picture has the same.
        layout: as canonical JSON.
        styles: everything of a trace but its arrays, as canonical JSON, by the trace's uid in order.
        arrays: x and y by uid.
    """

    version: str
    layout: str
    styles: Mapping[str, str]
    arrays: Mapping[str, tuple[np.ndarray, np.ndarray]]
    _told: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, drawn: Mapping[str, Any]) -> Picture:
        """A figure of `screen.figure`; every trace has a uid of its own."""
        return cls(
            f"{_SERVER}:{next(_NUMBERS)}",
            json.dumps(drawn["layout"], sort_keys=True, allow_nan=False),
            {trace["uid"]: _style(trace) for trace in drawn["data"]},
            {trace["uid"]: (trace["x"], trace["y"]) for trace in drawn["data"]},
        )

    def since(self, before: Picture | None) -> str:
        """As JSON, what turns `before` into this; "" when they show the same. None: everything."""
        key = before.version if before else ""
        if key not in self._told:
            # Viewers of one run hold one of very few pictures.
            if len(self._told) >= _REMEMBERED:
                self._told.pop(next(iter(self._told)), None)
            self._told[key] = self._since(before)
        return self._told[key]

    def _since(self, before: Picture | None) -> str:
        if before is not None and list(before.styles) != list(self.styles):
            before = None
        traces = [_trace(uid, self.styles[uid], self.arrays[uid], before) for uid in self.styles]
        relaid = before is None or self.layout != before.layout
        if not relaid and not any(len(trace) > 1 for trace in traces):
            return ""
        made = {"version": self.version, "base": before.version if before else None, "traces": traces}
        if relaid:
            made["layout"] = json.loads(self.layout)
        return screen.to_json(made)


def message(now: Picture, before: Picture | None, *, whole: bool = False) -> tuple[str, Picture]:
    """The message that brings a browser from `before` to `now`, and the picture it holds afterwards.

    Args:
        now: what shall be seen.
        before: what was sent last, None for the first message.
        whole: send everything, because the browser asked for it.

    Returns:
        JSON of `{"version", "base", "layout"?, "traces"?}`; `base` is None for everything, and equals `version`
        when nothing changed.
    """
    if whole:
        return now.since(None), now
    said = "" if before is now else now.since(before)
    if not said and before is not None:
        return json.dumps({"version": before.version, "base": before.version}), before
    return said, now


def _style(trace: Mapping[str, Any]) -> str:
    plain = {key: value for key, value in trace.items() if key not in _ARRAYS}
    return json.dumps(plain, sort_keys=True, allow_nan=False)


def _trace(uid: str, style: str, arrays: tuple[np.ndarray, np.ndarray], before: Picture | None) -> dict[str, Any]:
    """One trace's share of a message; its uid alone when nothing changed."""
    made: dict[str, Any] = {"uid": uid}
    if before is None or before.styles[uid] != style:
        made["style"] = json.loads(style)
    kept = 0 if before is None else _common(before.arrays[uid], arrays)
    longest = max(len(arrays[0]), 0 if before is None else len(before.arrays[uid][0]))
    if before is None or kept < longest:
        made |= {"keep": kept, "x": _packed(arrays[0][kept:]), "y": _packed(arrays[1][kept:])}
    return made


def _common(old: tuple[np.ndarray, np.ndarray], new: tuple[np.ndarray, np.ndarray]) -> int:
    """How many leading points are the same to the bit in x and in y."""
    count = min(len(old[0]), len(new[0]))
    for before, after in zip(old, new, strict=True):
        if before.dtype != after.dtype:
            return 0
        # Compared as integers, so that a NaN equals itself.
        differs = before[:count].view(np.int32) != after[:count].view(np.int32)
        if differs.any():
            count = int(np.argmax(differs))
    return count


def _packed(array: np.ndarray) -> dict[str, str]:
    return {"dtype": array.dtype.str[1:], "bdata": base64.b64encode(array.tobytes()).decode()}
