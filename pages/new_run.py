"""A run, or a matrix of methods and seeds, out of the cards of data sets, models and methods."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from cggm_core import catalog, launch
from cggm_core.analysis import durations
from cggm_core.cards import DatasetCard, MethodCard, ModelCard, PageCard
from cggm_core.config import AUTO, TRAINING_PARAMS, RunConfig, Training, preset_values, run_preset
from cggm_core.errors import CggmError, ConfigError
from cggm_core.ui import checking, forms, method_shelf, preset_panel, queue_panel, session
from cggm_core.ui.safe import md, plain, sentences

CARD = PageCard(
    name="new_run",
    title="New run",
    summary="Choose data, model and methods, see every setting explained, start one run or a matrix.",
    icon=":material/add_circle:",
    order=20,
    section="",
)

OWN_FILE = "own data"
FIRST = ("epochs", "batch_size", "lr", "optimiser")
MOST_RUNS, COMMANDS_SHOWN = 500, 12
STARTING, QUEUED, FAILED = "new.starting", "new.queued", "new.failed"
Choice = tuple[str, str]


def choose_data() -> tuple[str, dict[str, Any], DatasetCard | None]:
    """Data set and its knobs; the card is None for a file."""
    cards: dict[str, DatasetCard] = catalog.all_cards("dataset")
    start = preset_panel.data_start()
    names = [*cards, OWN_FILE]
    with st.container(border=True):
        st.header("Data", anchor=False)
        first = OWN_FILE if start.path else start.name or RunConfig.dataset
        name = st.selectbox(
            "Data set", names, names.index(first), key=start.key("new.dataset"), label_visibility="collapsed",
            format_func=lambda n: f"{n} · {cards[n].title}" if n in cards else "Own file or folder",
        )  # fmt: skip
        if name == OWN_FILE:
            path = st.text_input(
                "Path of the file or folder", start.path, key=start.key("new.path"),
                placeholder="/home/me/data/mine.npz",
                help="On the computer the app runs on: .npz, a MOSI, MOSEI or IEMOCAP pickle, or another form that "
                "the README names under Data formats; it is only read.",
            )  # fmt: skip
            return path.strip(), {}, None
        card = cards[name]
        st.caption(
            f"{md(card.summary, 400)} {card.task.capitalize()}. "
            f"Train / validation / test: {md(card.samples, 120)}. Licence: {md(card.licence, 60)}."
        )
        values = {}
        if card.params:
            with st.expander("Settings of the data set"):
                own = card.resolve(dict(start.params) if name == start.name else {})
                values = forms.knobs(card.params, start.key(f"new.dataset.{name}"), own)
        return name, values, card


def choose_model(data: tuple[str, dict[str, Any], DatasetCard | None]) -> tuple[str, dict[str, Any], ModelCard | None]:
    """Model and its knobs, of the models that fit the data; for a file, `auto` fits whatever is in it."""
    cards: dict[str, ModelCard] = catalog.all_cards("model")
    task = str(data[1].get("task", data[2].task)) if data[2] else ""
    names = [AUTO, *cards] if data[2] is None else [name for name, card in cards.items() if task in card.tasks]
    names.sort(key=lambda name: name != AUTO and task not in cards[name].default_for)
    start = preset_panel.start()
    with st.container(border=True):
        st.header("Model", anchor=False)
        name = st.selectbox(
            "Model", names, names.index(start.model) if start.model in names else 0,
            key=start.key(f"new.model.{task or 'file'}"), label_visibility="collapsed",
            format_func=lambda n: f"{n} · {cards[n].title if n in cards else 'the one for the task of the file'}",
        )  # fmt: skip
        if name == AUTO:
            return name, {}, None
        card = cards[name]
        st.caption(md(card.summary, 400))
        values = {}
        if card.params:
            with st.expander("Settings of the model"):
                first = card.resolve(dict(start.model_params) if name == start.model else {})
                values = forms.knobs(card.params, start.key(f"new.model.{name}"), first)
        return name, values, card


def choose_methods(data: DatasetCard | None) -> dict[Choice, dict[str, Any]]:
    """Methods with a preset each, and the knobs of every one of them; a run preset that was applied comes first."""
    cards: dict[str, MethodCard] = catalog.all_cards("method")
    start = preset_panel.start()
    choices = [(name, start.preset) for name in cards] if start.preset else []
    choices += method_shelf.choices()
    chosen = [(name, start.preset) for name in start.methods if start.preset and name in cards]
    method, preset = start.advised
    advised = [choice for choice in choices if choice[0] == method and preset in ("", choice[1])][:1]
    usual = chosen or advised or [choice for choice in choices if choice[0] == "cggm"][:1] or choices[:1]
    key = start.key("new.methods")
    # Set once and not as `default`: the shelf sets it too, and Streamlit wants one side to.
    st.session_state.setdefault(key, usual)
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.header("Methods", anchor=False, width="content")
            if st.button(f"Browse all {len(cards)}", icon=":material/menu_book:", key="new.methods.browse",
                         help="What each does, needs and costs, by where it acts"):  # fmt: skip
                method_shelf.browse(key, data)
        picked = st.multiselect(
            "Methods", choices, key=key, placeholder="Choose one or several: type a name",
            format_func=lambda c: cards[c[0]].title + (f" · {c[1]}" if c[1] else ""), label_visibility="collapsed",
        )  # fmt: skip
        st.caption("Each is trained with every seed. Joint training is the reference for all others.")
        return {choice: method_knobs(cards[choice[0]], choice[1]) for choice in picked}


def method_knobs(card: MethodCard, preset: str) -> dict[str, Any]:
    """What a method is, and its knobs as the preset sets them."""
    st.markdown("### " + md(card.title) + (f" · {md(preset)}" if preset else ""))
    run = run_preset(card, preset)
    text = f"knobs as {run.title} has them" if run else card.preset(preset).text if preset else ""
    about = [card.summary, text and f"{text[:1].upper()}{text[1:]}.", card.paper and f"{card.paper}."]
    st.caption(md(" ".join(part for part in about if part), 800))
    if card.cost != "1":
        st.caption(f"Cost beyond joint training, a step: {md(card.cost, 300)}.")
    if not card.params:
        return {}
    key = preset_panel.start().key(f"new.method.{card.name}.{preset}") if run else f"new.method.{card.name}.{preset}"
    return forms.knobs(card.params, key, card.resolve(preset_values(card, preset)))


def choose_training() -> tuple[dict[str, Any], str]:
    """Settings of the training, the seed apart, and the text of the seeds."""
    first, more = forms.grouped(TRAINING_PARAMS, FIRST)
    start = preset_panel.start()
    prefix = start.key("new.training")
    with st.container(border=True):
        st.header("Training", anchor=False)
        left, right = st.columns([2, 1])
        device = next(p for p in more if p.name == "device")
        values = forms.knobs(first, prefix, start.training)
        seeds = left.text_input(
            "Seeds", "0", key="new.seeds",
            help="One, several (0, 1, 2) or a range (0-4); each method is trained with each seed. A "
            "difference between methods means something only beside the spread over seeds.",
        )  # fmt: skip
        try:
            forms.parse_seeds(seeds)
        except ConfigError as error:
            left.markdown(f":red[{md(error, 300)}]")
        with right:
            values |= forms.knobs([device], prefix, start.training)
        with st.expander("More training settings"):
            rest = [p for p in more if p.name not in ("seed", "device")]
            values |= forms.knobs(rest, prefix, start.training)
    return values, seeds


def choose_words() -> tuple[str, str]:
    """Name and tags."""
    with st.container(border=True):
        st.header("Name and tags", anchor=False)
        left, right = st.columns(2)
        name = left.text_input("Name", key="new.name", max_chars=200, placeholder="Optional")
        tags = right.text_input("Tags", key="new.tags", placeholder="Optional, separated by commas")
    return name, tags


def build(
    data: tuple[str, dict[str, Any], DatasetCard | None], model: tuple[str, dict[str, Any], ModelCard | None],
    methods: Mapping[Choice, dict[str, Any]], training: Mapping[str, Any], seeds: str, words: tuple[str, str],
) -> list[RunConfig]:  # fmt: skip
    """Every run of the matrix, methods within seeds.

    Raises:
        ConfigError: with the first thing that does not fit.
    """
    if not data[0]:
        raise ConfigError("give the path of a data file or folder")
    if data[2] is None and not any(mark in data[0] for mark in "./\\"):
        raise ConfigError(f"give the whole path of a data file or folder, found {plain(data[0], 80)!r}")
    if not methods:
        raise ConfigError("choose at least one method")
    for method, _ in methods:
        if problem := forms.misfit(data[2], model[2], catalog.card("method", method)):
            raise ConfigError(problem)
    numbers = forms.parse_seeds(seeds)
    if len(numbers) * len(methods) > MOST_RUNS:
        raise ConfigError(f"{len(numbers) * len(methods)} runs at once are too many; at most {MOST_RUNS}")
    name, tags = plain(words[0]), forms.split_tags(words[1])
    made = []
    for seed in numbers:
        for (method, preset), knobs in methods.items():
            config = RunConfig(
                dataset=data[0], dataset_params=data[1], model=model[0], model_params=model[1],
                method=method, preset=preset, method_params=knobs,
                training=Training(**{**training, "seed": seed}), tags=tags,
            )  # fmt: skip
            made.append(replace(config, name=matrix_name(name, config, len(methods), len(numbers))))
    return made


def matrix_name(name: str, config: RunConfig, methods: int, seeds: int) -> str:
    """The name given, told apart by what the matrix varies; "" stays ""."""
    parts = [name]
    if methods > 1:
        parts.append(" ".join(part for part in (config.method, config.preset) if part))
    if seeds > 1:
        parts.append(f"seed {config.training.seed}")
    return " · ".join(parts) if name else ""


def summary(configs: Sequence[RunConfig], problem: str) -> None:
    """What would start, what keeps it from starting, and the button."""
    with st.container(border=True, key="new_run_summary"):
        st.header("Start", anchor=False)
        if problem:
            st.error(md(problem, 500), icon=":material/error:")
        else:
            st.markdown(counted(configs))
            st.caption(lasting(configs, int(st.session_state.get("new.slots", launch.slots()))))
        if configs and configs[0].is_file():
            problem = file_verdict(configs[0]) or problem
        side_by_side = 0
        if len(configs) > 1:
            side_by_side = st.number_input(
                "At once", 1, 64, launch.side_by_side(), key="new.slots",
                help="Runs trained side by side. More than the cores can carry makes all of them slower.",
            )  # fmt: skip
        st.button(
            "Start" if len(configs) < 2 else f"Start {len(configs)} runs", type="primary", width="stretch",
            icon=":material/play_arrow:", disabled=bool(problem) or st.session_state.get(STARTING, False),
            on_click=lambda: st.session_state.update({STARTING: True}), key="new.start",
        )  # fmt: skip
        if st.button(
            "Check only", width="stretch", icon=":material/fact_check:", disabled=bool(problem),
            help="Loads the data and builds the model in a process of its own, without training",
        ):  # fmt: skip
            say(checking.check(configs[0]))
        # Taken back before the work begins: whatever interrupts it, nothing is started twice.
        if st.session_state.pop(STARTING, False) and not problem:
            begin(configs, int(side_by_side))
        # Said here, where the eyes are: the queue stands at the top of the page and may be out of sight.
        if said := st.session_state.pop(FAILED, ""):
            st.error(md(said, 800), icon=":material/error:")
        if queued := st.session_state.pop(QUEUED, 0):
            st.success(f"{queued} runs are in the queue above.", icon=":material/check_circle:")
        if configs:
            commands(configs)


def counted(configs: Sequence[RunConfig]) -> str:
    """How many runs this makes, in words."""
    seeds = len({config.training.seed for config in configs})
    methods = len(configs) // seeds
    if len(configs) == 1:
        return "**1 run** of " + str(configs[0].training.epochs) + " epochs."
    what = f"{methods} method{'s' * (methods > 1)} × {seeds} seed{'s' * (seeds > 1)}"
    return f"{what} = **{len(configs)} runs** of {configs[0].training.epochs} epochs each."


def lasting(configs: Sequence[RunConfig], side_by_side: int) -> str:
    """How long that will take, and what says so."""
    found = durations.expected(configs, session.catalogue().runs(), min(side_by_side, len(configs)))
    if math.isnan(found.seconds):
        return "No run on these data with this model has finished here, so how long it takes is not known yet."
    many = f"{found.runs} finished run{'s' * (found.runs > 1)} on these data"
    kind = "" if found.alike else ", in part with other methods"
    where = "; they came with the lab, from another computer" if found.elsewhere else ""
    return f"About {launch.duration(found.seconds)}, judging by {many}{kind}{where}."


def file_verdict(config: RunConfig) -> str:
    """Check a data file at once, show what is in it, and return what is wrong with it; "" if nothing is."""
    # Without the settings of method and training: turning a knob must not have the file read again.
    verdict = checking.check(replace(config, method_params={}, training=Training()))
    say(verdict, with_steps=False)
    return verdict.error


def say(verdict: checking.Verdict, *, with_steps: bool = True) -> None:
    """A verdict on the page."""
    if verdict.error:
        st.error(md(verdict.error, 600), icon=":material/error:")
    else:
        st.success(md(verdict.sentence(with_steps=with_steps), 600), icon=":material/check_circle:")


def begin(configs: Sequence[RunConfig], slots: int) -> None:
    """Start, and go to where the run can be watched; a matrix is watched in the queue."""
    try:
        if len(configs) == 1:
            with st.spinner("The worker loads and checks the data"):
                run_id = launch.start(configs[0], session.runs_root())
            session.go("monitor", run=run_id)
        launch.start_many(configs, session.runs_root(), slots)
        st.session_state[QUEUED] = len(configs)
    except CggmError as error:
        st.session_state[FAILED] = str(error)
    # Drawn anew in both cases: the button was greyed out for the start that is over now.
    st.rerun()


def commands(configs: Sequence[RunConfig]) -> None:
    """The same from a terminal."""
    with st.expander("As a command" if len(configs) == 1 else "As commands"):
        lines = [forms.command_line(config) for config in configs[:COMMANDS_SHOWN]]
        if len(configs) > COMMANDS_SHOWN:
            lines.append(f"# and {len(configs) - COMMANDS_SHOWN} more, one for each method and seed")
        st.code("\n".join(lines), language="bash", wrap_lines=True)


def page() -> None:
    """Queue, form, and what would start beside it."""
    st.title("New run", anchor=False)
    with sentences():
        queue_panel.show()
    form, beside = st.columns([2.1, 1], gap="medium")
    configs: list[RunConfig] = []
    problem = ""
    with form:
        preset_place, data_place, methods_place, model_place = (st.container() for _ in range(4))
        with data_place:
            data = choose_data()
        with methods_place:
            methods = choose_methods(data[2])
        with model_place:
            model = choose_model(data)
        training, seeds = choose_training()
        words = choose_words()
        with preset_place:
            task = str(data[1].get("task", data[2].task)) if data[2] else ""
            preset_panel.panel(preset_panel.Form(training, task, model[0], model[1], methods))
    try:
        configs = build(data, model, methods, training, seeds, words)
    except ConfigError as error:
        problem = str(error)
    with beside:
        summary(configs, problem)


page()
