"""Chips of states can be read in both themes: the table writes black on them in light, white in dark."""

from __future__ import annotations

import pytest

from cggm_core.ui import queue_panel, runs_table

READABLE = 4.5


def luminance(colour: str) -> float:
    """Of a hexadecimal colour, as WCAG 2 has it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colour", sorted({c for _, c in (*runs_table.STATES.values(), *queue_panel._STATES.values())}))
def test_black_and_white_letters_can_be_read_on_every_chip(colour: str) -> None:
    bright = luminance(colour)
    assert (bright + 0.05) / 0.05 >= READABLE
    assert 1.05 / (bright + 0.05) >= READABLE


def test_a_chip_too_dark_for_black_letters_is_seen() -> None:
    assert (luminance("#00795A") + 0.05) / 0.05 < READABLE
