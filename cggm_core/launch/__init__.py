"""Workers as processes: starting, queueing, asking, stopping. Knows the train wing only as a command line."""

from cggm_core.launch.cores import share, slots, take_share, thread_environment, usable_cores
from cggm_core.launch.devices import side_by_side
from cggm_core.launch.launcher import check_resumable, request, resume, saved_config, start
from cggm_core.launch.queue import Job, QueueState, cancel, clear, queue_state, retry, start_many, wake
from cggm_core.launch.queue_progress import Progress, duration, progress
from cggm_core.launch.stopping import state_of, stop, take_note_away
from cggm_core.launch.worker import absolute

__all__ = [
    "Job",
    "Progress",
    "QueueState",
    "absolute",
    "cancel",
    "check_resumable",
    "clear",
    "duration",
    "progress",
    "queue_state",
    "request",
    "resume",
    "retry",
    "saved_config",
    "share",
    "side_by_side",
    "slots",
    "start",
    "start_many",
    "state_of",
    "stop",
    "take_note_away",
    "take_share",
    "thread_environment",
    "usable_cores",
    "wake",
]
