"""Gradients of classifiers against the true unimodal ones: a map, and the numbers without which it proves nothing."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import streamlit as st

from cggm_core.cards import PageCard
from cggm_core.embedding.gradients import KINDS, Gradients
from cggm_core.embedding.pairing import Pairing
from cggm_core.embedding.project import FEWEST, METHODS
from cggm_core.embedding.verdict import RULE, Standing
from cggm_core.embedding.verdict import answer as answered
from cggm_core.figures.maps import NUMBERS, gradient_map, numbers
from cggm_core.store import ENDED, RunInfo
from cggm_core.ui import maps, session
from cggm_core.ui.panels import figure_card
from cggm_core.ui.pickers import pick_run
from cggm_core.ui.safe import md, plain, sentences

CARD = PageCard(
    name="gradient_map",
    title="Gradient map",
    summary="Classifier gradients against true unimodal gradients, mapped and judged by numbers with their nulls.",
    icon=":material/scatter_plot:",
    order=50,
    section="One run",
    alias=("t-SNE", "UMAP", "embedding", "snapshots"),
)

HEIGHT = 520
BESIDE = (8, 5)  # shares of the map and of the answer; a narrow page puts them under each other
LOOK_SECONDS = 0.5
FRAME_SECONDS = 0.8
WIDTHS = (1, 2, 3, 5)
BADGES: dict[Standing, str] = {
    "closely": "green", "partly": "blue", "hardly": "orange", "on average only": "orange", "not": "red",
    "against": "red", "unknown": "gray",
}  # fmt: skip
History = dict[str, tuple[Pairing, list[Pairing]]]


def main() -> None:
    """The page."""
    st.title("Gradient map")
    info = pick_run("map.run")
    if info is None:
        st.info("There is no run to show. Start one on the page New run, or choose one above.",
                icon=":material/info:")  # fmt: skip
        return
    living = info.state not in ENDED and not info.damaged
    if info.damaged:
        st.error(f"The file of this run cannot be trusted: {md(info.damaged, 400)}.", icon=":material/broken_image:")
        return
    with sentences():
        reader = session.reader(info.id)
        held = maps.kept(reader, living=living)
        if living:
            while_it_runs(info, held.token != reader.change_token())
        if len(held.gradients) < FEWEST:
            how_to_get_some(info, living)
            return
        show(info, held.gradients)


def while_it_runs(info: RunInfo, changed: bool) -> None:
    """What can be done while training goes on."""
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Take a snapshot now", icon=":material/photo_camera:", disabled=info.state != "running"):
            maps.take_one(info)
            st.toast("Asked for; the worker keeps the gradients of its next batches.")
        if st.button("Read new snapshots", icon=":material/refresh:", disabled=not changed):
            maps.refresh()
            st.rerun()
        st.caption(f"This run is {info.state}; the map shows what was kept when it was read.")


def how_to_get_some(info: RunInfo, living: bool) -> None:
    """No gradients: what to do."""
    what = "This run has kept no gradients, or too few for a map."
    if living:
        text = f"{what} Take a snapshot now, then read it; the schedule of the run may bring more."
    elif info.state in ("died", "stopped", "failed"):
        text = f"{what} It has {info.state}; resume it on the page Monitor, or start a run with snapshots on."
    else:
        text = f"{what} New runs keep some unless the setting snapshots is off; start one on the page New run."
    st.info(text, icon=":material/info:")


def show(info: RunInfo, everything: Gradients) -> None:
    """Choice, map, numbers, verdict."""
    modalities = tuple(dict.fromkeys(str(m) for m in everything.modality if m))
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        method = st.segmented_control("Method", list(METHODS), default="tsne", key="map.method", required=True,
                                      format_func=lambda name: METHODS[name]) or "tsne"  # fmt: skip
        kinds = st.pills("Kinds", KINDS, selection_mode="multi", default=["classifier", "unimodal"], key="map.kinds")
        wanted = st.multiselect("Modalities", modalities, default=modalities, format_func=plain, width=320,
                                key=f"map.modalities.{info.id}")  # fmt: skip
    starts = [int(step) for step in everything.starts()]
    first, last = starts[0], starts[-1]
    if len(starts) > 1:
        first, last = st.select_slider("Snapshots from step to step", starts, (first, last), key=f"map.steps.{info.id}")
    chosen = everything.chosen(kinds=kinds, modalities=wanted, first=first, last=last).thinned()
    window = everything.chosen(modalities=wanted, first=first, last=last)
    left, right = st.columns(BESIDE, gap="small")
    with left:
        if len(chosen) < FEWEST:
            st.info(f"{len(chosen)} gradients are chosen, and a map needs {FEWEST}; choose more kinds or modalities.",
                    icon=":material/info:")  # fmt: skip
        else:
            the_map(info, chosen, modalities, method)
        kept(chosen)
    with right:
        history = answer(window, wanted)
    along_training(history, modalities)


def kept(chosen: Gradients) -> None:
    """How many gradients the map is of, and in what form they were kept."""
    size, short = chosen.original, chosen.vectors.shape[1]
    how = f"; {size:,} numbers each, kept as projections of {short:,}, which moves a cosine by 0.03 to 0.04"
    st.caption(
        f"{len(chosen):,} gradients of {len(np.unique(chosen.step)):,} batches, each taken to length 1"
        f"{how if size > short else ''}."
    )


def the_map(info: RunInfo, chosen: Gradients, modalities: tuple[str, ...], method: str) -> None:
    """The map, or how far it is."""
    key, status = maps.ask(chosen, method, 0)  # type: ignore[arg-type]
    if status.state == "working":
        st.fragment(waiting, run_every=LOOK_SECONDS)(key, chosen, method)
        return
    if status.state != "ready":
        words = md(status.stage, 500) if status.state == "failed" else "The map was cancelled."
        st.warning(words, icon=":material/info:")
        if st.button("Make the map", icon=":material/refresh:"):
            maps.again(key)
            st.rerun()
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        playing = st.toggle("Play over training", key="map.play")
        partners = st.toggle("Join partners", key="map.partners", help="A line between the two gradients of one batch.")
    draw = st.fragment(frame, run_every=FRAME_SECONDS if playing else None)
    draw(info.id, key, chosen, modalities, method, playing, partners)


def waiting(key: str, chosen: Gradients, method: str) -> None:
    """Progress and a way out."""
    with sentences():
        _, status = maps.ask(chosen, method, 0)  # type: ignore[arg-type]
        if status.state != "working":
            st.rerun(scope="app")
        st.progress(min(1.0, status.done), f"Making the map: {plain(status.stage, 80)}")
        if st.button("Cancel", icon=":material/close:", key="map.cancel"):
            maps.cancel(key)
            st.rerun(scope="app")


def frame(
    run_id: str, key: str, chosen: Gradients, modalities: tuple[str, ...], method: str, playing: bool, partners: bool
) -> None:  # fmt: skip
    """One picture of the film; all windows share one map, so what is left out is all that changes."""
    with sentences():
        points = maps.shown(key, chosen, method, run_id)  # type: ignore[arg-type]
        if points is None:
            st.warning("The kept map could not be read and is made again.", icon=":material/refresh:")
            st.rerun(scope="app")
            return
        starts = [int(step) for step in chosen.starts()]
        window = None
        if playing:
            place = int(st.session_state.get("map.frame", -1)) + 1
            place = 0 if place >= len(starts) else place
            st.session_state["map.frame"] = place
            window = (starts[place], starts[place])
            st.progress((place + 1) / len(starts), f"Snapshot at step {starts[place]:,}")
        else:
            st.session_state["map.frame"] = -1
        spec = gradient_map(points, chosen, modalities, METHODS[method], window=window, partners=partners)  # type: ignore[index]
        figure_card(spec, key="map.figure", height=HEIGHT, max_points=2000, on_pick=maps.pick)
        step = maps.picked()
        if step is not None and (chosen.step == step).any():
            said = cosines_at(chosen, modalities, step)
            st.caption(f"Step **{step:,}**: {md(said, 300)}")
        else:
            st.caption("Click a point to see its step.")


def cosines_at(chosen: Gradients, modalities: tuple[str, ...], step: int) -> str:
    """Cosine of partners at one step, in words."""
    words = []
    for modality in modalities:
        cheap, true, steps, _ = chosen.pairs(modality)
        row = np.flatnonzero(steps == step)
        if len(row):
            words.append(f"{modality} {float(cheap[row[0]] @ true[row[0]]):.2f}")
    return f"cosine of classifier and unimodal gradient: {', '.join(words)}" if words else "no partner is shown"


def answer(window: Gradients, wanted: list[str]) -> History:
    """The question, answered a modality; the numbers behind it."""
    found: History = {}
    with st.container(border=True):
        st.markdown("**Does the classifier's gradient stand for the true one?**", help=RULE)
        width = st.segmented_control("Snapshots a window, along training", WIDTHS, default=1, key="map.width",
                                     required=True) or 1  # fmt: skip
        for modality in wanted:
            found[modality] = maps.judged(window, modality, width)
            said = answered(*found[modality])
            with st.container(gap="xxsmall"):
                with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                    st.markdown(f"**{md(modality, 60)}**", width="content")
                    st.badge(said.standing, color=BADGES[said.standing])  # type: ignore[arg-type]
                st.markdown(said.said)
                st.caption(f"{said.numbers} {said.course}")
        if not wanted:
            st.caption("Choose a modality.")
    return found


def along_training(history: History, modalities: tuple[str, ...]) -> None:
    """One number over the steps, and all numbers as a table."""
    which = st.segmented_control("Number", list(NUMBERS), default="cosine", key="map.number", required=True,
                                 format_func=lambda name: NUMBERS[name][0]) or "cosine"  # fmt: skip
    windows = {modality: along for modality, (_, along) in history.items()}
    figure_card(numbers(windows, modalities, which), key="map.history", max_points=2000)
    rows = []
    for modality, (whole, _) in history.items():
        for name, (label, _) in NUMBERS.items():
            number = getattr(whole, name)
            rows.append({
                "Modality": plain(modality, 60), "Number": label, "Value": finite(number.value),
                "95 % interval": f"{number.low:.3f} to {number.high:.3f}" if math.isfinite(number.low) else "",
                "Shuffled": finite(number.null), "p": finite(number.p),
            })  # fmt: skip
    st.dataframe(
        pd.DataFrame(rows), hide_index=True, key="map.numbers", height="content", alt="Numbers of every modality",
        column_config={
            "Value": st.column_config.NumberColumn(format="%.3f"),
            "Shuffled": st.column_config.NumberColumn(format="%.3f", help="The mean with partners shuffled"),
            "p": st.column_config.NumberColumn(format="%.4f", help="Share of shuffles that reach the value"),
        },
    )  # fmt: skip


def finite(value: float) -> float | None:
    """A number for a table; nothing where it is not defined."""
    return value if math.isfinite(value) else None


main()
