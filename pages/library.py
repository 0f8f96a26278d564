"""What there is and what it means: cards of every plug-in, the three lines for one's own loop, every number."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from cggm_core import catalog
from cggm_core.cards import Card, PageCard
from cggm_core.ui import shelves, snippets
from cggm_core.ui.safe import md

CARD = PageCard(
    name="library",
    title="Library",
    summary="Methods, data, models, diagnostics, and what each number means; three lines for your own loop.",
    icon=":material/local_library:",
    order=90,
    section="Reference",
    alias=("help", "methods", "watch", "own loop", "glossary", "formats"),
)

OWN_LOOP, NUMBERS = "Your own loop", "Numbers"
SHELVES: dict[str, tuple[tuple[str, str], ...]] = {
    "Methods": (("method", "Method"),),
    "Data": (("dataset", "Data set"), ("format", "Format of your own data")),
    "Models": (("model", "Model"),),
    "Diagnostics": (("diagnostic", "Diagnostic"),),
    "Presets": (("preset", "Preset of a whole run"),),
}
UNLOCKS = (
    ("encoders", "loss, gradient norms, update ratios, throughput"),
    ("and task, with a target at each step",
     "a classifier on each modality's features: unimodal scores and losses, score gains"),
    ("and head, the last layer", "fused score, last-layer gradients and their directions; CGGM"),
    ("method=\"cggm\"", "balancing: each encoder's gradients are scaled; without it no bit of the training changes"),
    ("loss = watch.loss(loss, target) before backward", "CGGM's direction as well"),
    ("fuse=net.fuse, features by modality to the head's input",
     "gradient snapshots for the gradient map; OGM, OGM-GE"),
    ("accumulate=4", "one step of four micro-batches, with one coefficient"),
    ("scaler=, optimiser=", "gradients unscaled before they are measured; the learning rate"),
    ("missing=True", "batches that lack a modality"),
    ("features={\"text\": lambda output: ...}", "features out of an output that the rule does not find"),
    ("watch.validate(target), watch.end_epoch()", "validation scores, fused and of each modality"),
    ("also=[TensorBoardBridge(writer)]", "the same readings in TensorBoard, MLflow or Weights & Biases"),
)  # fmt: skip


FILES = (
    ("Archive", "whole runs for another machine or a reviewer; comes back bit for bit",
     "export RUN ... --to archive --out runs.zip, import runs.zip"),
    ("CSV", "step, epoch, metric, modality, value; every number exact", "export RUN --to csv --out run.csv"),
    ("Parquet", "the same numbers bit for bit, typed; run, configuration and versions in the file's metadata",
     "export RUN --to parquet --out run.parquet"),
    ("TensorBoard", "event files, a folder a run: scalars, events as text, settings as hyperparameters; ours come back "
     "as the same run, anybody's as a finished run with its tags as names",
     "export RUN ... --to tensorboard --out logs, import logs"),
    ("Report", "figures and tables fit for print, with the numbers behind them",
     "export RUN ... --to report --out report.zip"),
)  # fmt: skip


def main() -> None:
    """The page."""
    st.title("Library", anchor=False)
    shelf = st.segmented_control(
        "Shelf", [OWN_LOOP, *SHELVES, NUMBERS], default=OWN_LOOP, key="shelf", bind="query-params", required=True,
        label_visibility="collapsed",
    )  # fmt: skip
    if shelf == NUMBERS:
        numbers()
    elif shelf in SHELVES:
        for kind, label in SHELVES[shelf]:
            cards(kind, label)
        if shelf == "Data":
            files()
    else:
        own_loop()


def own_loop() -> None:
    """The three lines, what each argument unlocks, whole programs."""
    programs = snippets.examples()
    st.markdown(
        "Three lines watch a model of your own in the loop that trains it. The first stands before the loop, the "
        "second after `backward()` and before clipping and the optimiser's step, the third at the end."
    )
    st.code(programs["plain_loop"].lines(), language="python", wrap_lines=True)
    st.caption(
        "The run appears on every page while it trains. Its numbers are those of the lab's own trainer, from the same "
        "code; looking changes no bit of your training."
    )
    st.header("What you give, what you get", anchor=False)
    table(pd.DataFrame(UNLOCKS, columns=["You give", "You get"]))
    st.header("Whole programs", anchor=False)
    # Names and not titles: the address carries what the box shows.
    name = st.selectbox("Program", list(programs), key="program", bind="query-params", width=420)
    chosen = programs[name]
    st.caption(md(chosen.summary, 400))
    st.code(chosen.lines(), language="python", wrap_lines=True)
    with st.expander("The whole program", icon=":material/description:"):
        st.code(chosen.source, language="python", line_numbers=True)
    st.caption(
        f"It is tested as it stands here, and runs as `python -m cggm_core.examples.{chosen.name}`. Callbacks and "
        "loggers need their own packages: `pip install 'cggm-lab[lightning]'`, and so on with transformers, "
        "accelerate, tensorboard, mlflow and wandb."
    )


def cards(kind: str, label: str) -> None:
    """One kind of card: a choice, the chosen card, all of them in a table."""
    found: dict[str, Card] = catalog.all_cards(kind)
    name = st.selectbox(label, list(found), key=f"card_{kind}", bind="query-params", width=420)
    card = found[name]
    with st.container(border=True):
        st.header(md(card.title), anchor=False)
        st.markdown(md(card.summary, 600))
        table(pd.DataFrame(shelves.facts(card).items(), columns=["", " "]), header=False)
        if card.params:
            st.markdown("**Settings**")
            table(shelves.knobs(card.params))
        if card.presets:
            st.markdown("**Presets**")
            rows = [(preset.name, preset.text, shelves.settings(preset.values)) for preset in card.presets]
            table(pd.DataFrame(rows, columns=["Preset", "What it is", "Settings"]))
    with st.expander(f"All in one table ({len(found)})", icon=":material/table_rows:"):
        st.dataframe(shelves.overview(found.values()), hide_index=True, alt=f"{len(found)} cards", key=f"all_{kind}")


def files() -> None:
    """How runs leave the lab and come into it."""
    st.header("Runs as files", anchor=False)
    table(pd.DataFrame(FILES, columns=["Form", "What it is for", "On the command line"]))
    st.caption("On the page Runs: Export, for the ticked runs, and Import. What comes in is checked whole first.")


def numbers() -> None:
    """What every recorded number means."""
    wanted = st.text_input(
        "Search", key="number", bind="query-params", placeholder="gradient, score, every epoch …",
        icon=":material/search:", width=320,
    )  # fmt: skip
    found = shelves.numbers(wanted or "")
    if found.empty:
        st.info("No number fits these words. Clear one to see more.", icon=":material/filter_alt_off:")
        return
    st.caption(
        f"{len(found)} numbers. A score is always higher-is-better; a ratio or coefficient is 1 where nothing happens; "
        "a cosine lies between -1 and 1. val_ is measured on the validation split, test_ once at the end."
    )
    table(found)


def table(frame: pd.DataFrame, *, header: bool = True) -> None:
    """A table to be read: text wraps, and is shown letter by letter."""
    # Two columns need no more room than their text; more of them share the page.
    width = "content" if len(frame.columns) == 2 else "stretch"
    shown = frame.map(lambda text: md(text, 1200))
    st.table(shown, border="horizontal", hide_index=True, hide_header=not header, width=width)


main()
