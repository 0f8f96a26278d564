from __future__ import annotations

import csv
import io
import math
from dataclasses import replace

import pandas as pd
import pytest

from cggm_core.names import MetricKey
from cggm_core.store import RunInfo, Summary
from cggm_core.ui import runs_table
from cggm_core.ui.runs_table import Filter

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


def test_a_row_says_how_a_run_stands() -> None:
    row = runs_table.frame([info()]).iloc[0]
    assert row["state"] == ["● running"]
    assert row["progress"] == 50.0
    assert (row["val_score"], row["best"], row["m:audio"], row["m:image"]) == (0.8, 0.9, 0.7, 0.4)
    assert (row["name"], row["dataset"], row["method"], row["preset"], row["seed"]) == (
        "mine", "digits_views", "cggm", "paper", 3)  # fmt: skip


def test_many_modalities_share_one_column() -> None:
    scores = {MetricKey("val_unimodal_score", f"m{i}"): summary(i / 10) for i in range(6)}
    frame = runs_table.frame([info(summary=scores)])
    assert "m0 0.000 · m1 0.100" in frame.iloc[0]["unimodal"]
    assert not [name for name in frame.columns if name.startswith("m:")]


def test_what_is_missing_stays_empty() -> None:
    row = runs_table.frame([info(config={}, summary={}, steps=0, name="", step=-1)]).iloc[0]
    assert row["name"] == RUN_ID[-8:]
    assert pd.isna(row["seed"])
    assert pd.isna(row["progress"])
    assert pd.isna(row["val_score"])


def test_a_score_that_is_no_number_is_not_shown() -> None:
    row = runs_table.frame([info(summary={MetricKey("val_score"): summary(math.nan, math.inf)})]).iloc[0]
    assert pd.isna(row["val_score"])
    assert pd.isna(row["best"])


@pytest.mark.parametrize("config", [{"dataset": 3, "training": {"seed": "x"}}, {"training": [1]}, {"method": None}])
def test_a_foreign_configuration_does_no_harm(config: dict[str, object]) -> None:
    assert len(runs_table.frame([info(config=config)])) == 1


def test_a_damaged_run_says_what_is_wrong() -> None:
    row = runs_table.frame([info(damaged="run.db is torn", reason="other")]).iloc[0]
    assert row["state"] == ["▲ damaged"]
    assert row["remark"] == "run.db is torn"


def test_marks_stand_beside_the_state() -> None:
    assert runs_table.frame([info(sample=True, archived=True)]).iloc[0]["state"][1:] == ["sample", "archived"]


def test_of_a_data_file_only_the_name_is_shown() -> None:
    assert runs_table.dataset_of(info(config={"dataset": "/home/me/secret/mine.npz"})) == "mine.npz"
    assert runs_table.dataset_of(info(config={"dataset": "C:\\me\\mine.npz"})) == "mine.npz"


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        (Filter(), True), (Filter("MINE"), True), (Filter("mine paper"), True),
        (Filter("mine absent"), False), (Filter(RUN_ID[-6:]), True),
        (Filter(states=("running",)), True), (Filter(states=("damaged",)), False),
        (Filter(datasets=("digits_views",)), True), (Filter(methods=("joint",)), False),
    ],
)  # fmt: skip
def test_filters(wanted: Filter, taken: bool) -> None:
    assert wanted.takes(info()) is taken


def test_archived_runs_are_listed_when_asked_for() -> None:
    assert not Filter().takes(info(archived=True))
    assert Filter(archived=True).takes(info(archived=True))


def test_csv_holds_every_score_and_no_formula() -> None:
    raw = runs_table.to_csv([info(name="=cmd()", notes="+1", tags=("@x",)), info(name="-", summary={})])
    rows = list(csv.DictReader(io.StringIO(raw.decode())))
    assert rows[0]["val_unimodal_score[audio]"] == "0.7"
    assert rows[0]["id"] == RUN_ID
    assert (rows[0]["name"], rows[0]["notes"], rows[0]["tags"]) == ("'=cmd()", "'+1", "'@x")
    assert rows[1]["name"] == "'-"
    assert rows[1]["val_score"] == ""


def test_columns_are_described_for_every_column_shown() -> None:
    infos = [info()]
    assert set(runs_table.frame(infos).columns) <= set(runs_table.column_config(infos))
