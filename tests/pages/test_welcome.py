"""What somebody sees who opens the lab for the first time, and how it leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from cggm_core.cards import PageCard
from cggm_core.catalog import all_cards
from tests.pages import making
from tests.pages.conftest import Open


def greeted(at: object) -> bool:
    return any("Why does a multimodal network" in element.value for element in at.markdown)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("way", "title"), [("verdict", "Diagnosis"), ("compare", "Compare"), ("train", "New run"), ("loop", "Library")]
)
def test_a_newcomer_reads_what_the_lab_is_and_every_way_on_arrives(
    way: str, title: str, samples: Path, open_page: Open
) -> None:
    run_id = making.finished(samples)
    at = open_page()
    assert greeted(at)
    at.button(f"welcome.{way}").click().run()
    assert not at.exception
    assert at.title[0].value == title
    if way == "verdict":
        assert at.query_params["run"] in (run_id, [run_id])


def test_the_welcome_put_away_stays_away(root: Path, samples: Path, open_page: Open) -> None:
    making.finished(samples)
    at = open_page()
    at.button("welcome.away.button").click().run()
    assert not greeted(at)
    assert not greeted(open_page())


def test_the_welcome_leaves_with_the_first_own_run(root: Path, samples: Path, open_page: Open) -> None:
    making.finished(samples)
    making.finished(root)
    assert not greeted(open_page())


def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(
    root: Path, samples: Path, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    making.finished(samples)

    def refused(self: Path, **given: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "touch", refused)
    at = open_page()
    at.button("welcome.away.button").click().run()
    assert not at.exception
    assert not greeted(at)


def test_the_navigation_follows_a_person_s_work() -> None:
    cards: list[PageCard] = sorted(all_cards("page").values(), key=lambda card: card.order)
    assert list(dict.fromkeys(card.section for card in cards)) == ["", "One run", "Several runs", "Reference"]
    assert len({card.order for card in cards}) == len(cards), "two pages claim the same place"
