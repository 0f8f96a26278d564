"""Reading a run in memory: the protocol in its plainest form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cggm_core.names import MetricKey
from cggm_core.store import summaries
from cggm_core.store.downsample import downsampled
from cggm_core.store.layout import created_at
from cggm_core.store.looks import Contribution, RobustnessCurve, settled_contributions, settled_curves
from cggm_core.store.protocols import ENDED, Attempt, Event, News, RunInfo, Series, Snapshot, Summary
from cggm_core.store.rows import Rows, as_series, visible
from cggm_core.store.tables import hidden_from

if TYPE_CHECKING:
    from cggm_core.store.memory import MemoryRun


class MemoryRunReader:
    """`RunReader` on a `MemoryRun`."""

    def __init__(self, run: MemoryRun) -> None:
        self.run_id = run.run_id
        self._run = run

    def info(self) -> RunInfo:
        """As `RunReader.info`."""
        run = self._run
        with run.lock:
            views = run.view(run.keys(), run.rows, run.attempts)
            held = [rows for rows in views.values() if len(rows.step)]
            newest = max(held, key=lambda rows: int(rows.step[-1]), default=None)
            return RunInfo(
                run.run_id, run.state, run.reason if run.state in ENDED else "", run.config,
                int(newest.step[-1]) if newest else -1, int(newest.epoch[-1]) if newest else -1, *run.planned,
                created_at(run.run_id), run.updated_at, name=str(run.config.get("name", "")),
                summary={key: _summary(rows) for key, rows in views.items()},
            )  # fmt: skip

    def keys(self) -> tuple[MetricKey, ...]:
        """As `RunReader.keys`."""
        return self._run.keys()

    def series(
        self, keys: Sequence[MetricKey], *, max_points: int = 0, first: int | None = None,
        last: int | None = None,
    ) -> dict[MetricKey, Series]:  # fmt: skip
        """As `RunReader.series`.

        Raises:
            StoreError: if `max_points` is between 1 and 7.
        """
        with self._run.lock:
            found = self._run.view(keys, self._run.rows, self._run.attempts)
        return {
            key: downsampled(as_series(key, visible(rows, 2**63 - 1, first, last), 0), max_points)
            for key, rows in found.items()
        }

    def news(self, cursor: Any | None = None, keys: Sequence[MetricKey] | None = None) -> News:
        """As `RunReader.news`."""
        run = self._run
        count, lives, said = cursor or (0, 0, 0)
        with run.lock:
            wanted = run.keys() if keys is None else tuple(keys)
            held = run.view(wanted, run.rows[:count], run.attempts[:lives])
            now = run.view(wanted, run.rows, run.attempts)
            events, moved = tuple(run.events[said:]), (len(run.rows), len(run.attempts), len(run.events))
        parted = [step for key in wanted if (step := _parting(held[key], now[key])) is not None]
        fresh = {}
        for key in wanted:
            unheld = int(held[key].step[-1]) + 1 if len(held[key].step) else None
            after = unheld if unheld is None else min([unheld, *parted])
            tail = visible(now[key], 2**63 - 1, after, None)
            if len(tail.step):
                fresh[key] = as_series(key, tail, 0)
        return News(fresh, events, moved, bool(parted), min(parted, default=-1))

    def events(self, after: int = -1) -> tuple[Event, ...]:
        """As `RunReader.events`."""
        return tuple(self._run.events[max(after, -1) + 1 :])

    def attempts(self) -> tuple[Attempt, ...]:
        """As `RunReader.attempts`."""
        return tuple(self._run.attempts)

    def snapshots(self, *, kind: str = "", modality: str = "") -> tuple[Snapshot, ...]:
        """As `RunReader.snapshots`."""
        with self._run.lock:
            cut = hidden_from(self._run.attempts)
            shown = [shot.snapshot for shot in self._run.shots if shot.snapshot.step < cut[shot.attempt]]
        wanted = [s for s in shown if kind in ("", s.kind) and modality in ("", s.modality)]
        places = {(s.step, s.batch, s.kind, s.modality): s for s in wanted}
        return tuple(sorted(places.values(), key=lambda s: (s.step, s.batch)))

    def contributions(self) -> tuple[Contribution, ...]:
        """As `RunReader.contributions`."""
        return settled_contributions([look for look in self._looks() if isinstance(look, Contribution)])

    def robustness(self) -> tuple[RobustnessCurve, ...]:
        """As `RunReader.robustness`."""
        return settled_curves([look for look in self._looks() if isinstance(look, RobustnessCurve)])

    def _looks(self) -> list[Contribution | RobustnessCurve]:
        with self._run.lock:
            cut = hidden_from(self._run.attempts)
            return [look for attempt, look in self._run.looks if look.step < cut[attempt]]

    def change_token(self) -> tuple[int, ...]:
        """As `RunReader.change_token`."""
        return (self._run.changes, len(self._run.attempts))

    def close(self) -> None:
        """As `RunReader.close`; nothing is held."""


def _summary(rows: Rows) -> Summary:
    made = summaries.extended(summaries.empty(1), rows.step, rows.values[0][:, None])
    return summaries.read(made)[0]


def _parting(held: Rows, now: Rows) -> int | None:
    """First step at which what a consumer holds is no longer how the history begins; None while it is."""
    count = len(held.step)
    shared = min(count, len(now.step))
    same = held.step[:shared] == now.step[:shared]
    for old, new in zip(held.values, now.values, strict=True):
        same &= old[:shared].view(np.int64) == new[:shared].view(np.int64)
    same &= held.seconds[:shared] == now.seconds[:shared]
    if not same.all():
        place = int(np.argmin(same))
        return int(min(held.step[place], now.step[place]))
    return int(held.step[shared]) if shared < count else None
