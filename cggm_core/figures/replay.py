"""Coefficients another setting would have given, drawn over those that were applied."""

from __future__ import annotations

import numpy as np

from cggm_core import names
from cggm_core.analysis.replay import Health, Recorded
from cggm_core.analysis.series import FloatArray, robust_window
from cggm_core.figures import theme
from cggm_core.figures.spec import FigureSpec, Line, Panel


def replayed(recorded: Recorded, wanted: FloatArray, name: str) -> FigureSpec:
    """One panel a modality, all with one view of the y axis.

    Args:
        recorded: what the run logged.
        wanted: replayed coefficients, `[T, M]`.
        name: of the setting replayed, in words.
    """
    x = recorded.step.astype(np.float64)
    has_own = recorded.applied.shape[1] == wanted.shape[1]
    together = np.concatenate([wanted, recorded.applied]) if has_own else wanted
    window = robust_window(together, keep=0.9, include=(1.0,))
    view = None if window is None else (window.low, window.high)
    outside = int(((together < window.low) | (together > window.high)).any(1).sum()) if window else 0
    panels = []
    for place, modality in enumerate(recorded.modalities):
        colour = theme.modality_colour(modality, recorded.modalities)
        lines = [Line(f"{modality}: {name}", x, wanted[:, place], colour=colour, width=1.4)]
        if has_own:
            lines.insert(0, Line("applied", x, recorded.applied[:, place], colour=theme.NEUTRAL, dash="dot", width=1.1,
                                 group="applied"))  # fmt: skip
        note = f"{outside:,} values of all panels lie outside this view." if outside and place == 0 else ""
        panels.append(Panel(modality, "B", tuple(lines), y_range=view, neutral=1.0, note=note,
                            neutral_label="1: unchanged" if place == 0 else ""))  # fmt: skip
    if not panels:
        panels = [Panel("replay", "B", (), empty="This run records no unimodal scores.")]
    means = ", ".join(f"{m} {np.nanmean(wanted[:, i]):.3g}" for i, m in enumerate(recorded.modalities) if len(wanted))
    label = names.metric("balance_coefficient").label
    return FigureSpec(
        "replay", f"{label}: what if",
        "Coloured: the coefficient this setting would have given for the scores that were logged; dotted: the one "
        "that was applied. With other coefficients the training itself would have gone another way, so this judges "
        "the formula, not the result.",
        f"{label} replayed with {name} over the one applied. Means: {means or 'none'}.", "Step", tuple(panels),
    )  # fmt: skip


def told(health: Health) -> str:
    """A history's health in words."""
    largest = "not finite" if not np.isfinite(health.largest) else f"{health.largest:.3g}"
    return (
        f"negative at {100 * health.negative:.1f} % of the steps, above 5 in size at {100 * health.large:.1f} %, "
        f"largest {largest}, mean {health.mean:.3g}"
    )
