"""A watch where two processes train one model together: one records, and a stop of the app leaves nobody waiting."""

import os
import subprocess
import sys
from pathlib import Path

from cggm_core.names import MetricKey
from cggm_core.store import Catalogue, open_reader

LOOP = """
import sys
import torch
from torch import nn
import cggm_core
from cggm_core.launch import request
from tests.support.watching import batches, built, encoders
rank, meeting, runs = int(sys.argv[1]), sys.argv[2], sys.argv[3]
torch.distributed.init_process_group("gloo", init_method="file://" + meeting, rank=rank, world_size=2)
net = built()
together = nn.parallel.DistributedDataParallel(net)
watch = cggm_core.watch(encoders(net), head=net.head, task="classification", runs=runs)
optimiser, taken = torch.optim.SGD(net.parameters(), lr=0.1), 0
for audio, text, target in batches(6):
    optimiser.zero_grad()
    loss = nn.functional.cross_entropy(together(audio, text), target)
    loss.backward()
    watch.step(loss, target)
    optimiser.step()
    taken += 1
    if taken == 2 and rank == 0:
        request(runs, watch.run_id, "stop")
    if watch.stop_requested:
        break
watch.close()
print(rank, taken, watch.run_id, flush=True)
"""


def test_a_stop_among_several_processes_is_refused_and_nobody_waits(runs_root: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", LOOP, str(rank), str(tmp_path / "meeting"), str(runs_root)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=120) for process in both]
    finally:
        for process in both:
            process.kill()
    assert [process.returncode for process in both] == [0, 0], said
    (found,) = Catalogue(runs_root).runs()
    assert [out.split() for out, _ in said] == [["0", "6", found.id], ["1", "6"]]
    reader = open_reader(runs_root / found.id)
    assert found.state == "finished"
    assert len(reader.series([MetricKey("loss")])[MetricKey("loss")].step) == 6
    (stop,) = [event for event in reader.events() if event.kind == "stop"]
    assert stop.text.startswith("refused: 2 processes train together")
