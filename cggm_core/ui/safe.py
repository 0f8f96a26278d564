"""Text that people typed, made harmless for the page.

Why two forms: labels, captions, titles, toasts and messages are Markdown, so text is escaped for them (`md`);
table cells, options of select boxes and `st.text` show what they are given, where escapes would be seen
(`plain`). A name that reached a Markdown surface unescaped would load remote images and show foreign links.
"""

from __future__ import annotations

import contextlib
import re
import string
from collections.abc import Iterator

import streamlit as st

from cggm_core.config import clean_text
from cggm_core.errors import CggmError

SHOWN = 200
# Emoji and icon names, bare addresses and arrows are replaced after Markdown was parsed, where a backslash
# no longer protects; a word joiner (no width, no break) takes the pattern apart instead.
_JOINER = "\u2060"
_SPECIAL = re.compile("[" + re.escape(string.punctuation) + "]")
_APART = re.compile(r"(?<=:)(?=\S)|(?<=[wW]{3})(?=\.)|(?=@)|(?<=[-<>=~])(?=[-<>=~])")


def plain(text: object, limit: int = SHOWN) -> str:
    """`text` on one line for places that show text as it is: control and direction characters dropped.

    Args:
        text: anything; `str()` of it is shown.
        limit: most characters shown; what is longer ends in an ellipsis.
    """
    line = " ".join(clean_text(str(text), 4 * limit + 400, lines=True).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def md(text: object, limit: int = SHOWN) -> str:
    """`text` escaped for Markdown: it is shown letter by letter and can neither format nor load nor link.

    Args:
        text: anything; `str()` of it is shown.
        limit: most characters shown, escapes not counted; what is longer ends in an ellipsis.
    """
    pieces = _APART.split(plain(text, limit))
    return _JOINER.join(_SPECIAL.sub(r"\\\g<0>", piece) for piece in pieces)


@contextlib.contextmanager
def sentences() -> Iterator[None]:
    """Show an error of the lab's own kind as its sentence instead of failing.

    The frame wraps every page in it; a fragment needs its own, because it runs again without the frame.
    """
    try:
        yield
    except CggmError as error:
        st.error(md(error, 800), icon=":material/error:")
