"""Colours, dashes and sizes: one colour a modality, everywhere, that colour-blind readers can tell apart.

Okabe and Ito's palette, reordered so that the first three differ most; their yellow, faint on white, is a
dark ochre here. Dashes repeat the distinction for grey print.
"""

from __future__ import annotations

from collections.abc import Sequence

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D1F")
# The same hues, light enough for a dark page.
_ON_DARK = ("#56B4E9", "#F08A4B", "#2FBF93", "#E0A3C8", "#F0B94A", "#3D8FD1", "#CDB57A")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
RAW_OPACITY = 0.28
BAND_OPACITY = 0.18

# Tokens stand for colours that differ between light and dark; the renderer puts the colour in.
FUSED, TEXT, GRID, NEUTRAL, EVENT, WARNING = "@fused", "@text", "@grid", "@neutral", "@event", "@warning"
PAPER = "@paper"


def faded(colour: str) -> str:
    """A colour for filling a band under lines."""
    if colour == FUSED:
        return f"rgba(128,128,128,{BAND_OPACITY})"
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{BAND_OPACITY})"


TONES: dict[str, dict[str, str]] = {
    "light": {
        FUSED: "#16181D", TEXT: "#31333F", GRID: "#E3E7EC", NEUTRAL: "#5B6770", EVENT: "#7A5195",
        WARNING: "#B3261E", PAPER: "rgba(255,255,255,0.8)",
    },
    "dark": {
        FUSED: "#F5F6F8", TEXT: "#E4E9EF", GRID: "#2C3641", NEUTRAL: "#9AA7B4", EVENT: "#C9A2E8",
        WARNING: "#FF8A80", PAPER: "rgba(18,23,29,0.75)",
        **dict(zip(OKABE_ITO, _ON_DARK, strict=True)),
        **{faded(light): faded(dark) for light, dark in zip(OKABE_ITO, _ON_DARK, strict=True)},
    },
}  # fmt: skip


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
