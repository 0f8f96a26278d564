"""What a verdict says: findings with their evidence, and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Severity = Literal["problem", "warning", "note", "fine"]
Confidence = Literal["high", "medium", "low"]
ORDER: tuple[Severity, ...] = ("problem", "warning", "note", "fine")
Number = float | int | str | None


@dataclass(frozen=True)
class Finding:
    """One sentence that can be checked.

    Attributes:
        rule: which rule speaks.
        modality: of whom; "" where it is about the run.
        severity: problem (costs score), warning (may), note (worth knowing), fine (looked at, nothing wrong).
        text: the sentence.
        evidence: numbers behind it, by name; the unit stands in the name where it has one.
        figure: which figure of the page diagnosis, or of the monitor, shows it; "" for none.
        confidence: how sure; what makes it so is in the rule.
        advice: what to try next and why; "" where nothing is to be done.
        method: a balancing method worth trying; "" for none.
        preset: of that method; "" for its usual one.
    """

    rule: str
    modality: str
    severity: Severity
    text: str
    evidence: Mapping[str, Number] = field(default_factory=dict)
    figure: str = ""
    confidence: Confidence = "medium"
    advice: str = ""
    method: str = ""
    preset: str = ""


@dataclass(frozen=True)
class Verdict:
    """What is said of a run.

    Attributes:
        dominant: modality that carries the prediction, None where no single one does.
        lagging: modalities that contribute far less than the strongest.
        headline: the verdict in one sentence.
        findings: what the headline says, then the others, the worst first.
        missing: what could not be looked at, and how to get it; sentences.
    """

    dominant: str | None
    lagging: tuple[str, ...]
    headline: str
    findings: tuple[Finding, ...]
    missing: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """The verdict as JSON types."""
        return {
            "dominant": self.dominant, "lagging": list(self.lagging), "headline": self.headline,
            "findings": [asdict(finding) for finding in self.findings], "missing": list(self.missing),
        }  # fmt: skip


def shown(value: float) -> str:
    """A number in a sentence: three digits."""
    return f"{value:.3g}"


def percent(value: float) -> str:
    """A share in a sentence."""
    return f"{100 * value:.0f} %"


def listed(names: tuple[str, ...] | list[str]) -> str:
    """Names in a sentence: a, b and c."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
