"""The frame of every page: page settings, navigation from the pages' cards, errors as sentences.

Why here and not in `app.py`: Streamlit takes a folder `pages/` beside the running script for its own old kind
of navigation and would serve a page without its frame when a link to it is the first thing asked for.
"""

from __future__ import annotations

from collections import defaultdict

import streamlit as st

from cggm_core import catalog
from cggm_core.cards import PageCard
from cggm_core.ui import session, theme_css
from cggm_core.ui.safe import sentences

SIDEBAR_WIDTH = 208


def pages() -> dict[str, list[st.Page]]:
    """Every page under `pages/` by section, in the order of the cards; the first one is the start page."""
    folder = catalog.FOLDERS["page"][0]
    cards: list[PageCard] = sorted(catalog.all_cards("page").values(), key=lambda card: (card.order, card.name))
    sections: dict[str, list[st.Page]] = defaultdict(list)
    known: dict[str, st.Page] = {}
    for card in cards:
        known[card.name] = st.Page(
            folder / f"{card.name}.py", title=card.title, icon=card.icon or None, url_path=card.name,
            default=card is cards[0], help=card.summary,
        )  # fmt: skip
        sections[card.section].append(known[card.name])
    session.know_pages(known)
    return dict(sections)


def main() -> None:
    """Draw the frame, then the page the address asks for."""
    st.set_page_config("CGGM Lab", theme_css.MARK, layout="wide", initial_sidebar_state=SIDEBAR_WIDTH)
    theme_css.apply()
    page = st.navigation(pages())
    with sentences():
        page.run()


# Streamlit runs this file as its main script; a test may also import it.
if __name__ == "__main__":
    main()
