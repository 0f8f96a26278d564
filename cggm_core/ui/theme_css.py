"""The few rules of the look that the theme options cannot express, and the mark; literals of ours only."""

from __future__ import annotations

import streamlit as st

# Two uneven bars on a beam: one modality outweighs the other. An own drawing, because a named icon in this
# place would be fetched from a font server.
MARK = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
    '<rect x="2" y="26" width="28" height="3" rx="1.5" fill="#7A8794"/>'
    '<rect x="5" y="4" width="9" height="20" rx="2" fill="#0072B2"/>'
    '<rect x="18" y="13" width="9" height="11" rx="2" fill="#D55E00"/></svg>'
)
WORD_MARK = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 150 32">'
    '<rect x="2" y="26" width="28" height="3" rx="1.5" fill="#7A8794"/>'
    '<rect x="5" y="4" width="9" height="20" rx="2" fill="#2E86BD"/>'
    '<rect x="18" y="13" width="9" height="11" rx="2" fill="#DB6A1E"/>'
    '<text x="40" y="24" font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" '
    'font-size="18" font-weight="600" fill="#7A8794">CGGM Lab</text></svg>'
)

_RULES = """<style>
[data-testid="stMainBlockContainer"] { max-width: 1680px; }
[data-testid="stMetricValue"], [data-testid="stProgress"], td { font-variant-numeric: tabular-nums; }
h1 { letter-spacing: -0.01em; padding-bottom: 0.25rem; }
/* Streamlit's own 60 % of the text colour has a contrast of 4.2 on white; text this small needs 4.5. */
[data-testid="stCaptionContainer"] {
  max-width: 80ch; opacity: 1; color: color-mix(in srgb, currentcolor 72%, transparent);
}
[data-testid="stExpander"] details > summary { opacity: 1; }
/* One primary colour cannot carry white text and be read on black, and the green of code is made for black. */
[data-variant][data-selected="true"] p,
[data-testid="stSliderThumbValue"] p { color: light-dark(#0069A6, #6BBCEB); }
[data-testid="stApp"] [kind="tertiary"]:is(:hover, :focus, :active, [aria-expanded="true"]) {
  color: light-dark(#0069A6, #6BBCEB);
}
[data-testid="stCode"] .token.string { color: light-dark(#00693F, #3DC79E); }
[data-testid="stColumn"]:has(> * .st-key-new_run_summary) {
  position: sticky; top: 4rem; align-self: flex-start;
}
@media (max-width: 1000px) {
  [data-testid="stHorizontalBlock"]:has(> [data-testid="stColumn"] .st-key-new_run_summary) {
    flex-wrap: wrap;
  }
  [data-testid="stColumn"]:has(~ [data-testid="stColumn"] .st-key-new_run_summary),
  [data-testid="stColumn"]:has(> * .st-key-new_run_summary) { min-width: 100%; }
  [data-testid="stMainBlockContainer"] { padding-left: 1rem; padding-right: 1rem; }
  [data-testid="stHorizontalBlock"]:has(> [data-testid="stColumn"] .cggm-plot) { flex-wrap: wrap; }
  [data-testid="stColumn"]:has(.cggm-plot), [data-testid="stColumn"]:has(~ [data-testid="stColumn"] .cggm-plot) {
    min-width: 100%;
  }
}
@media (prefers-reduced-motion: reduce) {
  * { animation-duration: 0.01ms !important; transition-duration: 0.01ms !important; }
}
</style>"""


def apply() -> None:
    """Put the rules and the word mark on the page; called once by the frame."""
    st.html(_RULES)
    # Menus and dialogs stand outside the element that Streamlit tells its scheme.
    if (scheme := st.context.theme.type) in ("light", "dark"):
        st.html(f"<style>body {{ color-scheme: {scheme}; }}</style>")
    st.logo(WORD_MARK, size="large", icon_image=MARK)
