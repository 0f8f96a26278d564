"""The verdict on a run: which modality dominates, since when, how surely, what else is wrong, and what to try.

Rules are pure: they read what was recorded and nothing else, know no data set by name, and every threshold stands in
`verdict_thresholds` with its reason. That nothing is wrong is a finding too.
"""

from __future__ import annotations

from cggm_core.analysis.verdict_balance import balance
from cggm_core.analysis.verdict_learning import learning
from cggm_core.analysis.verdict_parts import ORDER, Finding, Verdict
from cggm_core.analysis.verdict_record import Record, read_record
from cggm_core.analysis.verdict_reliance import reliance
from cggm_core.store import RunReader

__all__ = ["Finding", "Verdict", "diagnose", "judge"]


def diagnose(reader: RunReader) -> Verdict:
    """The verdict on a run as far as it is recorded.

    Args:
        reader: of the run, living or ended.

    Raises:
        StoreError: if the run cannot be read.
    """
    return judge(read_record(reader))


def judge(record: Record) -> Verdict:
    """The verdict on what was recorded."""
    carried = reliance(record)
    findings = [*carried.findings[1:], *learning(record), *balance(record)]
    calm = all(finding.severity in ("fine", "note") for finding in (*carried.findings, *findings))
    if calm and record.last is not None:
        checked = "dominance, unused, harmful, overfitting and conflicting modalities, fusion below its best part"
        findings.append(Finding(
            "nothing_wrong", "", "fine", f"Nothing wrong was found; looked at: {checked}.", {}, "", "medium",
        ))  # fmt: skip
    findings.sort(key=lambda finding: ORDER.index(finding.severity))
    ordered = (carried.findings[0], *findings)
    return Verdict(carried.dominant, carried.lagging, carried.headline, ordered, _missing(record))


def _missing(record: Record) -> tuple[str, ...]:
    """What could not be looked at, and how to get it."""
    said = []
    if record.last is None:
        if record.ended:
            said.append(
                "This run recorded no contributions, so what the fusion really uses is unknown; train again with the "
                "setting contributions=epoch (the default)."
            )
        else:
            said.append(
                "No contributions yet: they come at the end of an epoch, or now with `control RUN contributions`."
            )
    elif not record.curves:
        said.append(
            "This run ended before its robustness curves were taken; resume it, or train again to its end."
            if record.ended
            else "Permutation, removal and noise curves come at the end, or now with `control RUN contributions`."
        )
    if record.modalities and not record.of("val_unimodal_score", record.modalities[0]).size:
        said.append(
            "There are no unimodal validation scores, so overfitting and fusion below its best part are unknown."
        )
    return tuple(said)
