"""The verdict's rules: each speaks when it should, and is silent when it should not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cggm_core.analysis.verdict import Verdict, diagnose, judge
from cggm_core.analysis.verdict_balance import health
from cggm_core.analysis.verdict_record import Record
from cggm_core.errors import DamagedRunError
from cggm_core.names import MetricKey
from cggm_core.store import Contribution, MemoryRun, RobustnessCurve

NAMES = ("audio", "text", "video")


def look(shapley: tuple[float, ...], epoch: int = 9, error: float = 0.01, **given: Any) -> Contribution:
    """A look whose removal and permutation agree with its Shapley values."""
    count, nobody = len(shapley), 0.1
    everyone = nobody + sum(shapley)
    base: dict[str, Any] = {
        "step": 10 * epoch + 9, "epoch": epoch, "modalities": NAMES[:count], "value": "accuracy", "samples": 400,
        "exact": True, "everyone": everyone, "nobody": nobody, "alone": tuple(nobody + v for v in shapley),
        "without": tuple(everyone - v for v in shapley), "shapley": shapley,
        "covariance": tuple(tuple(error**2 * (i == j) for j in range(count)) for i in range(count)),
        "everyone_error": error, "alone_error": (error,) * count, "without_error": (error,) * count,
        "removal_error": (error,) * count, "permuted": tuple(everyone - v for v in shapley),
        "permuted_error": (error,) * count, "preferred": (0,) * count + (400,),
    }  # fmt: skip
    return Contribution(**(base | given))


def record(*looks: Contribution, alone: tuple[float, ...] = (), **series: Any) -> Record:
    """A run of ten epochs; `alone` are unimodal validation scores, `series` values of a metric by modality."""
    names = looks[-1].modalities if looks else NAMES[: len(alone)]
    values = {MetricKey("val_unimodal_score", m): np.full(10, v) for m, v in zip(names, alone, strict=False)}
    for metric, by_modality in series.items():
        values |= {MetricKey(metric, m): np.asarray(v, float) for m, v in by_modality.items()}
    steps = {key: np.arange(len(value), dtype=np.float64) for key, value in values.items()}
    return Record(names, values, steps, contributions=looks, chance=0.1, samples=400, steps_per_epoch=10.0)


def rules(verdict: Verdict) -> dict[str, str]:
    return {finding.rule: finding.modality for finding in verdict.findings}


def test_a_modality_that_carries_the_prediction_dominates_since_it_began() -> None:
    looks = [look((0.2, 0.2, 0.2), 0), look((0.4, 0.1, 0.1), 1), look((0.5, 0.1, 0.1), 2)]
    said = judge(record(*looks, alone=(0.6, 0.2, 0.2)))
    assert (said.dominant, said.lagging) == ("audio", ("text", "video"))
    found = said.findings[0]
    assert (found.rule, found.severity, found.confidence, found.evidence["since_epoch"]) == (
        "dominant", "warning", "high", 2,
    )  # fmt: skip
    assert found.evidence["share"] == pytest.approx(5 / 7)
    assert "since epoch 2" in said.headline
    assert found.advice


@pytest.mark.parametrize(
    ("shapley", "error"),
    [((0.3, 0.3), 0.01), ((0.3, 0.2), 0.01), ((0.12, 0.05), 0.04), ((0.3, 0.3, 0.3), 0.01), ((0.4, 0.3, 0.0), 0.01)],
)
def test_equals_leaders_and_chance_are_no_dominance(shapley: tuple[float, ...], error: float) -> None:
    said = judge(record(look(shapley, error=error), alone=(0.5,) * len(shapley)))
    assert said.dominant is None
    assert "balanced" in rules(said)


def test_several_leaders_leave_one_behind() -> None:
    said = judge(record(look((0.4, 0.38, 0.02)), alone=(0.5, 0.5, 0.3)))
    assert (said.dominant, said.lagging) == (None, ("video",))
    assert "audio and text carry" in said.headline


def test_redundant_modalities_are_balanced() -> None:
    """Each suffices: removal loses nothing of either, yet neither is unused."""
    found = look((0.4, 0.4), without=(0.9, 0.9), permuted=(0.55, 0.55))
    said = judge(record(found, alone=(0.9, 0.9)))
    assert said.dominant is None
    assert not {"unused", "uninformative", "harmful"} & set(rules(said))
    assert "nothing_wrong" in rules(said)


def test_a_modality_that_knows_as_much_is_underused_not_dominated() -> None:
    said = judge(record(look((0.7, 0.19)), alone=(0.97, 0.9)))
    assert said.dominant is None
    assert rules(said)["underused"] == "text"
    assert judge(record(look((0.7, 0.19)), alone=(0.97, 0.4))).dominant == "audio"


def test_nothing_learnt_is_no_balance() -> None:
    said = judge(record(look((0.005, 0.004)), alone=(0.1, 0.1)))
    assert (said.dominant, said.findings[0].rule) == (None, "nothing_learnt")


def test_unused_and_uninformative_are_told_apart() -> None:
    found = look((0.5, 0.0, 0.3), error=0.002)
    knows, knows_not = (judge(record(found, alone=(0.6, v, 0.4))) for v in (0.5, 0.12))
    assert rules(knows)["unused"] == "text"
    assert rules(knows_not)["uninformative"] == "text"
    assert "unused" not in rules(knows_not)


def test_a_modality_that_makes_it_worse_does_harm() -> None:
    found = look((0.3, 0.3), without=(0.4, 0.8))  # all together 0.7
    said = judge(record(found, alone=(0.5, 0.5)))
    assert rules(said)["harmful"] == "text"
    within = look((0.3, 0.3), without=(0.4, 0.715), error=0.01)
    assert "harmful" not in rules(judge(record(within, alone=(0.5, 0.5))))


def test_overfitting_is_the_gap_of_one_classifier() -> None:
    seen = {"audio": np.full(100, 0.95), "text": np.full(100, 0.6)}
    said = judge(record(look((0.3, 0.3)), alone=(0.4, 0.55), unimodal_score=seen))
    assert [f.modality for f in said.findings if f.rule == "overfitting"] == ["audio"]


def test_fusion_below_its_best_part() -> None:
    found = record(look((0.3, 0.3)), alone=(0.9, 0.5), val_score={"": np.full(10, 0.7)})
    assert rules(judge(found))["fusion_below_best"] == "audio"
    above = record(look((0.3, 0.3)), alone=(0.7, 0.5), val_score={"": np.full(10, 0.705)})
    assert "fusion_below_best" not in rules(judge(above))


def test_where_guessing_is_perfect_already_there_is_no_progress() -> None:
    """Regression with all labels alike: the best constant makes no error."""
    made = record(alone=(0.0, 0.0), val_score={"": np.zeros(10)},
                  unimodal_score={m: np.zeros(100) for m in NAMES[:2]})  # fmt: skip
    said = judge(replace(made, chance=0.0, perfect=0.0))
    assert (said.dominant, said.findings[0].rule) == (None, "no_evidence")
    assert not {"overfitting", "fusion_below_best"} & set(rules(said))


@pytest.mark.parametrize(("fused", "speaks"), [(0.75, False), (0.65, True)])
@pytest.mark.parametrize("looked", [True, False])
def test_a_loss_within_two_standard_errors_of_the_score_is_none(fused: float, speaks: bool, looked: bool) -> None:
    """Binary accuracy 0.8 alone, the standard error 0.04: in progress, where chance is 0.5, both count double."""
    looks = [look((0.3, 0.3), everyone_error=0.04, samples=100)] if looked else []
    made = record(*looks, alone=(0.8, 0.6), val_score={"": np.full(10, fused)})
    said = judge(replace(made, chance=0.5, samples=100))
    assert ("fusion_below_best" in rules(said)) == speaks
    if speaks:
        found = next(f for f in said.findings if f.rule == "fusion_below_best")
        assert found.evidence["standard_error_of_progress"] == pytest.approx(0.08)


def test_in_regression_the_probe_set_s_skill_is_progress_already() -> None:
    looks = look((0.3, 0.3), everyone_error=0.04, value="skill")
    made = record(looks, alone=(-0.4, -1.5), val_score={"": np.full(10, -0.7)})
    said = judge(replace(made, chance=-2.0, perfect=0.0))
    found = next(f for f in said.findings if f.rule == "fusion_below_best")
    assert found.evidence["standard_error_of_progress"] == pytest.approx(0.04)


@pytest.mark.parametrize("broken", [{"everyone": np.nan}, {"nobody": np.inf}, {"shapley": (np.nan, 0.1)},
                                    {"covariance": ((np.nan, 0.0), (0.0, 1e-4))}])  # fmt: skip
def test_a_look_that_is_not_finite_is_no_evidence(broken: dict[str, Any]) -> None:
    said = judge(record(replace(look((0.5, 0.1)), **broken), alone=(0.6, 0.2)))
    assert (said.dominant, said.findings[0].rule, said.findings[0].severity) == (None, "no_evidence", "problem")
    assert "nothing_wrong" not in rules(said)


def test_an_older_look_that_is_not_finite_ends_the_lead_and_a_measure_names_nobody() -> None:
    looks = [look((np.nan, 0.1), 0), look((0.5, 0.1), 1), look((0.5, 0.1), 2, permuted=(np.nan, 0.1))]
    found = judge(record(*looks, alone=(0.6, 0.2))).findings[0]
    assert (found.evidence["since_epoch"], found.evidence["measures"]) == (2, 3)


def test_conflict_needs_more_than_chance() -> None:
    random = np.random.default_rng(0)
    against, noise = random.normal(-0.3, 0.2, 400), random.normal(0.0, 0.05, 400)
    said = judge(record(look((0.3, 0.3)), alone=(0.5, 0.5), pair_cosine={"audio|text": against},
                        direction_cosine={"audio": noise, "text": noise}))  # fmt: skip
    assert [f.modality for f in said.findings if f.rule == "conflicting"] == ["audio"]
    assert next(f for f in said.findings if f.rule == "conflicting").evidence["against"] == "text"


def balanced_by(audio: Any, text: Any, **more: Any) -> Record:
    return record(look((0.3, 0.3)), alone=(0.5, 0.5), balance_coefficient={"audio": audio, "text": text}, **more)


def test_coefficient_health_in_numbers() -> None:
    b = np.tile([1.0, -1.0, 8.0, 0.5], 50)
    found = health(balanced_by(b, np.ones(200)))["audio"]
    assert (found.negative, found.exploded, found.largest) == (0.25, 0.25, 8.0)
    assert found.flips == pytest.approx(100 / 199)
    said = rules(judge(balanced_by(b, np.ones(200), coefficient_undefined={"": np.tile([0.0, 1.0], 100)})))
    assert {"negative_coefficient", "exploding_coefficient", "undefined_coefficient", "mean_scale"} <= set(said)


def test_a_sound_coefficient_is_said_to_be_sound_and_joint_training_has_none() -> None:
    random = np.random.default_rng(1)
    assert "coefficient_healthy" in rules(judge(balanced_by(random.uniform(0.9, 1.1, 200), np.ones(200))))
    assert health(balanced_by(np.ones(200), np.ones(200))) == {}
    assert not any("coefficient" in rule for rule in rules(judge(balanced_by(np.ones(200), np.ones(200)))))


def test_what_the_optimiser_lets_through_is_an_exponent() -> None:
    b = np.exp(np.random.default_rng(2).normal(0, 0.5, 400))
    exponents = {}
    for power in (0.0, 0.5, 1.0):
        update = {"audio": 1e-3 * b**power, "text": np.full(400, 1e-3)}
        exponents[power] = health(balanced_by(b, np.ones(400), update_ratio=update))["audio"].through
    assert exponents == pytest.approx({0.0: 0.0, 0.5: 0.5, 1.0: 1.0}, abs=1e-9)
    cancelled = balanced_by(b, np.ones(400), update_ratio={"audio": np.full(400, 1e-3)})
    assert rules(judge(cancelled))["cancelled_scale"] == "audio"


def test_clipping_and_divergence() -> None:
    norms = {"audio": np.full(200, 3.0), "text": np.full(200, 4.0)}
    found = balanced_by(np.linspace(0.9, 1.1, 200), np.ones(200), gradient_norm=norms)
    assert "clipped" in rules(judge(replace(found, training={"gradient_clip": 4.9})))
    assert "clipped" not in rules(judge(replace(found, training={"gradient_clip": 5.1})))
    diverged = record(look((0.3, 0.3)), alone=(0.5, 0.5), loss={"": [1.0, np.inf, np.nan]})
    assert judge(diverged).findings[1].rule == "diverged"
    key = MetricKey("loss", "")
    every_tenth = replace(diverged, steps={key: np.array([9.0, 19.0, 29.0])})
    assert "first at step 19" in judge(every_tenth).findings[1].text


def test_series_are_compared_on_the_steps_they_share() -> None:
    """Update ratios of every second step answer the coefficients of these steps, not of others."""
    b = np.exp(np.random.default_rng(2).normal(0, 0.5, 400))
    made = balanced_by(b, np.ones(400), update_ratio={"audio": 1e-3 * b[::2]},
                       gradient_norm={"audio": np.full(400, 3.0), "text": np.full(100, 4.0)})  # fmt: skip
    steps = {**made.steps, MetricKey("update_ratio", "audio"): np.arange(0.0, 400.0, 2),
             MetricKey("gradient_norm", "text"): np.arange(300.0, 400.0)}  # fmt: skip
    made = replace(made, steps=steps, training={"gradient_clip": 4.9})
    assert health(made)["audio"].through == pytest.approx(1.0, abs=0.01)
    clipped = next(f for f in judge(made).findings if f.rule == "clipped")
    assert clipped.evidence["steps"] == 100


def test_without_looks_the_classifiers_speak_softly_and_the_gap_is_named() -> None:
    said = judge(record(alone=(0.9, 0.2, 0.2)))
    assert (said.dominant, said.findings[0].confidence) == ("audio", "low")
    assert "contributions" in said.missing[0]
    nothing = judge(Record(("a", "b")))
    assert (nothing.dominant, nothing.findings[0].rule) == (None, "no_evidence")


def test_what_a_run_recorded_is_read_and_the_document_is_plain() -> None:
    run = MemoryRun({"method": "joint", "training": {"gradient_clip": 0.0}})
    writer = run.writer()
    writer.progress(20, 2)
    writer.event(0, "start", "training starts", {
        "modalities": ["audio", "text"], "chance": 0.1, "score": "accuracy", "samples": {"val": 50},
    })  # fmt: skip
    stream = writer.stream("epoch", [MetricKey("val_unimodal_score", m) for m in ("audio", "text")])
    for epoch in range(2):
        writer.log(stream, 10 * epoch + 9, epoch, [0.9, 0.2])
        writer.contribution(look((0.5, 0.05), epoch))
    said = diagnose(run.reader())
    document = said.document()
    assert (document["dominant"], document["lagging"]) == ("audio", ["text"])
    assert {"rule", "modality", "severity", "text", "evidence"} <= set(document["findings"][0])
    assert "robustness curves" in " ".join(document["missing"]) or "noise curves" in " ".join(document["missing"])


@pytest.mark.parametrize("said", [
    {"modalities": 3, "samples": {"val": "many"}, "chance": "low"}, {"samples": {"val": -1}, "chance": 10**400},
    {"modalities": ["audio", 1, "text"], "samples": [9], "chance": None},
])  # fmt: skip
def test_what_another_program_said_of_its_start_is_no_error(said: dict[str, Any]) -> None:
    run = MemoryRun({"method": "joint", "training": [1]})
    writer = run.writer()
    writer.event(0, "start", "", said)
    stream = writer.stream("epoch", [MetricKey("val_unimodal_score", m) for m in ("audio", "text")])
    writer.log(stream, 9, 0, [0.9, 0.2])
    writer.log(writer.stream("step", [MetricKey("pair_cosine", "audio")]), 9, 0, [0.9])
    writer.contribution(look((0.5, 0.05)))
    assert diagnose(run.reader()).dominant == "audio"


def test_a_look_at_other_modalities_than_the_runs_is_damage() -> None:
    for name in ("contribution", "curve"):
        run = MemoryRun({})
        writer = run.writer()
        writer.event(0, "start", "", {"modalities": ["audio", "smell"]})
        if name == "contribution":
            writer.contribution(look((0.5, 0.05)))
        else:
            writer.robustness(RobustnessCurve(0, 0, "noise", "text", "skill", (0.0,), (0.1,), (0.0,), 9))
        with pytest.raises(DamagedRunError, match=r"look at the modalities .*text"):
            diagnose(run.reader())


def test_no_rule_knows_a_data_set_or_a_modality_by_name() -> None:
    from pathlib import Path

    from cggm_core import catalog
    from cggm_core.analysis import verdict

    sources = [path.read_text() for path in Path(verdict.__file__).parent.glob("verdict*.py")]
    names = {*catalog.all_cards("dataset"), "mosi", "avdigits", "mfeat", "lgg", "ms3", "FLAIR"}
    assert not [name for name in names for text in sources if name in text]
