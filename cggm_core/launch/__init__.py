"""Workers as processes: starting, queueing, asking, stopping. Knows the train wing only as a command line."""

from cggm_core.launch.cores import share, slots, take_share, thread_environment, usable_cores
from cggm_core.launch.launcher import check_resumable, request, resume, saved_config, start
from cggm_core.launch.queue import Job, QueueState, cancel, clear, queue_state, start_many, wake
from cggm_core.launch.stopping import state_of, stop, take_note_away
from cggm_core.launch.worker import absolute

__all__ = [
    "Job",
    "QueueState",
    "absolute",
    "cancel",
    "check_resumable",
    "clear",
    "queue_state",
    "request",
    "resume",
    "saved_config",
    "share",
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
