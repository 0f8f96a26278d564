import base64
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from cggm_core.analysis.series import curve
from cggm_core.errors import ConfigError
from cggm_core.figures import comparison, dynamics, screen, theme
from cggm_core.figures.print import rendered
from cggm_core.figures.spec import FigureSpec, Line, Panel
from cggm_core.figures.view import RunView
from cggm_core.names import MetricKey
from cggm_core.store.protocols import Event

MODALITIES = ("audio", "image", "text 2")
FUSED = ("loss", "task_loss", "direction_loss", "score", "val_score")
EVENTS = (
    Event(0, 0, "start", "training starts", {}, 0.0),
    Event(1, 40, "set", "rho 1.3 → 2 <b>![x](http://evil.example)</b>", {"rho": 2.0}, 4.0),
    Event(2, 60, "warning", "checkpoint not written", {}, 6.0),
)


def view(rows: int = 200, half_life: float = 5.0, axis: str = "step") -> RunView:
    rng = np.random.default_rng(0)
    step = np.arange(rows)
    curves = {}
    for metric in dynamics.DRAWN:
        for modality in ("",) if metric in FUSED else MODALITIES:
            value = np.abs(rng.standard_normal(rows)) + 0.1
            curves[MetricKey(metric, modality)] = curve(step, step // 50, step * 0.1, value, half_life)
    return RunView(curves, MODALITIES, axis, 50.0, half_life, EVENTS, 0.1)  # type: ignore[arg-type]


ALL = tuple(dynamics.FIGURES)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("rows", [0, 1, 200])
def test_drawing_is_deterministic_json(name: str, rows: int) -> None:
    first, second = (screen.to_json(screen.figure(dynamics.FIGURES[name](view(rows)))) for _ in range(2))
    assert first == second
    assert set(json.loads(first)) == {"data", "layout"}


@pytest.mark.parametrize("name", ALL)
def test_no_data_gives_a_figure_that_says_so(name: str) -> None:
    spec = dynamics.FIGURES[name](RunView({}, ()))
    drawn = screen.figure(spec)
    texts = [note["text"] for note in drawn["layout"]["annotations"]]
    assert any(panel.empty in texts for panel in spec.panels)
    assert drawn["data"] == []
    assert len(spec.table()) == 0
    assert rendered(spec, "svg")


def test_one_point_is_drawn_and_said() -> None:
    spec = dynamics.validation(view(1))
    assert "One point so far." in [note["text"] for note in screen.figure(spec)["layout"]["annotations"]]


def test_a_modality_has_one_colour_and_one_dash_in_every_figure() -> None:
    seen: dict[str, set[str]] = {}
    for spec in dynamics.run_figures(view()):
        for panel in spec.panels:
            for line in panel.lines:
                if line.group in MODALITIES:
                    seen.setdefault(line.group, set()).add(line.colour)
    assert seen == {m: {theme.OKABE_ITO[i]} for i, m in enumerate(MODALITIES)}


def test_colours_do_not_depend_on_which_modalities_were_recorded() -> None:
    some = view()
    only = RunView({k: c for k, c in some.curves.items() if k.modality != "audio"}, MODALITIES)
    assert dynamics.update_ratios(only).panels[0].lines[0].colour == theme.OKABE_ITO[1]


@pytest.mark.parametrize("name", ALL)
def test_every_event_is_a_line_in_every_panel_and_ends_are_not(name: str) -> None:
    spec = dynamics.FIGURES[name](view())
    shapes = [s for s in screen.figure(spec)["layout"]["shapes"] if s["name"].startswith("event")]
    assert [s["x0"] for s in shapes] == [40.0, 60.0] * len(spec.panels)
    assert [s["name"] for s in shapes[:2]] == ["event set", "event warning"]


def test_event_text_cannot_become_markup() -> None:
    hover = [
        n["hovertext"] for n in screen.figure(dynamics.scores(view()))["layout"]["annotations"] if "hovertext" in n
    ]
    assert hover[0] == "set: rho 1.3 → 2 &lt;b&gt;![x](http://evil.example)&lt;/b&gt;"


@pytest.mark.parametrize("axis", ["step", "epoch", "seconds"])
def test_events_stand_where_their_step_stands(axis: str) -> None:
    marks = dynamics.scores(view(axis=axis)).marks
    assert [mark.x for mark in marks] == pytest.approx(
        {"step": [40, 60], "epoch": [0.82, 1.22], "seconds": [4, 6]}[axis]
    )


@pytest.mark.parametrize("name", ALL)
def test_no_trace_has_more_points_than_asked_and_extremes_stay(name: str) -> None:
    spec = dynamics.FIGURES[name](view(20_000))
    for limit in (500, screen.MAX_POINTS):
        drawn = screen.figure(spec, max_points=limit)
        assert max(len(trace["y"]) for trace in drawn["data"]) <= limit
        lines = [line for panel in spec.panels for line in panel.lines]
        for line, trace in zip(lines, drawn["data"], strict=True):
            assert np.float32(np.nanmax(line.y)) == trace["y"].max()


def test_arrays_are_compact_and_never_webgl() -> None:
    for spec in dynamics.run_figures(view()):
        for trace in screen.figure(spec)["data"]:
            assert trace["type"] == "scatter"
            assert trace["y"].dtype == np.float32
            assert trace["x"].dtype == np.int32
            assert re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", trace["uid"])


def test_uids_differ_within_a_figure_and_are_the_same_while_it_grows() -> None:
    for name in ALL:
        short, long = (
            [trace["uid"] for trace in screen.figure(dynamics.FIGURES[name](view(rows)))["data"]] for rows in (100, 150)
        )
        assert len(set(short)) == len(short)
        assert short == long


def test_infinite_values_are_gaps_and_huge_ones_do_not_overflow() -> None:
    array = screen.compact(np.array([1.0, np.nan, np.inf, 1e300, -1e38]))
    assert np.isnan(array).tolist() == [False, True, True, True, False]
    assert screen.compact(np.array([2.0**30 + 1]), whole=True).tolist() == [2**30 + 1]


def test_exploding_coefficients_are_clipped_and_the_share_is_said() -> None:
    step = np.arange(1000)
    value = np.where(step % 50 == 0, 1e5, 1.2)
    key = MetricKey("balance_coefficient", "audio")
    made = RunView({key: curve(step, step, step * 1.0, value)}, ("audio",))
    panel = dynamics.coefficients(made).panels[0]
    assert panel.y_range is not None
    assert panel.y_range[1] < 10
    assert panel.y_range[0] < 1.0
    assert panel.note == "2.0 % of the points lie outside this view; they reach from 1.2 to 1e+05."


def test_an_exploding_coefficient_is_shown_whole_on_a_logarithmic_scale() -> None:
    step, value = np.arange(400), np.full(400, 1.3)
    value[7], value[9], value[11] = -5000.0, 1.0, np.nan
    calm = {MetricKey("balance_coefficient", "audio"): curve(step, step // 50, step * 0.1, np.full(400, 1.3))}
    assert len(dynamics.coefficients(RunView(calm, ("audio",))).panels) == 1
    wild = {MetricKey("balance_coefficient", "audio"): curve(step, step // 50, step * 0.1, value)}
    spec = dynamics.coefficients(RunView(wild, ("audio",)))
    assert [panel.scale for panel in spec.panels] == ["linear", "log"]
    assert "% of the points lie outside this view" in spec.panels[0].note
    assert spec.panels[1].y_range == pytest.approx((0.1, 1.3 * 5001))
    assert np.nanmax(spec.panels[1].lines[0].y) == 5001.0
    assert np.isnan(spec.panels[1].lines[0].y[[9, 11]]).all()
    assert rendered(spec, "svg")


def test_hovering_tells_values_with_their_unit_and_the_place_on_the_axis() -> None:
    curves = {MetricKey("score", ""): curve(np.arange(9), np.zeros(9, int), np.arange(9) * 0.5, np.arange(9.0))}
    for axis, said in (("step", "step %{x:,d}"), ("seconds", "%{x:,.1f} s")):
        made = RunView(curves, ("audio",), axis, score="-MAE [points]")  # type: ignore[arg-type]
        drawn = screen.figure(dynamics.scores(made))
        assert drawn["data"][0]["hovertemplate"] == "fused: %{y:.4g} points<extra></extra>"
        assert drawn["layout"]["xaxis"]["unifiedhovertitle"] == {"text": said}


def test_the_neutral_line_of_coefficients_is_at_one() -> None:
    spec = dynamics.coefficients(view())
    shapes = screen.figure(spec)["layout"]["shapes"]
    assert [s["y0"] for s in shapes if s["name"] == spec.panels[0].neutral_label] == [1.0]


def test_raw_stays_faint_behind_smoothed_and_stands_alone_without() -> None:
    roles = [line.role for line in dynamics.scores(view()).panels[0].lines[:2]]
    assert roles == ["raw", "smooth"]
    assert {line.role for line in dynamics.scores(view(half_life=0.0)).panels[0].lines} == {"line"}


def test_alt_text_says_the_newest_values() -> None:
    spec = dynamics.scores(view())
    line = next(line for line in spec.panels[0].lines if line.name == "audio" and line.role == "smooth")
    assert f"audio {line.y[-1]:.4g}" in spec.alt
    assert all(spec.how_to_read.count(".") >= 1 and spec.alt for spec in dynamics.run_figures(view()))


def test_the_table_of_a_figure_holds_what_is_drawn() -> None:
    spec = dynamics.scores(view())
    found = spec.table()
    line = spec.panels[0].lines[0]
    part = found[(found.series == line.name) & (found.role == line.role)]
    assert np.array_equal(part.y.to_numpy(), line.y)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("form", ["pdf", "svg", "png"])
def test_print_gives_the_same_bytes_twice(name: str, form: str) -> None:
    spec = dynamics.FIGURES[name](view())
    assert rendered(spec, form) == rendered(spec, form)  # type: ignore[arg-type]


def test_a_pdf_has_embedded_truetype_fonts_no_picture_and_no_date() -> None:
    made = rendered(dynamics.gradient_norms(view()), "pdf", width=7.0)
    assert b"/FontFile2" in made
    assert b"/Subtype /Image" not in made
    assert b"CreationDate" not in made


def test_an_svg_keeps_text_as_text() -> None:
    made = rendered(dynamics.scores(view()), "svg").decode()
    assert ">Score<" in made
    assert "<dc:date>" not in made


def test_the_axis_says_what_a_score_is_and_in_which_unit() -> None:
    told = replace(view(), score="-MAE [points]")
    assert dynamics.scores(told).panels[0].y_label == "Score: -MAE [points]"
    assert dynamics.validation(told).panels[0].y_label == "Validation score: -MAE [points]"


def test_names_of_users_are_printed_as_they_are() -> None:
    key = MetricKey("unimodal_score", "a_b $x^")
    step = np.arange(5)
    made = RunView({key: curve(step, step, step * 1.0, step * 0.1)}, ("a_b $x^",))
    assert "a_b $x^" in rendered(dynamics.scores(made), "svg").decode()


def test_logarithmic_axes_are_printed_as_numbers_and_what_is_left_out_is_said() -> None:
    assert "mathdefault" not in rendered(dynamics.gradient_norms(view()), "svg").decode()
    step = np.arange(1000)
    key = MetricKey("balance_coefficient", "audio")
    curves = {key: curve(step, step, step * 1.0, np.where(step % 50 == 0, 1e5, 1.2))}
    made = rendered(dynamics.coefficients(RunView(curves, ("audio",))), "svg", width=7.0).decode()
    assert "2.0 % of the points lie outside" in made
    assert "1: unchanged" in made


@pytest.mark.parametrize("width", [3.4, 7.0])
def test_a_legend_of_long_names_stays_on_the_paper(width: float) -> None:
    x = np.arange(3.0)
    lines = tuple(Line(f"{'name of a configuration ' * 3}{n}", x, x + n) for n in range(4))
    text = rendered(FigureSpec("k", "t", "h", "a", "x", (Panel("p", "y", lines),)), "svg", width=width).decode()
    entries = re.findall(r'<text[^>]* x="([0-9.]+)"[^>]*>(name of[^<]*)<', text)
    assert len(entries) == 4
    for at, name in entries:
        assert len(name) <= 44
        assert float(at) + 3.6 * len(name) < 72 * width


def test_what_the_font_has_no_shape_for_is_a_square_and_a_leading_underscore_no_secret() -> None:
    x = np.arange(3.0)
    lines = (Line("_a", x, x), Line("\N{FAMILY}\u202eb", x, x))
    made = rendered(FigureSpec("k", "t", "h", "a", "x", (Panel("p", "y", lines),)), "svg").decode()
    assert "> _a<" in made
    assert "\N{WHITE SQUARE}b" in made


def test_print_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ConfigError, match="pdf, svg or png, not 'gif'"):
        rendered(dynamics.scores(view()), "gif")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="1 to 40 inches"):
        rendered(dynamics.scores(view()), width=0.1)


def compared(seeds: int, **kind: object) -> FigureSpec:
    x = np.arange(10.0)
    members = tuple((x, x * 0.1 + seed) for seed in range(seeds))
    groups = [comparison.Group("joint", -1, members), comparison.Group("cggm", 0, members)]
    return comparison.compared(groups, MetricKey("val_score"), **kind)  # type: ignore[arg-type]


def test_a_band_is_two_edges_behind_its_line_and_n_is_said() -> None:
    drawn = screen.figure(compared(3))["data"]
    assert [t.get("fill", "") for t in drawn] == ["", "tonexty", ""] * 2
    assert drawn[2]["name"] == "joint (n = 3)"
    assert drawn[2]["line"]["color"] == theme.FUSED
    assert drawn[5]["line"]["color"] == theme.OKABE_ITO[0]
    # Standard deviation of 0, 1, 2 is 1.
    assert drawn[0]["y"][0] == pytest.approx(2.0)


def test_one_seed_draws_no_band_and_members_are_faint() -> None:
    assert len(screen.figure(compared(1))["data"]) == 2
    drawn = screen.figure(compared(2, members=True))["data"]
    assert sum(trace.get("opacity") == theme.RAW_OPACITY for trace in drawn) == 4
    assert rendered(compared(3), "pdf") == rendered(compared(3), "pdf")


def test_json_arrays_are_plotlys_own_form() -> None:
    found = json.loads(screen.to_json(screen.figure(dynamics.scores(view(10)))))["data"][0]["y"]
    assert found["dtype"] == "f4"
    assert len(base64.b64decode(found["bdata"])) == 40


def test_tokens_are_resolved_for_both_pages() -> None:
    drawn = screen.figure(dynamics.scores(view()))
    for mode in ("light", "dark"):
        assert '"@' not in screen.to_json(screen.resolved(drawn, mode))


def test_every_line_without_a_group_stands_in_the_legend_and_no_nameless_shape_does() -> None:
    x = np.arange(3.0)
    lines = tuple(Line(name, x, x) for name in ("one", "two"))
    spec = FigureSpec("k", "t", "h", "a", "x", (Panel("p", "y", lines, neutral=1.0), Panel("q", "y", lines)))
    drawn = screen.figure(spec)
    assert [trace["showlegend"] for trace in drawn["data"]] == [True, True, False, False]
    assert not any(shape.get("showlegend") for shape in drawn["layout"]["shapes"])
