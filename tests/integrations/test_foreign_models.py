"""Models written by others, taken as they are from installed libraries: watched, balanced, shown on every page."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from streamlit.testing.v1 import AppTest
from torch import Tensor, nn

import cggm_core
from cggm_core import catalog
from cggm_core.ui import session
from tests.support.training import bits
from tests.support.watching import info, series

pytestmark = pytest.mark.filterwarnings("ignore")  # of libraries that are not ours
FRAME = Path(session.__file__).with_name("frame.py")
PAGES = tuple(catalog.all_cards("page"))


@dataclass
class Foreign:
    """A model in use.

    Attributes:
        whole: everything that trains.
        encoders, head: as the watch is told.
        batches: arguments of `call` and target.
        call: arguments to logits.
    """

    whole: nn.Module
    encoders: dict[str, Any]
    head: nn.Linear
    batches: Callable[[int], Iterator[tuple[dict[str, Tensor], Tensor]]]
    call: Callable[[dict[str, Tensor]], Tensor]


def lxmert(_: Path) -> Foreign:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = transformers.LxmertConfig(
        vocab_size=60, hidden_size=16, num_attention_heads=2, num_qa_labels=3, intermediate_size=32, l_layers=1,
        r_layers=1, x_layers=1, max_position_embeddings=16, visual_feat_dim=8,
    )  # fmt: skip
    model = transformers.LxmertForQuestionAnswering(config)
    inside = model.lxmert

    def batches(count: int) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        draw = torch.Generator().manual_seed(1)
        for _ in range(count):
            words = torch.randint(3, 60, (8, 6), generator=draw)
            given = {"visual_feats": torch.randn(8, 5, 8, generator=draw), "visual_pos": torch.rand(8, 5, 4)}
            yield {"input_ids": words, **given}, (words[:, 0] % 3)

    encoders = {"language": [inside.embeddings, *inside.encoder.layer],
                "vision": [inside.encoder.visn_fc, *inside.encoder.r_layers]}  # fmt: skip
    return Foreign(model, encoders, model.answer_head.logit_fc[3], batches,
                   lambda given: model(**given).question_answering_score)  # fmt: skip


def clip(_: Path) -> Foreign:
    """CLIP as it is, with a linear classifier on both embeddings, as for hateful memes."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    text = {"vocab_size": 60, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
            "num_attention_heads": 2, "max_position_embeddings": 16, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
              "image_size": 16, "patch_size": 8}  # fmt: skip
    model = transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12))
    head = nn.Linear(24, 2)

    def batches(count: int) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        draw = torch.Generator().manual_seed(1)
        for _ in range(count):
            words = torch.randint(3, 60, (8, 6), generator=draw)
            images = torch.randn(8, 3, 16, 16, generator=draw)
            yield {"input_ids": words, "pixel_values": images}, (images.mean((1, 2, 3)) > 0).long()

    def call(given: dict[str, Tensor]) -> Tensor:
        found = model(**given)
        logits: Tensor = head(torch.cat([found.image_embeds, found.text_embeds], -1))
        return logits

    encoders = {
        "image": [model.visual_projection, model.vision_model],
        "text": [model.text_projection, model.text_model],
    }
    return Foreign(nn.ModuleList([model, head]), encoders, head, batches, call)


def transchex(folder: Path) -> Foreign:
    """MONAI's chest X-ray model of image and report; its weights file is one made here."""
    pytest.importorskip("transformers", reason="transformers is not installed")
    nets = pytest.importorskip("monai.networks.nets", reason="monai is not installed")
    from monai.networks.nets.transchex import MultiModal

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "vocab_size": 60,
             "max_position_embeddings": 16}  # fmt: skip
    layers = {"num_language_layers": 1, "num_vision_layers": 1, "num_mixed_layers": 1}
    blank = MultiModal(**layers, bert_config={**sizes, "hidden_act": "gelu", "chunk_size_feed_forward": 0})
    torch.save(blank.state_dict(), folder / "pytorch_model.bin")
    model = nets.Transchex(
        in_channels=1, img_size=(16, 16), patch_size=(8, 8), num_classes=3, **layers, **sizes,
        path_or_repo_id=str(folder),
    )  # fmt: skip
    inside = model.multimodal

    def batches(count: int) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        draw = torch.Generator().manual_seed(1)
        for _ in range(count):
            words = torch.randint(3, 60, (8, 6), generator=draw)
            yield {"input_ids": words, "vision_feats": torch.randn(8, 1, 16, 16, generator=draw)}, words[:, 0] % 3

    encoders = {"report": [inside.embeddings, *inside.language_encoder],
                "image": [model.vision_proj, model.norm_vision_pos, *inside.vision_encoder]}  # fmt: skip
    return Foreign(model, encoders, model.cls_head, batches, lambda given: model(**given))


MODELS = {"lxmert": lxmert, "clip": clip, "transchex": transchex}


def trained(name: str, folder: Path, steps: int, **given: Any) -> tuple[Foreign, cggm_core.Watch | None]:
    torch.manual_seed(0)
    model = MODELS[name](folder)
    optimiser = torch.optim.AdamW(model.whole.parameters(), lr=1e-3)
    watch = None
    if given:
        watch = cggm_core.watch(
            model.encoders, head=model.head, task="classification", run=name, optimiser=optimiser, **given
        )  # fmt: skip
    for arguments, target in model.batches(steps):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model.call(arguments), target)
        if watch is not None:
            loss = watch.loss(loss, target)
        loss.backward()
        if watch is not None:
            watch.step(loss, target)
        optimiser.step()
    if watch is not None:
        watch.close()
    return model, watch


@pytest.mark.parametrize("name", MODELS)
def test_it_is_watched_to_the_bit(name: str, runs_root: Path, tmp_path: Path) -> None:
    seen, watch = trained(name, tmp_path, 20, runs=runs_root)
    bare, _ = trained(name, tmp_path, 20)
    assert watch is not None
    assert bits(seen.whole) == bits(bare.whole)
    for modality in seen.encoders:
        assert min(series(watch, "gradient_norm_raw", modality)) > 0
        assert min(series(watch, "update_ratio", modality)) > 0
        assert any(value != 0 for value in series(watch, "direction_cosine", modality))


@pytest.mark.parametrize("name", MODELS)
def test_it_is_balanced_and_opens_on_every_page(
    name: str, runs_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, watch = trained(name, tmp_path, 20, runs=runs_root, method="cggm", preset="stable")
    assert watch is not None
    recorded = [series(watch, "balance_coefficient", m) for m in info(watch).config["watch"]["modalities"]]
    assert any(abs(value - 1) > 1e-3 for values in recorded for value in values)
    assert any(value > 0 for value in series(watch, "direction_loss"))
    monkeypatch.setenv("CGGM_RUNS", str(runs_root))
    monkeypatch.setattr(session, "SAMPLE_RUNS", tmp_path / "samples")
    for page in PAGES:
        at = AppTest.from_file(FRAME, default_timeout=60)
        at.query_params["run"] = at.query_params["runs"] = watch.run_id
        at.run()
        if page != "runs":
            path = os.path.relpath(Path(__file__).parents[2] / "pages" / f"{page}.py", FRAME.parent)
            at = at.switch_page(path).run()
        assert not at.exception, (page, at.exception)
        assert len(at.title) == 1, page
