"""The app. Start it with `streamlit run app.py`; the frame of its pages is `cggm_core/ui/frame.py`.

A page is added by adding one file under `pages/`.
"""

from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from cggm_core import catalog
from cggm_core.ui import deep_links
from cggm_core.ui.headers import KeepToItself

app = st.App(
    Path(__file__).resolve().parent / "cggm_core" / "ui" / "frame.py",
    routes=deep_links.routes(catalog.all_cards("page")),
    middleware=[Middleware(KeepToItself)],
)
