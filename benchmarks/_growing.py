"""A run that grows by itself, written by the store's own writer: `python _growing.py FOLDER ROWS RATE SECONDS`.

Values are noise around curves that rise, with the coefficients CGGM makes of noisy scores: mostly near 1, now and
then in the thousands. Prints "ready" when ROWS steps lie in the file, then adds RATE steps a second.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from cggm_core.names import MetricKey
from cggm_core.store import note_launch, open_writer, own_identity

MODALITIES = ("text", "audio", "vision")
PER_EPOCH = 1000
FUSED = ("loss", "task_loss", "direction_loss", "score", "learning_rate", "step_seconds")
SPLIT = ("unimodal_score", "unimodal_loss", "score_gain", "balance_coefficient", "gradient_norm_raw", "gradient_norm",
         "update_ratio", "direction_cosine", "head_gradient_norm")  # fmt: skip


def rows(first: int, count: int) -> np.ndarray:
    """Values of so many steps, shape [count, series]."""
    noise = np.random.default_rng(first)
    rise = 1 - np.exp(-(first + np.arange(count))[:, None] / 20_000)
    fused = np.repeat(rise, len(FUSED), axis=1) + 0.1 * noise.standard_normal((count, len(FUSED)))
    parts = []
    for metric in SPLIT:
        value = 0.2 + rise * np.array([0.7, 0.4, 0.2]) + 0.05 * noise.standard_normal((count, len(MODALITIES)))
        if metric == "balance_coefficient":
            value = 1.3 * (1 - noise.standard_normal((count, 3)) / noise.standard_normal((count, 1)))
        elif metric == "direction_cosine":
            value = np.tanh(value - 0.5)
        elif metric.startswith(("gradient", "update", "head")):
            value = np.exp(value + 0.3 * noise.standard_normal((count, 3)))
        parts.append(value)
    return np.concatenate([fused, *parts], axis=1)


def main() -> None:
    """Write, then grow until the time is up."""
    folder, total, rate, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
    note_launch(folder, own_identity())
    writer = open_writer(folder)
    keys = [*(MetricKey(m) for m in FUSED), *(MetricKey(m, of) for m in SPLIT for of in MODALITIES)]
    stream = writer.stream("step", keys)
    epochs = writer.stream("epoch", [MetricKey("val_score"), *(MetricKey("val_unimodal_score", m) for m in MODALITIES)])
    writer.progress(10 * total, 10 * total // PER_EPOCH)
    writer.state("running")
    writer.event(0, "start", "training starts", {"chance": 0.1, "score": "accuracy"})
    step = 0

    def grow(count: int) -> None:
        nonlocal step
        for values in rows(step, count).tolist():
            writer.log(stream, step, step // PER_EPOCH, values)
            if step % PER_EPOCH == PER_EPOCH - 1:
                writer.log(epochs, step, step // PER_EPOCH, [0.8, 0.7, 0.4, 0.2])
            step += 1

    while step < total:
        grow(min(5000, total - step))
        writer.flush(60.0)
    for place in range(1, 6):
        writer.event(place * total // 6, "set", f"rho 1.3 → {1 + place / 10}", {"rho": 1 + place / 10})
    writer.flush(60.0)
    print("ready", flush=True)
    began, grown = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        time.sleep(0.1)
        due = int((time.monotonic() - began) * rate)
        grow(due - grown)
        grown = due
    writer.finish("finished")


if __name__ == "__main__":
    main()
