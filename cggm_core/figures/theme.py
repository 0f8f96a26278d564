"""Colours, dashes and sizes: one colour a modality, everywhere, that colour-blind readers can tell apart.

Okabe and Ito's palette, reordered so that the first three differ most and are legible on white and on black;
yellow comes last because it is faint on white. Dashes repeat the distinction for grey print.
"""

from __future__ import annotations

from collections.abc import Sequence

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")

# Tokens stand for colours that differ between light and dark; the renderer puts the colour in.
FUSED, TEXT, GRID, NEUTRAL, EVENT, WARNING = "@fused", "@text", "@grid", "@neutral", "@event", "@warning"
TONES: dict[str, dict[str, str]] = {
    "light": {
        FUSED: "#16181D", TEXT: "#31333F", GRID: "#E3E5EA", NEUTRAL: "#6B7080", EVENT: "#7A5195",
        WARNING: "#B3261E",
    },
    "dark": {
        FUSED: "#F5F6F8", TEXT: "#E6E8EE", GRID: "#333947", NEUTRAL: "#9AA1B2", EVENT: "#C9A2E8",
        WARNING: "#FF8A80",
    },
}  # fmt: skip
RAW_OPACITY = 0.28
BAND_OPACITY = 0.18


def ordinal_colour(index: int) -> str:
    """Colour of the index-th thing of a kind; after seven they repeat and only the dash differs."""
    return OKABE_ITO[index % len(OKABE_ITO)]


def ordinal_dash(index: int) -> str:
    """Dash of the index-th thing of a kind; changes with every thing, and again when colours repeat."""
    return DASHES[(index + index // len(OKABE_ITO)) % len(DASHES)]


def modality_colour(modality: str, modalities: Sequence[str]) -> str:
    """Colour of a modality by its place among the run's; the fused value ("") stands out from all.

    A pair "m|n" takes the place of its first modality after all single ones.
    """
    if not modality:
        return FUSED
    return ordinal_colour(_place(modality, modalities))


def modality_dash(modality: str, modalities: Sequence[str]) -> str:
    """Dash of a modality; the fused value is drawn solid."""
    return "solid" if not modality else ordinal_dash(_place(modality, modalities))


def _place(modality: str, modalities: Sequence[str]) -> int:
    known = list(modalities)
    return known.index(modality) if modality in known else len(known) + sum(map(ord, modality)) % 7
