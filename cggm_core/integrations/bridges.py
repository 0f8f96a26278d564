"""The same readings in a logger the user has already; given to `watch(..., also=[...])`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from cggm_core.errors import ConfigError
from cggm_core.integrations._optional import need
from cggm_core.names import PAIR_SEPARATOR, MetricKey


def tag(key: MetricKey, prefix: str, join: str = "/") -> str:
    """A series as a name, `prefix/metric/modality`; a pair's separator becomes a hyphen, which every logger takes.

    Args:
        key: of the series.
        prefix: of every name.
        join: between metric and modality; MLflow's file store cannot hold both `a` and `a/b`.
    """
    return f"{prefix}/" + join.join(filter(None, (key.metric, key.modality.replace(PAIR_SEPARATOR, "-"))))


def _checked(every: int) -> int:
    if every < 1:
        raise ConfigError(f"every is {every}, expected the number of steps between two that are sent, 1 or more")
    return every


class TensorBoardBridge:
    """Scalars in a `SummaryWriter` (torch's or tensorboardX).

    Args:
        writer: the user's; closed by the user.
        prefix: of every tag.
        every: sends each n-th step; 1 sends all.
    """

    def __init__(self, writer: Any, *, prefix: str = "cggm", every: int = 1) -> None:
        self._writer, self._prefix, self._every = writer, prefix, _checked(every)

    def log(self, step: int, values: Mapping[MetricKey, float]) -> None:
        """One scalar a series."""
        if step % self._every == 0:
            for key, value in values.items():
                self._writer.add_scalar(tag(key, self._prefix), value, step)

    def close(self) -> None:
        """Flush; the writer stays open."""
        self._writer.flush()


class MLflowBridge:
    """Metrics of an MLflow run.

    Args:
        run_id: of the run; "" is the active one.
        prefix: of every name.
        every: sends each n-th step; MLflow needs milliseconds for one.

    Raises:
        CapabilityError: if mlflow is not installed.
        ConfigError: if no run is active and none is named.
    """

    def __init__(self, run_id: str = "", *, prefix: str = "cggm", every: int = 10) -> None:
        mlflow = need("mlflow", "mlflow")
        active = mlflow.active_run()
        if not run_id and active is None:
            raise ConfigError("no MLflow run is active; start one with mlflow.start_run(), or give run_id=")
        self._run_id = run_id or active.info.run_id
        self._client, self._metric = mlflow.MlflowClient(), mlflow.entities.Metric
        self._prefix, self._every = prefix, _checked(every)

    def log(self, step: int, values: Mapping[MetricKey, float]) -> None:
        """One metric a series, in one call."""
        if step % self._every == 0:
            now = time.time_ns() // 1_000_000
            sent = [self._metric(tag(key, self._prefix, "."), value, now, step) for key, value in values.items()]
            self._client.log_batch(self._run_id, metrics=sent)

    def close(self) -> None:
        """Nothing waits; the run stays open."""


class WandbBridge:
    """Values of a Weights & Biases run, on a step axis of their own (`<prefix>/step`), so the user's steps stay.

    Args:
        run: what `wandb.init` returned; finished by the user.
        prefix: of every name.
        every: sends each n-th step.
    """

    def __init__(self, run: Any, *, prefix: str = "cggm", every: int = 1) -> None:
        self._run, self._prefix, self._every = run, prefix, _checked(every)
        run.define_metric(f"{prefix}/step")
        run.define_metric(f"{prefix}/*", step_metric=f"{prefix}/step")

    def log(self, step: int, values: Mapping[MetricKey, float]) -> None:
        """One value a series, in one call."""
        if step % self._every == 0:
            sent = {tag(key, self._prefix): value for key, value in values.items()}
            self._run.log({**sent, f"{self._prefix}/step": step})

    def close(self) -> None:
        """Nothing waits; the run stays open."""
