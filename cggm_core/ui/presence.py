"""A page that refreshes itself rests while its tab is in the background.

Streamlit's timers run in the browser and go on in tabs nobody sees; a forgotten tab would cost the server what an
open one costs. The browser says when its tab is hidden and when it is shown again; the page runs once each time and
mounts its fragments without, or with, their timers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import streamlit as st

# One line alone would be taken for the name of a file.
_CSS = """
[class*="st-key-presence"] {
  display: none;
}
"""
_JS = """
// Why a moment's patience: switching through tabs shall not run the page for each.
const held = (window.__cggmPresence ??= new WeakMap());
const PATIENCE = 400;

export default function ({ data, parentElement, setStateValue }) {
  const one = held.get(parentElement) ?? {};
  one.known = data.hidden;
  one.say = setStateValue;
  if (!one.listen) {
    one.tell = () => {
      if (one.known === document.hidden) return;
      one.known = document.hidden;
      one.say("hidden", document.hidden);
    };
    one.listen = () => {
      clearTimeout(one.waiting);
      one.waiting = setTimeout(one.tell, document.hidden ? PATIENCE : 0);
    };
    document.addEventListener("visibilitychange", one.listen);
    held.set(parentElement, one);
  }
  one.listen();
  return () => {
    document.removeEventListener("visibilitychange", one.listen);
    clearTimeout(one.waiting);
    held.delete(parentElement);
  };
}
"""


def every(seconds: float | None, key: str = "presence") -> float | None:
    """What to give a fragment as `run_every`: `seconds` while the page can be seen, None while its tab is hidden.

    Call it outside of fragments, where the page itself runs.

    Args:
        seconds: between refreshes; None where nothing refreshes, then nothing is mounted either.
        key: begins with "presence"; one for each call of a page.
    """
    if seconds is None:
        return None
    known = st.session_state.get(key)
    hidden = bool(known.get("hidden")) if known else False
    said = _component()(key=key, data={"hidden": hidden}, default={"hidden": hidden}, on_hidden_change=_run_again)
    return None if said.hidden else seconds


def _run_again() -> None:
    """Streamlit keeps a state value only where somebody listens to it."""


@cache
def _component() -> Callable[..., Any]:
    return st.components.v2.component("cggm_presence", html="<span></span>", css=_CSS, js=_JS, isolate_styles=False)
