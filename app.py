"""The frame of the app: page settings, navigation from the pages' cards, errors as sentences.

Start with `streamlit run app.py`. A page is added by adding one file under `pages/`.
"""

from __future__ import annotations

from collections import defaultdict

import streamlit as st

from cggm_core import catalog
from cggm_core.cards import PageCard
from cggm_core.ui import theme_css
from cggm_core.ui.safe import sentences


def pages() -> dict[str, list[st.Page]]:
    """Every page under `pages/` by section, in the order of the cards; the first one is the start page."""
    folder = catalog.FOLDERS["page"][0]
    cards: list[PageCard] = sorted(
        catalog.all_cards("page").values(), key=lambda card: (card.order, card.name)
    )
    sections: dict[str, list[st.Page]] = defaultdict(list)
    for card in cards:
        page = st.Page(
            folder / f"{card.name}.py", title=card.title, icon=card.icon or None, url_path=card.name,
            default=card is cards[0], help=card.summary,
        )  # fmt: skip
        sections[card.section].append(page)
    return dict(sections)


def main() -> None:
    """Draw the frame, then the page the address asks for."""
    st.set_page_config(page_title="CGGM Lab", page_icon=theme_css.MARK, layout="wide")
    theme_css.apply()
    page = st.navigation(pages())
    with sentences():
        page.run()


main()
