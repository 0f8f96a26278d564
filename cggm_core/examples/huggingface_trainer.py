"""Hugging Face Trainer: one callback watches a model from `transformers`, here LXMERT of a small configuration."""

from __future__ import annotations

import tempfile

import torch
from torch import nn
from transformers import LxmertConfig, LxmertForQuestionAnswering, Trainer, TrainingArguments

import cggm_core
from cggm_core.integrations.transformers import WatchCallback


def questions(samples: int = 256) -> list[dict[str, torch.Tensor]]:
    """Made-up questions of six words on five regions of an image; three answers."""
    draw = torch.Generator().manual_seed(0)
    words = torch.randint(3, 60, (samples, 6), generator=draw)
    regions = torch.randn(samples, 5, 8, generator=draw)
    boxes = torch.rand(samples, 5, 4, generator=draw)
    answers = (regions[:, 0, 0] > 0).long() + (words[:, 0] > 30).long()
    return [
        {"input_ids": w, "visual_feats": r, "visual_pos": b, "labels": a}
        for w, r, b, a in zip(words, regions, boxes, answers, strict=True)
    ]


def train(steps: int = 200) -> nn.Module:
    """Train, and watch: each modality is its embeddings and its own layers, before they attend to one another."""
    torch.manual_seed(0)
    config = LxmertConfig(
        vocab_size=60, hidden_size=16, num_attention_heads=2, num_qa_labels=3, intermediate_size=32, l_layers=1,
        r_layers=1, x_layers=1, max_position_embeddings=16, visual_feat_dim=8,
    )  # fmt: skip
    model = LxmertForQuestionAnswering(config)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, max_steps=steps, per_device_train_batch_size=16, gradient_accumulation_steps=2, learning_rate=1e-3,
            report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True, use_cpu=True,
            dataloader_pin_memory=False,
        )  # fmt: skip
        trainer = Trainer(model, arguments, train_dataset=questions())
        watched = WatchCallback(
            lambda model: cggm_core.watch(
                {
                    "language": [model.lxmert.embeddings, *model.lxmert.encoder.layer],
                    "vision": [model.lxmert.encoder.visn_fc, *model.lxmert.encoder.r_layers],
                },
                head=model.answer_head.logit_fc[3], task="classification", run="hugging face",
            )
        )  # fmt: skip
        trainer.add_callback(watched)
        trainer.train()
    return model


if __name__ == "__main__":
    train()
