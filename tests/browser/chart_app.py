"""A page with two live charts that grow by themselves; run by test_chart.py in a real browser."""

import time
from dataclasses import replace

import numpy as np
import streamlit as st

from cggm_core.analysis.series import curve
from cggm_core.figures import dynamics
from cggm_core.figures.view import RunView
from cggm_core.names import MetricKey
from cggm_core.store.protocols import Event
from cggm_core.ui.chart import live_chart

st.set_page_config(layout="wide")
MODALITIES = ("audio", "image", "text")
PERIOD = float(st.query_params.get("period", "0.5"))
LOSE = st.query_params.get("lose", "")


def view(rows: int) -> RunView:
    step = np.arange(rows)
    noise = np.random.default_rng(0)
    curves = {}
    for place, modality in enumerate(MODALITIES):
        score = 0.9 - 0.6 * np.exp(-step / (400.0 * (place + 1))) + 0.05 * noise.standard_normal(5000)[:rows]
        coefficient = 1 / noise.standard_normal(5000)[:rows]
        for name, value in (("unimodal_score", score), ("balance_coefficient", coefficient)):
            curves[MetricKey(name, modality)] = curve(step, step // 100, step * 0.02, value, 20.0)
    events = (Event(0, 150, "set", "rho <b>1.3</b> → 1.6", {}, 3.0),)
    return RunView(curves, MODALITIES, half_life=20.0, steps_per_epoch=100.0, events=events)


@st.fragment(run_every=PERIOD)
def charts() -> None:
    began = st.session_state.setdefault("began", time.monotonic())
    tick = st.session_state["tick"] = st.session_state.get("tick", 0) + 1
    rows = 600 + int(100 * (time.monotonic() - began))
    if LOSE and tick == 4:
        # As if a message had been overtaken: the browser never gets it.
        state = st.session_state["_live_charts"]["scores"]
        state["sent"] = replace(state["sent"], version="never arrived")
    shown = view(min(rows, 5000))
    sizes = [
        live_chart(dynamics.scores(shown), key="scores", height=320, link="run"),
        live_chart(dynamics.coefficients(shown), key="coefficients", height=320, link="run"),
    ]
    st.text(f"tick {tick} bytes {sizes}")


st.title("Charts")
charts()
st.text("the end of the page")
