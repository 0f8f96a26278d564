"""The watch in each framework's own idiom: balancing, validation, accumulation, stops, failures."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import cggm_core
from cggm_core.errors import CapabilityError
from cggm_core.examples._data import sound_and_text
from cggm_core.examples.plain_loop import Net
from cggm_core.launch import request
from cggm_core.store import Catalogue
from tests.support.watching import info, notes, series

pytestmark = pytest.mark.filterwarnings("ignore")  # of frameworks that are not ours
BALANCE: dict[str, Any] = {"task": "classification", "method": "cggm", "knobs": {"direction": False}}


def begin(net: Net, root: Path, **given: Any) -> cggm_core.Watch:
    return cggm_core.watch({"audio": net.audio, "text": net.text}, head=net.head, runs=root, **given)


def by_hand(root: Path, steps: int, parts: int) -> tuple[Net, cggm_core.Watch]:
    """The same training in a plain loop: SGD, parts micro-batches, clipping at 0.5."""
    torch.manual_seed(0)
    net = Net().eval()  # no dropout
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    watch = begin(net, root, accumulate=parts, **BALANCE)
    loader = iter(DataLoader(sound_and_text(), batch_size=16))
    for _ in range(steps):
        optimiser.zero_grad()
        for _ in range(parts):
            audio, text, target = next(loader)
            loss = nn.functional.cross_entropy(net(audio, text), target)
            (loss / parts).backward()
            watch.step(loss, target)
        nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimiser.step()
    watch.close()
    return net, watch


def alike(one: nn.Module, two: nn.Module) -> bool:
    return all(torch.allclose(a, b, atol=1e-6) for a, b in zip(one.parameters(), two.parameters(), strict=True))


@pytest.fixture
def lightning() -> Any:
    return pytest.importorskip("lightning.pytorch", reason="lightning is not installed")


def lit(lightning: Any, net: Net, *, fails: bool = False) -> Any:
    class Module(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def training_step(self, batch: Any, index: int) -> Tensor:
            if fails and index == 3:
                raise ValueError("a broken batch")
            self.net.eval()
            return nn.functional.cross_entropy(self.net(*batch[:2]), batch[2])

        def validation_step(self, batch: Any, index: int) -> None:
            self.net(*batch[:2])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Module()


def trainer(lightning: Any, callback: Any, **given: Any) -> Any:
    return lightning.Trainer(
        callbacks=[callback], accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, **given,
    )  # fmt: skip


def test_lightning_balances_as_a_plain_loop_does(lightning: Any, runs_root: Path) -> None:
    from cggm_core.integrations.lightning import WatchCallback

    expected, plain = by_hand(runs_root, 6, 2)
    torch.manual_seed(0)
    module = lit(lightning, Net())
    callback = WatchCallback(lambda module: begin(module.net, runs_root, **BALANCE), target=lambda batch: batch[-1])
    data = DataLoader(sound_and_text(), batch_size=16)
    fit = trainer(lightning, callback, max_steps=6, accumulate_grad_batches=2, gradient_clip_val=0.5)
    fit.fit(module, data)
    assert callback.watch is not None
    assert alike(module.net, expected)
    for metric in ("balance_coefficient", "gradient_norm"):
        assert series(callback.watch, metric, "audio") == pytest.approx(series(plain, metric, "audio"), rel=1e-4)
    assert series(callback.watch, "loss") == pytest.approx(series(plain, "loss"), rel=1e-5)
    assert (info(callback.watch).state, info(callback.watch).steps) == ("finished", 6)


def test_lightning_validates_stops_on_request_and_tells_an_exception(lightning: Any, runs_root: Path) -> None:
    from cggm_core.integrations.lightning import WatchCallback

    data = DataLoader(sound_and_text(64), batch_size=16)
    callback = WatchCallback(
        lambda module: begin(module.net, runs_root, task="classification"), target=lambda batch: batch[-1]
    )

    class Asks(lightning.Callback):  # type: ignore[misc]
        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
            if trainer.global_step == 5 and callback.watch is not None:
                request(runs_root, callback.watch.run_id, "stop")

    fit = trainer(lightning, callback, max_epochs=5)
    fit.callbacks.append(Asks())
    fit.fit(lit(lightning, Net()), data, data)
    assert callback.watch is not None
    assert 5 <= info(callback.watch).step < 8
    assert len(series(callback.watch, "val_score")) >= 1
    broken = WatchCallback(
        lambda module: begin(module.net, runs_root, task="classification"), target=lambda batch: batch[-1]
    )
    with pytest.raises(ValueError, match="a broken batch"):
        trainer(lightning, broken, max_epochs=1).fit(lit(lightning, Net(), fails=True), data)
    assert broken.watch is not None
    assert (info(broken.watch).state, info(broken.watch).reason) == ("failed", "ValueError: a broken batch")


def test_accelerate_balances_as_a_plain_loop_does(runs_root: Path) -> None:
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
    from cggm_core.integrations.accelerate import AcceleratedWatch

    expected, plain = by_hand(runs_root, 6, 2)
    accelerator = accelerate.Accelerator(gradient_accumulation_steps=2, cpu=True)
    torch.manual_seed(0)
    net = Net().eval()
    watch = AcceleratedWatch(begin(net, runs_root, **BALANCE), accelerator)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    model, optimiser, data = accelerator.prepare(net, optimiser, DataLoader(sound_and_text(), batch_size=16))
    for number, (audio, text, target) in enumerate(data):
        if number == 12:
            break
        with accelerator.accumulate(model):
            loss = nn.functional.cross_entropy(model(audio, text), target)
            accelerator.backward(loss)
            watch.step(loss, target)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 0.5)
            optimiser.step()
            optimiser.zero_grad()
    watch.close()
    assert alike(net, expected)
    assert series(watch.watch, "balance_coefficient", "text") == pytest.approx(
        series(plain, "balance_coefficient", "text"), rel=1e-5
    )


class Named(nn.Module):
    """A model in the Trainer's idiom: keywords in, loss and logits out."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, audio: Tensor, text: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.net.eval()(audio, text)
        loss = nn.functional.cross_entropy(logits, labels) if labels is not None else logits.sum()
        return {"loss": loss, "logits": logits}


@pytest.fixture
def transformers() -> Any:
    return pytest.importorskip("transformers", reason="transformers is not installed")


def hugging(transformers: Any, folder: Path, **given: Any) -> Any:
    torch.manual_seed(0)
    rows = [{"audio": a, "text": t, "labels": y} for a, t, y in sound_and_text()]
    arguments = transformers.TrainingArguments(
        str(folder), per_device_train_batch_size=16, gradient_accumulation_steps=2, learning_rate=0.1, optim="sgd",
        lr_scheduler_type="constant", report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True,
        use_cpu=True, dataloader_pin_memory=False, **given,
    )  # fmt: skip
    sequential = torch.utils.data.SequentialSampler(rows)

    class InOrder(transformers.Trainer):  # type: ignore[misc]
        def _get_train_sampler(self, *_: Any) -> Any:
            return sequential

    return InOrder(Named(), arguments, train_dataset=rows, eval_dataset=rows[:64])


def test_the_trainer_balances_as_a_plain_loop_does(transformers: Any, runs_root: Path, tmp_path: Path) -> None:
    from cggm_core.integrations.transformers import WatchCallback

    expected, plain = by_hand(runs_root, 6, 2)
    fit = hugging(transformers, tmp_path, max_steps=6, max_grad_norm=0.0)
    callback = WatchCallback(lambda model: begin(model.net, runs_root, **BALANCE), clip=0.5)
    fit.add_callback(callback)
    fit.train()
    assert callback.watch is not None
    assert alike(fit.model.net, expected)
    assert series(callback.watch, "balance_coefficient", "text") == pytest.approx(
        series(plain, "balance_coefficient", "text"), rel=1e-4
    )
    assert (info(callback.watch).steps, info(callback.watch).state) == (6, "finished")


def test_the_trainer_s_evaluation_is_counted_and_its_clipping_refused(
    transformers: Any, runs_root: Path, tmp_path: Path
) -> None:
    from cggm_core.integrations.transformers import WatchCallback

    fit = hugging(transformers, tmp_path, num_train_epochs=2, eval_strategy="epoch")
    callback = WatchCallback(lambda model: begin(model.net, runs_root, task="classification"))
    fit.add_callback(callback)
    fit.train()
    assert callback.watch is not None
    assert len(series(callback.watch, "val_score")) == 2
    assert len(series(callback.watch, "val_unimodal_score", "audio")) == 2
    assert not any("left out" in text for text in notes(callback.watch.folder))
    again = hugging(transformers, tmp_path, max_steps=2, max_grad_norm=1.0)
    again.add_callback(WatchCallback(lambda model: begin(model.net, runs_root, **BALANCE)))
    with pytest.raises(CapabilityError, match=r"set max_grad_norm=0 and give WatchCallback\(..., clip=1\)"):
        again.train()
    assert Catalogue(runs_root).runs()[0].state == "stopped"


def test_a_training_that_raised_leaves_the_model_usable(transformers: Any, runs_root: Path, tmp_path: Path) -> None:
    from cggm_core.integrations.transformers import WatchCallback

    class Breaks(transformers.TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **others: Any) -> None:
            raise ValueError("a broken step")

    fit = hugging(transformers, tmp_path, max_steps=4)
    callback = WatchCallback(lambda model: begin(model.net, runs_root, task="classification"))
    fit.add_callback(callback)
    fit.add_callback(Breaks())
    with pytest.raises(ValueError, match="a broken step"):
        fit.train()
    copy.deepcopy(fit.model)
    fit.remove_callback(Breaks)
    fit.train()
    assert not fit.model._forward_hooks
    assert callback.watch is not None
    assert (info(callback.watch).state, info(callback.watch).step) == ("finished", 3)
    watch = callback.watch
    callback.on_train_begin(fit.args, fit.state, fit.control, fit.model)
    assert callback.watch is not watch
    callback.watch.end("stopped", "the program went on")
    fit.model.forward = lambda audio, text: fit.model.net(audio, text)
    assert fit.model(*next(iter(DataLoader(sound_and_text(), batch_size=4)))[:2]).requires_grad
