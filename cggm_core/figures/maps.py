"""The gradient map (paper Fig. 4), and the numbers that judge it along training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from cggm_core.embedding.gradients import FloatArray, Gradients
from cggm_core.embedding.pairing import Pairing
from cggm_core.figures import theme
from cggm_core.figures.spec import FigureSpec, Line, Panel

SYMBOLS = {"classifier": "circle", "unimodal": "diamond", "fused": "cross"}
NUMBERS = {
    "cosine": ("Paired cosine", "Mean cosine of a batch's classifier gradient with its unimodal gradient."),
    "centred": ("Centred paired cosine", "The same once the snapshot's mean gradient is taken away: what is left is "
                "the single batch."),
    "rank": ("Rank of the right partner", "Share of the other batches that are farther than the partner: 1 when the "
             "partner is always nearest, 0.5 by chance."),
    "cka": ("Debiased CKA", "Whether batches that are alike in one kind are alike in the other: 0 by chance, 1 at "
            "most."),
}  # fmt: skip


def gradient_map(
    points: FloatArray, gradients: Gradients, modalities: Sequence[str], method: str, *,
    window: tuple[int, int] | None = None, partners: bool = False,
) -> FigureSpec:  # fmt: skip
    """The cloud: colour is modality, shape is kind.

    Args:
        points: `[n, 2]`.
        gradients: what the points are.
        modalities: in the run's order, which decides colours.
        method: how the map was made, in words.
        window: snapshots shown, by their first steps; the others are left out, the view stays.
        partners: whether a thin line joins the two gradients of one batch.
    """
    seen = np.ones(len(points), bool)
    if window is not None:
        seen = (gradients.start >= window[0]) & (gradients.start <= window[1])
    lines: list[Line] = []
    for modality in (*modalities, ""):
        own = seen & (gradients.modality == modality)
        colour = theme.modality_colour(modality, modalities)
        if partners and modality:
            lines += _joined(points, gradients, own, modality, colour)
        for kind, symbol in SYMBOLS.items():
            rows = np.flatnonzero(own & (gradients.kind == kind))
            if not (gradients.kind[gradients.modality == modality] == kind).any():
                continue
            name = f"{modality} ({kind})" if modality else "fused"
            told = tuple(f"{name}, step {step}" for step in gradients.step[rows])
            lines.append(Line(name, points[rows, 0], points[rows, 1], "points", colour, group=name, symbol=symbol,
                              told=told, picks=tuple(int(step) for step in gradients.step[rows])))  # fmt: skip
    reach = _reach(points)
    shown = int(seen.sum())
    steps = gradients.step[seen]
    when = f"steps {steps.min()} to {steps.max()}" if shown else "no step"
    panel = Panel("map", "", tuple(lines), y_range=reach, empty="No gradients in this window.")
    return FigureSpec(
        "gradient-map", f"Gradient map, {method}",
        "Each point is one batch: circles are the classifier's gradient, diamonds the true unimodal one, crosses the "
        "fused. Distances between clouds mean nothing, and clouds in which both kinds mix appear without any pairing "
        "as well: read the numbers beside it.",
        f"{method} of {shown} gradients of {len(modalities)} modalities, {when}.", method, (panel,), (), "map",
    )  # fmt: skip


def numbers(history: Mapping[str, Sequence[Pairing]], modalities: Sequence[str], which: str) -> FigureSpec:
    """One number along training, a line a modality, its interval as a band and its null dotted.

    Args:
        history: windows by modality.
        modalities: in the run's order.
        which: one of `NUMBERS`.
    """
    title, meaning = NUMBERS[which]
    lines: list[Line] = []
    last = []
    for modality, windows in history.items():
        found = [(one, getattr(one, which)) for one in windows if one.pairs]
        x = np.array([(one.first + one.last) / 2 for one, _ in found])
        value, low, high, null = (
            np.array([getattr(number, name) for _, number in found]) for name in ("value", "low", "high", "null_high")
        )
        colour = theme.modality_colour(modality, modalities)
        dash = theme.modality_dash(modality, modalities)
        lines += [
            Line(f"{modality}, interval", x, value, "band", colour, group=modality, legend=False, low=low, high=high),
            Line(
                f"{modality}, shuffled", x, null, "raw", colour, width=1.2, group=modality, legend=False, markers=True
            ),
            Line(modality, x, value, "line", colour, dash, 2.0, modality, markers=True),
        ]
        if len(value) and math.isfinite(value[-1]):
            last.append(f"{modality} {value[-1]:.2f}")
    panel = Panel(which, title, tuple(lines), neutral=0.5 if which == "rank" else 0.0,
                  neutral_label="chance" if which == "rank" else "0: unrelated",
                  empty="Too few batches: four of one snapshot are needed.")  # fmt: skip
    return FigureSpec(
        f"pairing-{which}", f"{title} over training",
        f"{meaning} The area is its 95 % interval; the faint line is the upper end of what shuffled partners give: "
        "only a number above it says that the cheap gradient knows of the single batch.",
        f"{title} by modality along training. Last: {', '.join(last) or 'none'}.", "Step", (panel,),
    )  # fmt: skip


def _joined(points: FloatArray, gradients: Gradients, own: np.ndarray, modality: str, colour: str) -> list[Line]:
    cheap, true = (np.flatnonzero(own & (gradients.kind == kind)) for kind in ("classifier", "unimodal"))
    _, at, other = np.intersect1d(gradients.step[cheap], gradients.step[true], return_indices=True)
    if not len(at):
        return []
    gaps = np.full((len(at), 2), np.nan)
    trio = np.stack([points[cheap[at]], points[true[other]], gaps], axis=1).reshape(-1, 2)
    return [Line(f"{modality}, partners", trio[:, 0], trio[:, 1], "raw", colour, width=0.8, legend=False,
                 group=f"{modality} (classifier)")]  # fmt: skip


def _reach(points: FloatArray) -> tuple[float, float] | None:
    """The view's height, the same for every window of one map."""
    if not len(points):
        return None
    low, high = float(points[:, 1].min()), float(points[:, 1].max())
    pad = 0.06 * (high - low) or 1.0
    return low - pad, high + pad
