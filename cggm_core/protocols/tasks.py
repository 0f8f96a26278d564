"""The tasks there are, by name."""

from __future__ import annotations

from dataclasses import replace

from cggm_core.errors import CapabilityError
from cggm_core.protocols.classification import Classification
from cggm_core.protocols.data import TaskSpec
from cggm_core.protocols.regression import Regression
from cggm_core.protocols.segmentation import BRATS_WEIGHTS, Segmentation
from cggm_core.protocols.task import Task

TASKS: dict[str, type[Task]] = {
    "classification": Classification,
    "regression": Regression,
    "segmentation": Segmentation,
}


def make_task(spec: TaskSpec, score: str = "standard", class_weights: str = "data") -> Task:
    """The task a data set asks for.

    Args:
        spec: of the data.
        score: which of the task's scores is taken (`Task.scores`).
        class_weights: "data", or "paper" for the paper's BraTS weights wherever masks have as many classes.

    Raises:
        CapabilityError: for a task that cannot be trained yet, or a score it has not.
    """
    if spec.name not in TASKS:
        raise CapabilityError(f"the task {spec.name!r} cannot be trained; there are: {', '.join(TASKS)}")
    kind = TASKS[spec.name]
    if score not in kind.scores:
        raise CapabilityError(f"{spec.name} has no {score} score; it has: {', '.join(kind.scores)}")
    options = {**spec.options, "score": score}
    if class_weights == "paper" and spec.name == "segmentation" and spec.outputs == len(BRATS_WEIGHTS):
        options["class_weights"] = BRATS_WEIGHTS
    return kind(replace(spec, options=options))
