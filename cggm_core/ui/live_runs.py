"""What all viewers of a run share: it is read, thinned and drawn once, however many look at it.

Without this every open page would follow the run by itself, and ten of them would take a core from the training.
What is handed out is never changed afterwards, so it needs no copy.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

import streamlit as st

from cggm_core.analysis.series import Axis
from cggm_core.figures import dynamics, screen
from cggm_core.figures.live import LiveRun
from cggm_core.figures.spec import FigureSpec
from cggm_core.figures.zoom import AROUND, Closer, Window
from cggm_core.store import Event, RunInfo, RunReader
from cggm_core.ui import session
from cggm_core.ui.chart import Picture

# A page asks once a second; whoever asks within this time of another sees what that one saw.
FRESH_SECONDS = 0.8
# A validation or a slow disk takes its time; what takes longer than this, and than so many steps, is said.
SILENT_SECONDS, SILENT_STEPS = 30.0, 20
# Seconds between two looks of a viewer by how many look: together they ask some three times a second at most.
PACES = ((3, 1.0), (8, 2.0))
SLOWEST = 3.0
GONE_SECONDS = 12.0
_MOST_RUNS, _MOST_HALF_LIVES, _MOST_SHOTS = 12, 3, 10


@dataclass(frozen=True)
class Shot:
    """A run at one moment, as drawn.

    Attributes:
        info: state, progress, configuration.
        events: everything that happened so far.
        rate: steps a second over the newest rows; 0 while unknown.
        elapsed: seconds from the first start to the newest row.
        rows: rows of the longest series.
        specs: its figures.
        pictures: the same, drawn for the screen, in the same order.
    """

    info: RunInfo
    events: tuple[Event, ...]
    rate: float
    elapsed: float
    rows: int
    specs: tuple[FigureSpec, ...]
    pictures: tuple[Picture, ...]

    def silent(self, now: float) -> float:
        """Seconds for which a running worker has recorded nothing, where that is longer than its pace explains.

        Args:
            now: Unix seconds.

        Returns:
            0 where nothing is strange, or the run is not running.
        """
        if self.info.state != "running" or self.info.damaged:
            return 0.0
        waited = now - self.info.updated_at
        usual = max(SILENT_SECONDS, SILENT_STEPS / self.rate if self.rate > 0 else 0.0)
        return waited if waited > usual else 0.0


class SharedRun:
    """One run for everybody who looks at it; safe from any thread.

    Args:
        reader: of the run; nobody else uses it.
        fresh_seconds: how long an answer may be handed out again.
    """

    def __init__(self, reader: RunReader, fresh_seconds: float = FRESH_SECONDS) -> None:
        self.fresh_seconds = fresh_seconds
        self.drawings = 0
        self._reader = reader
        self._closer = Closer()
        self._seen: dict[str, float] = {}
        self._lock = threading.Lock()
        self._lives: OrderedDict[float, tuple[LiveRun, float]] = OrderedDict()
        self._shots: OrderedDict[tuple[Axis, float, int, Window | None, int], Shot] = OrderedDict()

    def shot(self, axis: Axis, half_life: float, max_points: int, window: Window | None = None) -> Shot:
        """The run as it stands, not older than `fresh_seconds`.

        Args:
            axis: what the x axes count.
            half_life: of the smoothing, in steps; 0 draws the raw values alone.
            max_points: most points a line; with a window, most inside of it.
            window: part of the x axis that is drawn from all of its rows; None for the whole run.

        Raises:
            DamagedRunError: if what is new does not fit its checksum.
        """
        with self._lock:
            live = self._live(half_life)
            key = (axis, half_life, max_points, window, live.reads)
            if key not in self._shots:
                self._shots[key] = self._draw(live, axis, max_points, window)
                while len(self._shots) > _MOST_SHOTS:
                    self._shots.popitem(last=False)
            return self._shots[key]

    def pace(self, who: str, now: float) -> float:
        """Seconds between two looks, for one viewer among those there are.

        Each refresh costs the server a run of the page's script, which no sharing saves; so many viewers look less
        often, and a training is not slowed by being famous.

        Args:
            who: names the viewer.
            now: monotonic seconds; who has not come for `GONE_SECONDS` has left.
        """
        with self._lock:
            self._seen[who] = now
            self._seen = {name: at for name, at in self._seen.items() if now - at <= GONE_SECONDS}
            return next((seconds for most, seconds in PACES if len(self._seen) <= most), SLOWEST)

    def _live(self, half_life: float) -> LiveRun:
        """Smoothing runs over every row, so that each half-life has a history of its own."""
        live, polled = self._lives.pop(half_life, (None, 0.0))
        live = live or LiveRun(self._reader, half_life)
        now = time.monotonic()
        if now - polled >= self.fresh_seconds:
            live.poll()
            polled = now
        self._lives[half_life] = (live, polled)
        while len(self._lives) > _MOST_HALF_LIVES:
            self._lives.popitem(last=False)
        return live

    def _draw(self, live: LiveRun, axis: Axis, max_points: int, window: Window | None) -> Shot:
        self.drawings += 1
        curves = None
        if window is not None and not live.info.damaged:
            curves = self._closer.curves(live, axis, window, max_points)
            max_points += 2 * AROUND  # they are few enough already
        specs = () if live.info.damaged else dynamics.run_figures(live.view(axis, curves))
        return Shot(
            live.info, live.events, live.rate(), live.elapsed(), live.rows(), specs,
            tuple(Picture.of(screen.figure(spec, max_points=max_points)) for spec in specs),
        )  # fmt: skip


def shared_run(run_id: str) -> SharedRun:
    """The run as all sessions of the app share it.

    Raises:
        RunNotFoundError: if there is no such run.
    """
    # The folder is the key: a run restored, or moved to another root, is another file.
    return _shared(str(session.catalogue().folder(run_id)), run_id)


@st.cache_resource(show_spinner=False, max_entries=_MOST_RUNS)
def _shared(folder: str, _run_id: str) -> SharedRun:
    return SharedRun(session.catalogue().reader(_run_id))
