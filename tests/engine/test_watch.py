"""Watching a loop that is not ours: what it records, what it leaves alone, what it balances."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import cggm_core
from cggm_core import catalog
from cggm_core.analysis.comparison import grouped
from cggm_core.engine.watch_hooks import tensor_of
from cggm_core.errors import CapabilityError, ConfigError, DataError
from cggm_core.launch import request
from cggm_core.names import COSTS, MetricKey
from cggm_core.store import RunInfo
from tests.support.training import bits, tiny_config, trained
from tests.support.watching import Maps, TwoTowers, batches, built, encoders, info, loop, notes, series

MODELS: dict[str, Callable[[], nn.Module]] = {
    "classification": TwoTowers, "regression": lambda: TwoTowers(1), "segmentation": Maps,
}  # fmt: skip


def adam(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(net.parameters(), lr=1e-2)


@pytest.mark.parametrize("task", MODELS)
def test_the_three_lines_record_everything_and_change_no_bit(task: str, runs_root: Path) -> None:
    plain = built(MODELS[task])
    loop(plain, adam(plain), None, task=task)
    left = torch.get_rng_state()
    seen = built(MODELS[task])
    watch = cggm_core.watch(encoders(seen), head=seen.head, task=task, run="mine", runs=runs_root)
    loop(seen, adam(seen), watch, task=task)
    watch.close()
    assert bits(seen) == bits(plain)
    assert torch.equal(torch.get_rng_state(), left)
    found = info(watch)
    assert (found.state, found.step, found.name) == ("finished", 19, "mine")
    each = {key: summary for key, summary in found.summary.items() if key.metric not in COSTS}
    recorded = {key.metric for key in each}
    ours = {key.metric for key in trained(tiny_config())[1].steps[0]}  # of the lab's own trainer
    assert recorded == ours - {"learning_rate"}
    assert all(summary.count == 20 and not summary.nonfinite for summary in each.values())
    assert series(watch, "balance_coefficient", found.config["watch"]["modalities"][0]) == [1.0] * 20


def test_encoders_alone_give_norms_updates_and_loss(runs_root: Path) -> None:
    net = built()
    with cggm_core.watch(encoders(net), runs=runs_root) as watch:
        loop(net, adam(net), watch, 5)
    recorded = {key.metric for key in info(watch).summary} - COSTS
    assert recorded == {"loss", "gradient_norm_raw", "gradient_norm", "update_ratio", "balance_coefficient",
                        "step_seconds", "samples_per_second"}  # fmt: skip


def test_without_a_head_classifiers_still_score(runs_root: Path) -> None:
    net = built()
    with cggm_core.watch(encoders(net), task="classification", outputs=3, runs=runs_root) as watch:
        loop(net, adam(net), watch, 5)
    recorded = {key.metric for key in info(watch).summary}
    assert {"unimodal_score", "score_gain", "unimodal_loss"} <= recorded
    assert not {"score", "direction_cosine", "task_loss"} & recorded


def test_numbers_are_those_of_the_gradients_and_the_update(runs_root: Path) -> None:
    net = built()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    watch = cggm_core.watch(encoders(net), head=net.head, task="classification", runs=runs_root, optimiser=optimiser)
    audio, text, target = next(batches(1))
    loss = nn.functional.cross_entropy(net(audio, text), target)
    loss.backward()
    watch.step(loss, target)
    own = list(net.audio.parameters())
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in own))
    size = math.sqrt(sum(float(p.detach().square().sum()) for p in own))
    head = float(net.head.weight.grad.norm())
    optimiser.step()
    watch.close()
    assert series(watch, "gradient_norm_raw", "audio") == pytest.approx([norm], rel=1e-6)
    assert series(watch, "update_ratio", "audio") == pytest.approx([0.1 * norm / size], rel=1e-4)
    assert series(watch, "head_gradient_norm") == pytest.approx([head], rel=1e-5)
    assert series(watch, "loss") == pytest.approx([float(loss.detach())], rel=1e-6)
    assert series(watch, "learning_rate") == [0.1]


def test_cggm_scales_each_encoder_by_the_recorded_coefficient_and_nothing_else(runs_root: Path) -> None:
    net = built()
    knobs = {"direction": False}
    watch = cggm_core.watch(
        encoders(net), head=net.head, task="classification", method="cggm", knobs=knobs, runs=runs_root
    )
    factors: list[dict[str, float]] = []
    for audio, text, target in batches(6):
        net.zero_grad()
        loss = nn.functional.cross_entropy(net(audio, text), target)
        loss.backward()
        raw = {name: p.grad.clone() for name, p in net.named_parameters()}
        watch.step(loss, target)
        factors.append({name: float((p.grad / raw[name]).nanmean()) for name, p in net.named_parameters()})
    watch.close()
    for modality in ("audio", "text"):
        recorded = series(watch, "balance_coefficient", modality)
        assert [f[f"{modality}.0.weight"] for f in factors] == pytest.approx(recorded, rel=1e-4)
        assert any(abs(value - 1) > 0.01 for value in recorded)
    assert [f["head.weight"] for f in factors] == [1.0] * 6


def test_the_direction_term_is_added_before_backward_and_only_there(runs_root: Path) -> None:
    net, other = built(), built()
    common: dict[str, Any] = {"task": "classification", "method": "cggm", "runs": runs_root}
    with cggm_core.watch(encoders(net), head=net.head, **common) as whole:
        loop(net, adam(net), whole, 10, terms=True)
    with cggm_core.watch(encoders(other), head=other.head, **common) as late:
        loop(other, adam(other), late, 10)
    total, task = series(whole, "loss"), series(whole, "task_loss")
    added = [0.15 * value for value in series(whole, "direction_loss")]
    assert [a - b for a, b in zip(total, task, strict=True)] == pytest.approx(added, abs=1e-5)
    assert series(late, "loss") == pytest.approx(series(late, "task_loss"), rel=1e-5)
    assert any("direction term of CGGM is left out" in text for text in notes(late.folder))
    assert not any("left out" in text for text in notes(whole.folder))
    assert bits(net) != bits(other)


def test_the_direction_gradient_is_that_of_the_lab(runs_root: Path) -> None:
    """d(loss + lam L_gm) by autograd of the whole expression, written out here."""
    net = built(lambda: TwoTowers(dropout=0.0))
    watch = cggm_core.watch(
        encoders(net), head=net.head, task="classification", method="cggm", knobs={"lam": 0.7}, runs=runs_root
    )
    audio, text, target = next(batches(1))
    loss = nn.functional.cross_entropy(net(audio, text), target)
    total = watch.loss(loss, target)
    total.backward()
    assert watch._step is not None
    readers = watch._step.classifier_head_gradients
    found = net.head.weight.grad.clone()
    watch.step(total)
    watch.close()
    weight = [series(watch, "direction_weight", m)[0] for m in ("audio", "text")]
    twin = built(lambda: TwoTowers(dropout=0.0))
    again = nn.functional.cross_entropy(twin(audio, text), target)
    (fused,) = torch.autograd.grad(again, twin.head.weight, create_graph=True)
    pairs = zip(weight, readers.values(), strict=True)
    term = sum(abs(b) - b * nn.functional.cosine_similarity(fused.flatten(), g.flatten(), 0) for b, g in pairs) / 2
    (again + 0.7 * term).backward()  # type: ignore[operator]
    assert torch.allclose(found, twin.head.weight.grad, atol=1e-6)


def test_four_micro_batches_with_scaler_and_clipping_equal_one_large_batch(runs_root: Path) -> None:
    def make() -> Any:
        made = built(lambda: TwoTowers(dropout=0.0))
        made.text[1] = nn.Identity()  # batch statistics differ between a batch and its parts
        return made

    def trained(accumulate: int) -> tuple[list[Tensor], cggm_core.Watch]:
        net = make()
        optimiser = torch.optim.SGD(net.parameters(), lr=0.05)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12, enabled=accumulate > 1)
        watch = cggm_core.watch(
            encoders(net), head=net.head, task="classification", method="cggm", knobs={"direction": False},
            accumulate=accumulate, scaler=scaler, optimiser=optimiser, runs=runs_root,
        )  # fmt: skip
        kept = []
        for audio, text, target in batches(5, size=32):
            optimiser.zero_grad()
            for part in range(accumulate):
                rows = slice(part * 32 // accumulate, (part + 1) * 32 // accumulate)
                loss = nn.functional.cross_entropy(net(audio[rows], text[rows]), target[rows])
                scaler.scale(loss / accumulate).backward()
                watch.step(loss, target[rows])
            kept.append(torch.cat([p.grad.flatten().clone() for p in net.parameters()]))
            nn.utils.clip_grad_norm_(net.parameters(), 0.5)
            scaler.step(optimiser)
            scaler.update()
        watch.close()
        return kept, watch

    (whole, one), (parts, four) = trained(1), trained(4)
    for a, b in zip(whole, parts, strict=True):
        assert float((a - b).abs().max()) < 1e-5
    assert info(four).step == 4
    for metric in ("balance_coefficient", "unimodal_score", "gradient_norm_raw", "update_ratio"):
        assert series(four, metric, "audio") == pytest.approx(series(one, metric, "audio"), rel=1e-4)
        assert len(series(four, metric, "audio")) == 5
    assert series(four, "loss") == pytest.approx(series(one, "loss"), rel=1e-5)


def test_under_accumulation_no_term_can_be_added(runs_root: Path) -> None:
    net = built()
    with cggm_core.watch(
        encoders(net), head=net.head, task="classification", method="cggm", accumulate=4, runs=runs_root
    ) as watch:
        audio, text, target = next(batches(1))
        with pytest.raises(CapabilityError, match="one coefficient, known after the last"):
            watch.loss(nn.functional.cross_entropy(net(audio, text), target), target)


def test_a_modality_may_be_missing_in_some_batches(runs_root: Path) -> None:
    net = built()
    optimiser = adam(net)
    with cggm_core.watch(
        encoders(net), head=net.head, task="classification", method="cggm", knobs={"direction": False}, missing=True,
        runs=runs_root,
    ) as watch:  # fmt: skip
        for number, (audio, text, target) in enumerate(batches(6)):
            optimiser.zero_grad()
            heard = net.audio(audio) if number % 3 != 1 else torch.zeros(len(audio), 8)
            loss = nn.functional.cross_entropy(net.head(torch.cat([heard, net.text(text)], -1)), target)
            loss.backward()
            watch.step(loss, target)
            optimiser.step()
    scores, losses = series(watch, "unimodal_score", "audio"), series(watch, "unimodal_loss", "audio")
    assert [math.isnan(value) for value in losses] == [False, True, False, False, True, False]
    assert (scores[1], scores[4]) == (scores[0], scores[3])
    assert series(watch, "score_gain", "audio")[1] == 0
    assert series(watch, "gradient_norm_raw", "audio")[1] == 0
    assert any("a batch had no audio" in text for text in notes(watch.folder))


def test_frozen_encoders_are_watched_and_never_balanced(runs_root: Path) -> None:
    net = built()
    net.audio.requires_grad_(False)
    with pytest.raises(CapabilityError, match="'audio' is frozen"):
        cggm_core.watch(encoders(net), head=net.head, task="classification", method="cggm", runs=runs_root)
    optimiser = adam(net)
    with cggm_core.watch(encoders(net), head=net.head, task="classification", runs=runs_root) as watch:
        loop(net, optimiser, watch, 4)
        net.audio.requires_grad_(True)  # gradual unfreezing
        loop(net, optimiser, watch, 4)
    norms = series(watch, "gradient_norm_raw", "audio")
    assert norms[:4] == [0.0] * 4
    assert min(norms[4:]) > 0
    assert len(series(watch, "unimodal_score", "audio")) == 8
    said = notes(watch.folder)
    assert any("is frozen" in text for text in said)
    assert any("train now" in text for text in said)


def test_parameters_of_two_modalities_count_for_neither(runs_root: Path) -> None:
    net = built()
    shared = nn.Linear(8, 8)
    both = {"audio": [shared, net.audio], "text": [shared, net.text]}
    watch = cggm_core.watch(both, runs=runs_root)
    assert not {id(p) for own in watch._plan.model.own.values() for p in own} & {id(p) for p in shared.parameters()}
    watch.close()
    with pytest.raises(CapabilityError, match="share every parameter"):
        cggm_core.watch({"left": net.audio, "right": net.audio}, runs=runs_root)


def test_several_optimisers_and_a_list_of_modules(runs_root: Path) -> None:
    net = built()
    two = [torch.optim.SGD(net.audio.parameters(), lr=0.1), torch.optim.Adam(net.text.parameters(), lr=0.01)]
    parts = {"audio": [net.audio[0], net.audio], "text": list(net.text)}
    with cggm_core.watch(parts, head=net.head, task="classification", optimiser=two, runs=runs_root) as watch:
        for audio, text, target in batches(4):
            net.zero_grad()
            loss = nn.functional.cross_entropy(net(audio, text), target)
            loss.backward()
            watch.step(loss, target)
            for optimiser in two:
                optimiser.step()
    assert series(watch, "learning_rate") == [0.1] * 4
    assert min(series(watch, "update_ratio", "text")) > 0


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # of torch's own
def test_a_compiled_model_is_watched(runs_root: Path) -> None:
    net = built(lambda: TwoTowers(dropout=0.0))
    with cggm_core.watch(encoders(net), head=net.head, task="classification", runs=runs_root) as watch:
        compiled = torch.compile(net, backend="eager")
        loop(compiled, adam(net), watch, 4)
    plain = built(lambda: TwoTowers(dropout=0.0))
    with cggm_core.watch(encoders(plain), head=plain.head, task="classification", runs=runs_root) as other:
        loop(plain, adam(plain), other, 4)
    assert series(watch, "unimodal_score", "audio") == series(other, "unimodal_score", "audio")
    assert series(watch, "direction_cosine", "text") == pytest.approx(series(other, "direction_cosine", "text"))


def test_validation_is_counted_with_the_lab_s_own_metrics(runs_root: Path) -> None:
    net = built()
    right = total = 0
    with cggm_core.watch(encoders(net), head=net.head, task="classification", runs=runs_root) as watch:
        loop(net, adam(net), watch, 3)
        net.eval()
        with torch.no_grad():
            for audio, text, target in batches(4):
                right += int((net(audio, text).argmax(1) == target).sum())
                total += len(target)
                watch.validate(target)
        watch.end_epoch({"my_metric": 2.0})
        net.train()
        loop(net, adam(net), watch, 2)
    assert series(watch, "val_score") == [right / total]
    assert series(watch, "val_accuracy") == [right / total]
    assert series(watch, "my_metric") == [2.0]
    assert len(series(watch, "val_unimodal_score", "text")) == 1
    assert info(watch).epoch == 1


def test_the_watched_model_can_be_copied_and_saved(runs_root: Path) -> None:
    net = built()
    with cggm_core.watch(encoders(net), head=net.head, task="classification", runs=runs_root) as watch:
        loop(net, adam(net), watch, 2)
        twin = copy.deepcopy(net)
        buffer = io.BytesIO()
        torch.save(net, buffer)
        buffer.seek(0)
        read = torch.load(buffer, weights_only=False)
        for other in (twin, read):
            other(*next(batches(1))[:2])  # their hooks are deaf
        assert not watch._ears._live.features  # type: ignore[union-attr]
        loop(net, adam(net), watch, 2)
    assert info(watch).step == 3
    assert not net.audio._forward_hooks


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "one modality": ({"encoders": {"a": nn.Linear(2, 2)}}, CapabilityError, "at least two modalities, found 1"),
    "no module": ({"encoders": {"a": nn.Linear(2, 2), "b": "b"}}, ConfigError, "encoder 'b' is str"),
    "no parameter": ({"encoders": {"a": nn.Linear(2, 2), "b": nn.ReLU()}}, CapabilityError, "has no parameter"),
    "name": ({"encoders": {"a|b": nn.Linear(2, 2), "b": nn.Linear(2, 2)}}, ConfigError, "modality name"),
    "head": ({"head": nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))}, CapabilityError, "last linear layer is '1'"),
    "task": ({"task": "ranking"}, ConfigError, "task is 'ranking'"),
    "outputs": ({"task": "classification", "method": "joint"}, ConfigError, "give head=, or outputs="),
    "no optimiser": (
        {"task": "classification", "head": nn.Linear(4, 3), "method": "cggm", "preset": "stable"}, CapabilityError,
        "give optimiser=",
    ),
    "one class": ({"task": "classification", "head": nn.Linear(4, 1)}, ConfigError, "the head has 1"),
    "method": ({"method": "cggm"}, CapabilityError, "CGGM needs head_gradients, unimodal_scores"),
    "no such method": ({"method": "nothing"}, ConfigError, "no method named"),
    "knob": ({"method": "joint", "knobs": {"x": 1}}, ConfigError, "no setting 'x'"),
    "accumulate": ({"accumulate": 0}, ConfigError, "accumulate is 0"),
    "features": ({"features": {"c": len}}, ConfigError, "names 'c'"),
    "settings": ({"settings": {"x": object()}}, ConfigError, "JSON cannot"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_watched_is_refused_in_one_sentence_and_makes_no_run(case: str, runs_root: Path) -> None:
    given, kind, words = WRONG[case]
    arguments: dict[str, Any] = {"encoders": {"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)}, "runs": runs_root, **given}
    with pytest.raises(kind, match=words.replace("(", r"\(").replace("|", r"\|")):
        cggm_core.watch(**arguments)
    assert not [p for p in runs_root.iterdir() if p.is_dir()]


def stepped(watch: cggm_core.Watch, net: Any, *, how: str) -> None:
    audio, text, target = next(batches(1))
    heard = net.audio(audio) if how != "not called" else torch.zeros(16, 8)
    if how == "detached":
        heard = heard.detach()
    loss = nn.functional.cross_entropy(net.head(torch.cat([heard, net.text(text)], -1)), target)
    if how != "no backward":
        loss.backward()
    given: Any = {
        "no target": None,
        "shape": target[:5],
        "floats": target.float(),
        "kind": [1],
        "ignored": target - 100,
        "too many": target + 255,
    }.get(how, target)
    watch.step(loss.expand(16) if how == "each" else loss, given)
    if how == "twice":
        watch.step(loss, target)


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ("not called", CapabilityError, "'audio' was not called in the first step"),
        ("detached", CapabilityError, "'audio' was called but got no gradient"),
        ("no backward", CapabilityError, "after backward"),
        ("shape", DataError, "do not fit classification"),
        ("floats", DataError, "whole numbers"),
        ("kind", DataError, "found list"),
        ("ignored", DataError, "classes from -100 to -98; classification with 3 outputs takes 0 to 2"),
        ("too many", DataError, "classes from 255 to 257"),
        ("each", DataError, r"loss has shape \(16,\), expected one number"),
    ],
)
def test_a_first_step_that_cannot_be_read_says_why(
    how: str, kind: type[Exception], words: str, runs_root: Path
) -> None:
    net = built()
    with (
        pytest.raises(kind, match=words),
        cggm_core.watch(encoders(net), head=net.head, task="classification", runs=runs_root) as watch,
    ):
        stepped(watch, net, how=how)
    assert info(watch).state == "failed"


def test_after_a_first_good_step_looking_never_ends_a_training(
    runs_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    net = built()
    optimiser = adam(net)
    watch = cggm_core.watch(encoders(net), head=net.head, task="classification", runs=runs_root)
    loop(net, optimiser, watch, 2)
    watch.step(torch.tensor(1.0), torch.zeros(16, dtype=torch.int64))  # no forward pass before it
    loop(net, optimiser, watch, 2)
    assert info(watch).state == "failed"
    assert "no encoder was called" in info(watch).reason
    assert sum("training goes on" in record.getMessage() for record in caplog.records) == 1
    watch.close()
    plain = built()
    other = adam(plain)
    loop(plain, other, None, 2)
    loop(plain, other, None, 2)
    assert bits(net)["head.weight"] == bits(plain)["head.weight"]


WATCHABLE = ("joint", "cggm", "ogm", "ogm_ge")


@pytest.mark.parametrize("name", catalog.all_cards("method"))
def test_every_method_balances_or_is_refused_with_its_reason(name: str, runs_root: Path) -> None:
    net = built()
    optimiser = adam(net)
    reasons = ("which this loop does not offer", "which a watch cannot")
    told: dict[str, Any] = {"head": net.head, "fuse": net.fuse, "task": "classification", "method": name}
    if name not in WATCHABLE:
        with pytest.raises(CapabilityError, match="|".join(reasons)) as refused:
            cggm_core.watch(encoders(net), runs=runs_root, **told)
        assert catalog.card("method", name).title in str(refused.value)
        assert not list(runs_root.iterdir())
        return
    with cggm_core.watch(encoders(net), epochs=2, steps=8, runs=runs_root, **told) as watch:
        loop(net, optimiser, watch, 4, terms=True)
        watch.end_epoch()
        loop(net, optimiser, watch, 4, terms=True)
    assert (info(watch).state, info(watch).step) == ("finished", 7)
    assert all(not summary.nonfinite for summary in info(watch).summary.values())


def test_with_its_fusion_told_gradients_are_kept_and_still_no_bit_changes(runs_root: Path) -> None:
    plain = built()
    loop(plain, adam(plain), None)
    plain.text.eval()
    loop(plain, adam(plain), None)
    seen = built()
    watch = cggm_core.watch(
        encoders(seen), head=seen.head, fuse=seen.fuse, task="classification", steps=40, runs=runs_root
    )
    loop(seen, adam(seen), watch)
    seen.text.eval()  # a part the user holds still stays so
    request(runs_root, watch.run_id, "snapshot")
    loop(seen, adam(seen), watch)
    watch.close()
    assert not seen.text.training
    assert seen.audio.training
    assert bits(seen) == bits(plain)
    assert watch.folder is not None
    kept = cggm_core.open_reader(watch.folder).snapshots()
    assert {shot.kind for shot in kept} == {"fused", "classifier", "unimodal"}
    assert {0, 20} <= {shot.step for shot in kept}
    whole = {shot.kind: shot.array for shot in kept if shot.step == 0 and shot.modality in ("", "audio")}
    assert whole["unimodal"].shape == whole["fused"].shape == (3, 16)


def test_a_fusion_that_is_none_is_refused(runs_root: Path) -> None:
    net = built()
    with pytest.raises(ConfigError, match="expected a module of your model"):
        cggm_core.watch(encoders(net), fuse=lambda features: features["audio"], runs=runs_root)

    class Half(nn.Module):
        def forward(self, features: dict[str, Tensor]) -> Tensor:
            return features["audio"]

    with (
        pytest.raises(CapabilityError, match=r"fuse gives \(16, 8\), the head was given \(16, 16\)"),
        cggm_core.watch(encoders(net), head=net.head, fuse=Half(), task="classification", runs=runs_root) as watch,
    ):
        loop(net, adam(net), watch, 1)


def test_watched_runs_that_tell_their_seeds_are_one_group(runs_root: Path) -> None:
    def run(**given: Any) -> RunInfo:
        net = built()
        with cggm_core.watch(encoders(net), runs=runs_root, **given) as watch:
            loop(net, adam(net), watch, 1)
        return info(watch)

    alike = [run(seed=seed, settings={"lr": 0.1}, run=f"seed {seed}") for seed in (1, 2)]
    other = [run(seed=1, settings={"lr": 0.2}), run(seed=1, settings={"lr": 0.1}, data="another"), run(), run()]
    groups = grouped([*alike, *other])
    assert sorted(len(runs) for runs in groups.values()) == [1, 1, 1, 1, 2]


def test_a_loss_that_is_not_the_task_s_own_is_said(runs_root: Path) -> None:
    net = built(lambda: TwoTowers(1))
    with cggm_core.watch(encoders(net), head=net.head, task="regression", runs=runs_root) as watch:
        audio, text, target = next(batches(1, "regression"))
        loss = nn.functional.mse_loss(net(audio, text), target)
        loss.backward()
        watch.step(loss, target[:, 0])
    assert any("is not the task's own" in text for text in notes(watch.folder))
    assert series(watch, "loss") == pytest.approx([float(loss.detach())])


def test_requests_of_the_app_reach_the_loop(runs_root: Path) -> None:
    net = built()
    watch = cggm_core.watch(
        encoders(net), head=net.head, task="classification", method="cggm", knobs={"direction": False}, runs=runs_root
    )
    loop(net, adam(net), watch, 2)
    request(runs_root, watch.run_id, "set", {"rho": 0.5})
    request(runs_root, watch.run_id, "snapshot")
    request(runs_root, watch.run_id, "stop")
    assert not watch.stop_requested
    loop(net, adam(net), watch, 2)
    assert watch.stop_requested
    watch.close()
    said = notes(watch.folder)
    assert any("rho" in text and "0.5" in text for text in said)
    assert any("refused" in text for text in said)
    sums = [a + b for a, b in zip(*(series(watch, "balance_coefficient", m) for m in ("audio", "text")), strict=True)]
    assert sums[-1] == pytest.approx(0.5, rel=1e-5)


class Output:
    def __init__(self, **given: Any) -> None:
        self.__dict__.update(given)


A, B = torch.zeros(2, 3), torch.ones(2, 4)


@pytest.mark.parametrize(
    ("output", "found"),
    [
        (A, A), ((A, B), A), ([torch.zeros(2, dtype=torch.int64), [B]], B), ({"x": A, "last_hidden_state": B}, B),
        ({"ids": torch.zeros(2, dtype=torch.int64), "y": {"z": A}}, A), (Output(last_hidden_state=B), B),
        ("text", None), ((), None),
    ],
)  # fmt: skip
def test_the_rule_for_nested_outputs(output: object, found: Tensor | None) -> None:
    assert tensor_of(output) is found


def test_an_accessor_wins_over_the_rule(runs_root: Path) -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(6, 8)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"tokens": self.inner(x)[:, None].expand(-1, 3, -1), "pooled": self.inner(x)}

    net = built()
    net.audio = Wide()
    with cggm_core.watch(
        encoders(net), head=net.head, task="classification", features={"audio": lambda out: out["pooled"]},
        runs=runs_root,
    ) as watch:  # fmt: skip
        audio, text, target = next(batches(1))
        loss = nn.functional.cross_entropy(
            net.head(torch.cat([net.audio(audio)["pooled"], net.text(text)], -1)), target
        )
        loss.backward()
        watch.step(loss, target)
    assert MetricKey("unimodal_score", "audio") in info(watch).summary


def test_mixed_precision_and_double_precision_loops(runs_root: Path) -> None:
    for dtype in (torch.bfloat16, torch.float64):
        net = built(lambda: TwoTowers(dropout=0.0))
        net = net.double() if dtype == torch.float64 else net
        optimiser = adam(net)
        with cggm_core.watch(
            encoders(net), head=net.head, task="classification", method="cggm", runs=runs_root
        ) as watch:
            for audio, text, target in batches(4):
                optimiser.zero_grad()
                wide = torch.float64 if dtype == torch.float64 else torch.float32
                with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                    loss = nn.functional.cross_entropy(net(audio.to(wide), text.to(wide)), target)
                    loss = watch.loss(loss, target)
                loss.backward()
                watch.step(loss)
                optimiser.step()
        assert (info(watch).state, info(watch).step) == ("finished", 3)
        assert all(not summary.nonfinite for summary in info(watch).summary.values())
        for metric in ("gradient_norm_raw", "update_ratio", "head_gradient_norm", "unimodal_loss"):
            assert min(series(watch, metric, "audio")) > 0
