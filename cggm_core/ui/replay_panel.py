"""What-if replay on a page: a setting is chosen, its coefficients appear over the real ones at once."""

from __future__ import annotations

import streamlit as st

from cggm_core.analysis import replay
from cggm_core.analysis.replay import Setting
from cggm_core.figures.replay import replayed, told
from cggm_core.store import RunReader
from cggm_core.ui.panels import figure_card
from cggm_core.ui.remade import remade
from cggm_core.ui.safe import md

HALF_LIVES = (0, 1, 2, 5, 10, 20, 50, 100, 200)
EPSILONS = (0.0, 1e-8, 1e-4, 1e-3, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)
_HEIGHT = 150


def replay_panel(reader: RunReader, key: str = "replay") -> None:
    """Controls and figure; `replay_panel(session.reader(run_id))` is all a page needs.

    Args:
        reader: of the run.
        key: beginning of the widgets' keys, unique on the page.
    """
    info = reader.info()
    logged = remade(reader, f"{key}.logged", replay.recorded)
    if len(logged.modalities) < 2 or not len(logged.step):
        st.info("A replay needs the scores of two unimodal classifiers or more, and this run records none.",
                icon=":material/info:")  # fmt: skip
        return
    own = replay.own_setting(info.config)
    setting = _chosen(own or Setting(), f"{key}.{reader.run_id}", soft=bool(logged.soft.shape[1]))
    changed = replay.rho_by_step(logged.step, setting.rho, reader.events()) if own == setting else None
    wanted = replay.replay(logged.scores_of(setting), setting, changed)
    figure_card(replayed(logged, wanted, setting.variant), key=f"{key}.figure", height=90 + _HEIGHT * wanted.shape[1])
    if logged.applied.shape[1]:
        st.caption(f"Applied: {md(told(replay.health(logged.applied)), 300)}.")
    st.caption(f"Replayed: {md(told(replay.health(wanted)), 300)}.")


def _chosen(own: Setting, key: str, *, soft: bool) -> Setting:
    """What the widgets say; they begin with the run's own setting.

    Args:
        own: the run's, or any other.
        key: beginning of the widgets' keys.
        soft: whether the run logged continuous scores, so that they can be chosen.
    """
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        variant = st.segmented_control(
            "Formula", list(replay.VARIANTS), default=own.variant, key=f"{key}.variant", required=True,
        )  # fmt: skip
        variant = variant or own.variant
        rho = st.number_input(
            "ρ (rho)", min(0.01, own.rho), replay.MOST_RHO, own.rho, 0.05, key=f"{key}.rho", width=130,
            format="%.2f" if own.rho >= 0.01 else "%.3g",
            help="Scale of the coefficient: towards 0 encoders stand still.",
        )  # fmt: skip
        soft = soft and st.toggle(
            "Continuous score", own.soft, key=f"{key}.soft",
            help="Gains of the score that this run logged without the steps of a count: probability of the right "
            "class, exp(-|error|/spread), soft Dice.",
        )  # fmt: skip
        if variant == "stable":
            span = st.number_input("span", 2, replay.MOST_SPAN, own.span, key=f"{key}.span", width=130,
                                   help="Steps over which scores are smoothed.")  # fmt: skip
            return Setting("stable", float(rho), int(span), soft=soft)
        half_life = st.select_slider(
            "Smoothing of the scores, half-life in steps", HALF_LIVES, 0, key=f"{key}.half_life", width=310,
            format_func=lambda steps: "none" if steps == 0 else str(steps),
        )  # fmt: skip
        default = replay.RELEASED_EPSILON if variant == "released" else 0.0
        epsilon = st.select_slider(
            "Epsilon", EPSILONS, default, key=f"{key}.{variant}.epsilon", width=220,
            format_func=lambda value: f"{value:g}",
            help="paper: a sum of gains up to this size keeps the last coefficient; released: what is added to the "
            "sum of gains.",
        )  # fmt: skip
    return Setting(variant, float(rho), own.span, float(half_life), float(epsilon), soft)
