from __future__ import annotations

import re
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cggm_core.ui.safe import SHOWN, md, plain

JOINER = "\u2060"
# What Streamlit's own passes look for in finished text nodes, after escapes are gone: emoji and icon short
# codes, bare addresses, arrows and other typographical pairs.
LATE = re.compile(
    r":[\w+-]+:|:material/\w+:|https?://|www\.|[-.\w+]+@[-\w]+\.|<->|->|<-|--|>=|<=|~=|:\w+\[", re.IGNORECASE
)
PIECES = st.sampled_from(
    ["![x](http://a.b/c)", "<img src=x>", ":material/home:", ":smile:", "$x$", "$$", ":red[", "]", "www.a.b",
     "WWW.a.b", "https://a.b", "a@b.cd",
     "->", "<->", "--", ">=", "# ", "- ", "1. ", "> ", "```", "|", "\n", "\t",
     "    ", "\u202e", "\u2060", "\x00", "\\", "&amp;", "*", "_", "~~", "[a]: b", "---", "===", "<!--"]
)  # fmt: skip
TEXTS = st.one_of(st.text(max_size=300), st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=30).map("".join))


def unescaped(text: str) -> str:
    return re.sub(r"\\([" + re.escape(string.punctuation) + "])", r"\1", text)


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_escaped_text_reads_as_it_was_typed_and_does_nothing_else(text: str) -> None:
    made = md(text)
    assert unescaped(made).replace(JOINER, "") == plain(text)
    bare = re.sub(r"\\[" + re.escape(string.punctuation) + "]", "", made)
    assert not set(bare) & set(string.punctuation), "a sign of Markdown stands without its backslash"
    assert not LATE.search(unescaped(made))
    assert "\n" not in made
    assert made == made.strip()


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.integers(1, 50))
def test_text_is_cut_to_the_limit_and_says_so(text: str, limit: int) -> None:
    shown, whole = plain(text, limit), plain(text, 100_000)
    assert len(shown) <= limit
    assert shown == whole or shown.endswith("…")


@pytest.mark.parametrize("value", [None, 3, 0.5, True, ["a", "*b*"], {"x": "<b>"}])
def test_anything_can_be_shown(value: object) -> None:
    assert unescaped(md(value)).replace(JOINER, "") == str(value)


def test_ten_thousand_emoji_stay_short() -> None:
    assert len(plain("\N{FAMILY}" * 10_000)) == SHOWN
    assert len(md("*" * 10_000)) == 2 * SHOWN - 1


def test_an_error_of_the_lab_becomes_its_sentence() -> None:
    from streamlit.testing.v1 import AppTest

    def script() -> None:
        from cggm_core.errors import StoreError
        from cggm_core.ui.safe import sentences

        with sentences():
            raise StoreError("run *x* cannot be read")

    at = AppTest.from_function(script).run()
    assert not at.exception
    assert at.error[0].value == r"run \*x\* cannot be read"
