from __future__ import annotations

import csv
import io
import math
from dataclasses import replace

import pandas as pd
import pytest

from cggm_core.names import MetricKey
from cggm_core.store import RunInfo, Summary
from cggm_core.ui import runs_facts, runs_table
from cggm_core.ui.runs_facts import facts_of

RUN_ID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


def summary(last: float, high: float | None = None) -> Summary:
    return Summary(last, 9, 0.0, 0, last if high is None else high, 5, 10, 0)


def info(**given: object) -> RunInfo:
    config = {"dataset": "digits_views", "method": "cggm", "preset": "paper", "training": {"seed": 3}}
    scores = {
        MetricKey("val_score"): summary(0.8, 0.9),
        MetricKey("val_unimodal_score", "audio"): summary(0.7),
        MetricKey("val_unimodal_score", "image"): summary(0.4),
    }
    base = RunInfo(RUN_ID, "running", "", config, 49, 4, 100, 10, 1.7e9, 1.7e9, name="mine", tags=("t",))
    base = replace(base, summary=scores)
    return replace(base, **given)  # type: ignore[arg-type]


def row(*columns: str, **given: object) -> pd.Series:
    return runs_table.frame([facts_of(info(**given))], columns or runs_table.FIRST).iloc[0]


def test_a_row_says_how_a_run_stands() -> None:
    shown = row()
    assert shown["state"] == ["● running"]
    assert (shown["progress"], shown["score"], shown["unimodal"]) == (50.0, 0.8, "audio 0.70 · image 0.40")
    assert (shown["name"], shown["dataset"], shown["way"], shown["seed"]) == (
        "mine", "digits_views", "cggm · paper", 3)  # fmt: skip
    assert shown["tags"] == ["t"]


def test_other_columns_are_shown_when_chosen() -> None:
    config = {"method_params": {"rho": 1.5, "lam": "x"}, "training": {"lr": 0.01, "batch_size": 32}, "model": "late"}
    shown = row("best", "each", "rho", "lam", "lr", "batch_size", "model", config=config)
    assert (shown["best"], shown["m:audio"], shown["m:image"]) == (0.9, 0.7, 0.4)
    assert (shown["rho"], shown["lr"], shown["batch_size"], shown["model"]) == (1.5, 0.01, 32, "late")
    assert pd.isna(shown["lam"])


def test_the_modality_relied_on_is_read_first_and_many_are_counted() -> None:
    scores = {MetricKey("val_unimodal_score", f"m{i}"): summary(i / 10) for i in range(9)}
    assert row(summary=scores)["unimodal"].startswith("m8 0.80 · m7 0.70")
    assert row(summary=scores)["unimodal"].endswith("and 3 more")


def test_what_is_missing_stays_empty() -> None:
    shown = row(config={}, summary={}, steps=0, name="", step=-1)
    assert shown["name"] == RUN_ID[-8:]
    assert all(pd.isna(shown[name]) for name in ("seed", "progress", "score"))


def test_a_score_that_is_no_number_is_not_shown() -> None:
    shown = row("score", "best", summary={MetricKey("val_score"): summary(math.nan, math.inf)})
    assert pd.isna(shown["score"])
    assert pd.isna(shown["best"])


@pytest.mark.parametrize("config", [{"dataset": 3, "training": {"seed": "x"}}, {"training": [1]}, {"method": None}])
def test_a_foreign_configuration_does_no_harm(config: dict[str, object]) -> None:
    assert len(runs_table.frame([facts_of(info(config=config))], list(runs_table.COLUMNS))) == 1


def test_a_run_that_ended_badly_says_why_in_place_of_scores() -> None:
    shown = row(damaged="run.db is torn", reason="other")
    assert shown["state"] == ["▲ damaged"]
    assert shown["unimodal"] == row("remark", damaged="run.db is torn")["remark"] == "run.db is torn"
    assert row(state="failed", reason="loss is NaN")["unimodal"] == "loss is NaN"
    assert row(state="stopped", reason="by hand")["unimodal"].startswith("audio")


def test_marks_stand_before_the_tags_and_a_pin_before_the_name() -> None:
    shown = row(sample=True, archived=True, pinned=True)
    assert shown["tags"] == ["sample", "archived", "t"]
    assert shown["name"] == "★ mine"


def test_of_a_data_file_only_the_name_is_shown() -> None:
    assert runs_facts.dataset_of(info(config={"dataset": "/home/me/secret/mine.npz"})) == "mine.npz"
    assert runs_facts.dataset_of(info(config={"dataset": "C:\\me\\mine.npz"})) == "mine.npz"


def test_csv_holds_every_score_and_no_formula() -> None:
    raw = runs_table.to_csv(
        [facts_of(info(name="=cmd()", notes="+1", tags=("@x",))), facts_of(info(name="-", summary={}))]
    )
    rows = list(csv.DictReader(io.StringIO(raw.decode())))
    assert rows[0]["val_unimodal_score[audio]"] == "0.7"
    assert rows[0]["id"] == RUN_ID
    assert (rows[0]["name"], rows[0]["notes"], rows[0]["tags"]) == ("'=cmd()", "'+1", "'@x")
    assert rows[1]["name"] == "'-"
    assert rows[1]["val_score"] == ""


def test_columns_are_described_for_every_column_shown() -> None:
    facts, columns = [facts_of(info())], list(runs_table.COLUMNS)
    described = runs_table.column_config(facts, columns)
    assert set(runs_table.frame(facts, columns).columns) <= set(described)
    assert set(columns) - {"each"} <= set(described)
    assert len(set(runs_table.COLUMNS.values())) == len(columns)


def test_the_first_columns_fit_a_page_of_1440_pixels() -> None:
    described = runs_table.column_config([facts_of(info())])
    ticks, room = 36, 1082
    assert ticks + sum(described[name]["width"] for name in runs_table.FIRST) <= room
