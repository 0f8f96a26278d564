"""What must be sent so that the browser's figure becomes the server's: usually the ends of some arrays.

A refresh of a long run repeats most of what the browser holds: down-sampling keeps points in place and
smoothing looks back only. So each message names the version it builds on and, trace by trace, how many
leading points stay. A browser that holds another version (a message was lost or overtaken, the page was left
and opened again) asks for everything.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

_ARRAYS = ("x", "y")


@dataclass(frozen=True)
class Sent:
    """What the browser was last told.

    Attributes:
        version: "session:number" of the last message that changed anything.
        layout: as canonical JSON.
        styles: everything of a trace but its arrays, as canonical JSON, by the trace's uid in order.
        arrays: x and y by uid.
    """

    version: str
    layout: str
    styles: Mapping[str, str]
    arrays: Mapping[str, tuple[np.ndarray, np.ndarray]]


def message(
    drawn: Mapping[str, Any], before: Sent | None, session: str, *, whole: bool = False
) -> tuple[dict[str, Any], Sent]:
    """The message that brings a browser from `before` to `drawn`, and what it holds afterwards.

    Args:
        drawn: a figure of `screen.figure`; every trace has a uid of its own.
        before: what was sent last, None for the first message.
        session: a word that no other chart's versions carry.
        whole: send everything, because the browser asked for it.

    Returns:
        `{"version", "base", "layout"?, "traces"?}`; `base` is None for everything, and equals `version`
        when nothing changed.
    """
    layout = json.dumps(drawn["layout"], sort_keys=True, allow_nan=False)
    styles = {trace["uid"]: _style(trace) for trace in drawn["data"]}
    arrays = {trace["uid"]: (trace["x"], trace["y"]) for trace in drawn["data"]}
    # Numbers never repeat, or a browser would take a whole figure for the message it holds already.
    number = int(before.version.rsplit(":", 1)[1]) + 1 if before else 0
    if whole or (before is not None and list(before.styles) != list(styles)):
        before = None
    traces = [_trace(uid, styles[uid], arrays[uid], before) for uid in styles]
    moved = before is None or layout != before.layout or any(len(trace) > 1 for trace in traces)
    if before is not None and not moved:
        return {"version": before.version, "base": before.version}, before
    version = f"{session}:{number}"
    made: dict[str, Any] = {"version": version, "base": before.version if before else None, "traces": traces}
    if before is None or layout != before.layout:
        made["layout"] = drawn["layout"]
    return made, Sent(version, layout, styles, arrays)


def _style(trace: Mapping[str, Any]) -> str:
    plain = {key: value for key, value in trace.items() if key not in _ARRAYS}
    return json.dumps(plain, sort_keys=True, allow_nan=False)


def _trace(uid: str, style: str, arrays: tuple[np.ndarray, np.ndarray], before: Sent | None) -> dict[str, Any]:
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
