"""The page of gradient maps: makes a map in the background, answers in words, says what to do where there is none."""

from __future__ import annotations

import time
from pathlib import Path

from streamlit.testing.v1 import AppTest

from cggm_core.store import create_run, open_writer, run_folder
from tests.embedding.making import paired
from tests.pages import making
from tests.pages.conftest import Open


def kept_run(root: Path, rho: float = 0.9) -> str:
    run_id = create_run(root, making.config(name="with gradients").to_json())
    writer = open_writer(run_folder(root, run_id))
    making.write_rows(writer, 20, 20)
    for shot in paired(rho, snapshots=4, dim=30, common=0.0):
        writer.snapshot(shot.step, shot.batch, shot.kind, shot.modality, shot.array)
    writer.finish("finished")
    return run_id


def until_made(at: AppTest) -> AppTest:
    deadline = time.monotonic() + 120
    while any(button.key == "map.cancel" for button in at.button) and time.monotonic() < deadline:
        time.sleep(0.3)
        at.run()
    assert not at.exception
    return at


def texts(at: AppTest) -> str:
    return " ".join(element.value for element in (*at.markdown, *at.caption, *at.info, *at.warning))


def test_a_map_is_made_and_the_question_is_answered(root: Path, open_page: Open) -> None:
    at = open_page("gradient_map", run=kept_run(root))
    at.session_state["map.method"] = "pca"
    at = until_made(at.run())
    assert "stands closely for the true one" in texts(at)
    assert "Click a point" in texts(at)
    assert "Distances between clouds mean nothing" in texts(at)
    assert list((root / ".maps").glob("*.map"))
    assert {path.name for path in root.iterdir() if path.name.startswith(".")} <= {".maps", ".catalogue.db"}
    at.session_state["maps.picked"] = 100
    assert "Step **100**" in texts(at.run())


def test_unpaired_gradients_are_called_so(root: Path, open_page: Open) -> None:
    at = open_page("gradient_map", run=kept_run(root, 0.0))
    assert "does not stand for the true one" in texts(at)
    until_made(at)


def test_a_run_without_gradients_says_how_to_get_some(root: Path, open_page: Open, living: str) -> None:
    assert "New runs keep some" in texts(open_page("gradient_map", run=making.finished(root)))
    at = open_page("gradient_map", run=living)
    assert "Take a snapshot now" in texts(at)
    next(button for button in at.button if button.label == "Take a snapshot now").click().run()
    assert not at.exception
    assert (run_folder(root, living) / "control.json").exists()
    assert "resume it" in texts(open_page("gradient_map", run=making.died(root)))
