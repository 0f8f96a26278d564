"""The paper's Fig. 5 and Tables 5 and 6 on data of one's own choice: start them, watch them fill, read them."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import streamlit as st

from cggm_core import catalog, launch, names
from cggm_core.analysis import ablation, ablation_tables
from cggm_core.analysis.ablation import PAPER_VALUES, SYMBOLS, Family, Filled, Knob, Work
from cggm_core.analysis.scores import key_label
from cggm_core.cards import DatasetCard, MethodCard, PageCard
from cggm_core.config import TRAINING_PARAMS, RunConfig, preset_values
from cggm_core.errors import CggmError, ConfigError
from cggm_core.figures.ablation import swept
from cggm_core.names import MetricKey
from cggm_core.store import RunInfo
from cggm_core.ui import ablation_panel as panel
from cggm_core.ui import forms, presence, queue_panel, session
from cggm_core.ui.panels import figure_card
from cggm_core.ui.safe import md, plain, sentences

CARD = PageCard(
    name="ablation",
    title="Ablation",
    summary="Sweeps of ρ and λ and the components of CGGM against joint training: start, watch, read with spread.",
    icon=":material/tune:",
    order=70,
    section="Several runs",
    alias=("sweep", "rho", "lambda", "components", "Fig. 5", "Table 5", "Table 6"),
)

NEW = "new"
SEEDS, REFRESH_SECONDS = "0-2", 3.0
MOST_VALUES = 30
HEIGHT = 460
NEW_SETTINGS = ("epochs", "batch_size", "lr", "optimiser", "device")


@dataclass(frozen=True)
class Chosen:
    """What the page is about.

    Attributes:
        base: CGGM whose knobs are varied, in its family.
        seeds: asked for.
    """

    base: RunConfig
    seeds: tuple[int, ...]


def works(dataset: str = "") -> list[Work]:
    """Runs and queued jobs that may belong to an ablation; of one data set, where one is named."""
    infos = session.catalogue().runs()
    if dataset:
        infos = tuple(info for info in infos if info.config.get("dataset") == dataset)
    return [*ablation.works(infos), *panel.queued(launch.queue_state(session.runs_root()))]


def choose(found: Sequence[Family]) -> Chosen:
    """Data and settings, CGGM's preset and knobs, seeds; all of it stands in the address.

    Raises:
        ConfigError: for a value that does not fit.
    """
    titles = {**panel.family_names(found), NEW: "Other data or settings …"}
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
            # A choice is kept by its label: where a label changes the widget begins anew, at what the address names.
            labels = zlib.crc32("\n".join(titles.values()).encode("utf-8", "replace"))
            word = st.selectbox("Data, model and training", list(titles), first_family(found), width=460,
                                key=f"ablation.data.{labels}", format_func=lambda w: titles[w])  # fmt: skip
            put("data", word)
            preset = st.selectbox("CGGM preset", presets(), preset_place(), key="ablation.preset", width=150,
                                  on_change=forget_knobs)  # fmt: skip
            card: MethodCard = catalog.card("method", "cggm")
            values = card.resolve(preset_values(card, preset))
            knobs = {
                knob: st.number_input(
                    forms.title(card.param(knob)), value=asked_number(knob, float(values[knob])), format="%.6g",
                    step=0.1 if knob == "rho" else 0.05, key=f"ablation.{knob}.{preset}", width=120,
                    help=f"Held at this while the other is swept, and in Tables 5 and 6. "
                    f"{forms.help_text(card.param(knob))}",
                )
                for knob in PAPER_VALUES
            }  # fmt: skip
            seeds = st.text_input(
                "Seeds", st.query_params.get("seeds", SEEDS), key="ablation.seeds", width=110,
                help="Asked of every place; runs with other seeds that are there count too.",
            )  # fmt: skip
        family = new_family() if word == NEW else next(one.config for one in found if one.word == word)
    put("cggm", "" if preset == presets()[0] else preset)
    put("seeds", "" if seeds == SEEDS else seeds)
    for knob, number in knobs.items():
        put(knob, "" if number in (None, values[knob]) else f"{number:g}")
    return Chosen(ablation.base_of(family, preset, knobs), tuple(forms.parse_seeds(seeds)))  # type: ignore[arg-type]


def new_family() -> RunConfig:
    """Data and training that no run has yet, made from the cards.

    Raises:
        ConfigError: for a value outside its range.
    """
    cards: dict[str, DatasetCard] = catalog.all_cards("dataset")
    wholes = {"": "None", **{name: card.title for name, card in catalog.all_cards("preset").items()}}
    with st.container(horizontal=True, vertical_alignment="top", gap="small"):
        name = st.selectbox("Data set", list(cards), list(cards).index(RunConfig.dataset), width=260,
                            key="ablation.new.dataset",
                            format_func=lambda n: f"{n} · {cards[n].title}")  # fmt: skip
        whole = st.selectbox("Settings of the paper's Table 7", list(wholes), key="ablation.new.preset",
                             format_func=lambda n: wholes[n], width=220)  # fmt: skip
    base = RunConfig.from_dict({"dataset": name, "preset": whole})
    listed, _ = forms.grouped(TRAINING_PARAMS, NEW_SETTINGS)
    values = forms.knobs(listed, f"ablation.new.{whole}", forms.vars_of(base.training))
    st.caption("A file of your own, or other knobs of data and model: train one run of it on the page New run; it is "
               "listed here from then on.")  # fmt: skip
    return replace(base.with_settings(values), preset="")


def first_family(found: Sequence[Family]) -> int:
    """Place of the family the address names, by itself or by a run; else of the fullest one; last is a new one."""
    asked = st.query_params.get("data", "")
    if asked == NEW:
        return len(found)
    run = st.query_params.get("run", "").strip().upper()
    for place, family in enumerate(found):
        if family.word == asked or (run and not asked and any(w.info and w.info.id == run for w in family.works)):
            return place
    return 0


def presets() -> list[str]:
    """Names of CGGM's presets."""
    return [preset.name for preset in catalog.card("method", "cggm").presets]


def preset_place() -> int:
    """Place of the preset the address names; 0 where it names none."""
    asked = st.query_params.get("cggm", "")
    return presets().index(asked) if asked in presets() else 0


def asked_number(knob: str, usual: float) -> float:
    """A knob as the address has it, else as the preset has it."""
    try:
        return float(st.query_params.get(knob, usual))
    except ValueError:
        return usual


def forget_knobs() -> None:
    """Another preset begins with its own knobs, whatever the address said before."""
    for knob in PAPER_VALUES:
        put(knob, "")


def put(name: str, value: str) -> None:
    """Write one word of the address; "" takes it away."""
    if value:
        if st.query_params.get(name) != value:
            st.query_params[name] = value
    elif name in st.query_params:
        del st.query_params[name]


def parse_values(text: str, knob: Knob) -> list[float]:
    """Values of a knob out of `0.8, 1, 1.2`, ascending.

    Raises:
        ConfigError: naming the part that is no number, or more than 30 of them.
    """
    parts = [part for part in re.split(r"[,;\s]+", text.strip()) if part]
    param = catalog.card("method", "cggm").param(knob)
    values = []
    for part in parts:
        try:
            values.append(float(str(param.check(float(part)))))
        except ValueError as error:
            raise ConfigError(
                f"values of {SYMBOLS[knob]} must be numbers such as 0.8, 1.2, not {part[:40]!r}"
            ) from error
    if len(values) > MOST_VALUES:
        raise ConfigError(f"{len(values)} values of {SYMBOLS[knob]} are too many; at most {MOST_VALUES}")
    return sorted(set(values))


def results(chosen: Chosen, living: bool) -> None:
    """Everything that fills while runs finish; drawn again by its own timer while any is open."""
    with sentences():
        found = works(chosen.base.dataset)
        word = ablation.known(chosen.base).family
        family = next((one for one in ablation.families(found) if one.word == word), Family(word, chosen.base, ()))
        family = undisturbed(family)
        above = st.container()
        components = ablation.fill(ablation.component_cells(chosen.base), family.works, chosen.seeds)
        table_6(components, family)
        wanted = [*components]
        with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
            st.markdown("**Sweeps** (Fig. 5)")
            key = score(family.finished())
        st.caption(
            "The paper, on IEMOCAP without spread: best at ρ = 1.2, above joint training at every ρ; accuracy falls "
            "slightly at λ = 0.01 and 0.25. Here ρ is swept with magnitude on, λ with direction on."
        )
        grid = st.grid(2, min_column_width=420, gap="small")
        for knob in PAPER_VALUES:
            with grid.cell():
                wanted += figure_5(knob, chosen, family, components[0], key)
        wanted += table_5(chosen, family)
        with above:
            panel.start_missing(wanted, "ablation.all", panel.took(family), everything=True)
    if living and not any(work.standing == "open" for work in family.works):
        # The last run has ended: without this the timer would go on for ever.
        st.rerun()


def score(infos: Sequence[RunInfo]) -> MetricKey:
    """Choice of the score of Fig. 5."""
    by_name = {key.metric: key for key in ablation_tables.score_keys(infos) or [ablation_tables.SCORE]}
    asked = st.query_params.get("score", "")
    name = st.selectbox("Score of the sweeps", list(by_name), list(by_name).index(asked) if asked in by_name else 0,
                        key="ablation.score", width=260,
                        format_func=lambda name: plain(key_label(MetricKey(name)), 80))  # fmt: skip
    put("score", "" if name == next(iter(by_name)) else name)
    return by_name[name]


def table_6(filled: Sequence[Filled], family: Family) -> None:
    """Magnitude, direction, both."""
    named = [key for key in ablation_tables.score_keys(family.finished()) if key.metric.startswith("test_")]
    keys = [key for key in named if key != ablation_tables.SCORE] or named or [ablation_tables.SCORE]
    with st.container(border=True):
        st.markdown("**Components of CGGM** (Table 6)")
        st.caption(f"{panel.standing(filled)} The paper, on IEMOCAP, one number a row and no spread: accuracy 70.74 "
                   "without, 72.35 with magnitude, 72.41 with direction, 73.74 with both.")  # fmt: skip
        panel.start_missing(filled, "ablation.components", panel.took(family))
        if any(one.runs for one in filled):
            table = ablation_tables.component_table(filled, keys)
            panel.table_card(
                table, "ablation.components", "cggm-components", "CGGM's components against joint training"
            )


def figure_5(knob: Knob, chosen: Chosen, family: Family, joint: Filled, key: MetricKey) -> list[Filled]:
    """One knob swept; what was asked for and how full it is."""
    symbol = SYMBOLS[knob]
    usual = ", ".join(f"{value:g}" for value in PAPER_VALUES[knob])
    text = st.text_input(
        f"Values of {symbol}", st.query_params.get(f"{knob}_values", usual), key=f"ablation.{knob}s",
        help=f"At first those of the paper's Fig. 5. Other {symbol} at which a run has finished are drawn too.",
    )  # fmt: skip
    put(f"{knob}_values", "" if text == usual else text)
    with sentences():
        asked = parse_values(text, knob)
        there = ablation.values_there(family.works, chosen.base, knob)
        points = ablation.fill(ablation.sweep_cells(chosen.base, knob, [*asked, *there]), family.works, chosen.seeds)
        wanted = [joint, *(point for point in points if point.cell.value in asked)]
        st.caption(panel.standing(wanted))
        panel.start_missing(wanted, f"ablation.{knob}", panel.took(family))
        if not any(one.runs for one in (joint, *points)):
            return wanted
        sweep = ablation_tables.swept(knob, joint, points, key)
        figure_card(swept(sweep), key=f"ablation.figure.{knob}", height=HEIGHT)
        words = ablation_tables.conclusion(sweep.table)
        st.markdown(md(words, 800) if words else f"Nothing to compare yet: no finished run at any of these {symbol}.")
        with st.expander("Table of the sweep"):
            label = names.metric(key.metric).label
            panel.table_card(sweep.table, f"ablation.{knob}", f"cggm-sweep-{knob}",
                             f"{label} over {symbol} (Fig. 5)", concluded=False)  # fmt: skip
        return wanted
    return []


def table_5(chosen: Chosen, family: Family) -> list[Filled]:
    """Each modality alone, and its classifier in joint training and in CGGM; how full its places are."""
    card: DatasetCard | None = catalog.all_cards("dataset").get(chosen.base.dataset)
    modalities = family.modalities() or (card.modalities if card else ())
    with st.container(border=True):
        st.markdown("**Classifiers of the modalities** (Table 5)")
        if not modalities:
            st.caption("The names of this data's modalities are known once its first run has finished.")
            return []
        filled = ablation.fill(ablation.classifier_cells(chosen.base, modalities), family.works, chosen.seeds)
        st.caption(
            f"{panel.standing(filled)} Trained alone is the same network with the other features at zero (method "
            "`unimodal`); a classifier reads the features that the whole network learnt. In the paper, on IEMOCAP, all "
            "three classifiers of CGGM do better than those of joint training."
        )
        panel.start_missing(filled, "ablation.classifiers", panel.took(family))
        if not any(one.runs for one in filled):
            return filled
        table = ablation_tables.classifier_table(filled, modalities)
        panel.table_card(table, "ablation.classifiers", "cggm-classifiers",
                         "Each modality alone and its classifier in joint training and in CGGM")  # fmt: skip
        return filled


def undisturbed(family: Family) -> Family:
    """The family without runs whose knobs were changed in mid-training; says so, and where data were not the same."""
    told = {info.id: recorded(info.id) for info in family.finished()}
    altered = {run_id for run_id, (_, changed) in told.items() if changed}
    if altered:
        runs = f"{len(altered)} runs are" if len(altered) > 1 else "One run is"
        st.info(f"{runs} left out: knobs were changed while training, which makes it no run of one setting.",
                icon=":material/tune:")  # fmt: skip
    if warning := panel.mixed_data({run_id: data for run_id, (data, _) in told.items()}):
        st.warning(warning, icon=":material/warning:")
    return ablation.without(family, altered)


@st.cache_data(show_spinner=False, max_entries=5000, scope="session")
def recorded(run_id: str) -> tuple[str, bool]:
    """Fingerprint of the data a finished run was trained on ("" where it does not tell), and whether it was altered."""
    try:
        events = session.reader(run_id).events()
    except CggmError:
        return "", False
    return str(events[0].data.get("data", "")) if events else "", ablation.altered(events)


def page() -> None:
    """Queue, choice, results."""
    st.title("Ablation", anchor=False)
    st.caption("What each part of CGGM does, computed from every finished run that differs in nothing else, whoever "
               "started it. Nothing here is chosen by a test score.")  # fmt: skip
    with sentences():
        queue_panel.show()
        panel.said()
        found = ablation.families(works())
        chosen = choose(found)
        word = ablation.known(chosen.base).family
        living = any(work.standing == "open" for one in found if one.word == word for work in one.works)
        st.fragment(results, run_every=presence.every(REFRESH_SECONDS if living else None))(chosen, living)


page()
