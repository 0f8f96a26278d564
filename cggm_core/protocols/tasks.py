"""The tasks there are, by name."""

from __future__ import annotations

from cggm_core.errors import CapabilityError
from cggm_core.protocols.classification import Classification
from cggm_core.protocols.data import TaskSpec
from cggm_core.protocols.segmentation import Segmentation
from cggm_core.protocols.task import Task

TASKS: dict[str, type[Task]] = {"classification": Classification, "segmentation": Segmentation}


def make_task(spec: TaskSpec) -> Task:
    """The task a data set asks for.

    Raises:
        CapabilityError: for a task that cannot be trained yet.
    """
    if spec.name not in TASKS:
        raise CapabilityError(f"the task {spec.name!r} cannot be trained; there are: {', '.join(TASKS)}")
    return TASKS[spec.name](spec)
