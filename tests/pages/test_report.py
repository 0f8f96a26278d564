"""The page Report: what is chosen becomes one archive, and a changed choice takes the download away."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from tests.pages.conftest import Open
from tests.pages.test_compare import matrix


def test_the_archive_holds_what_was_chosen(root: Path, open_page: Open) -> None:
    made = matrix(root, seeds=2)
    matrix(root, seeds=2, dataset="synthetic")
    at = open_page("report", runs=",".join([*made["joint"], *made["cggm"]]), baseline="cggm paper")
    full = next(box for box in at.multiselect if box.label == "Drawn in full")
    full.set_value(["joint"]).run()
    at.button(key="report.make").click().run(timeout=120)
    assert not at.exception
    with zipfile.ZipFile(io.BytesIO(at.session_state["report.made"][1])) as held:
        names = held.namelist()
        assert "figures/joint/validation.pdf" in names
        assert "figures/comparison/differences.svg" in names
        assert not any(name.startswith("figures/cggm") for name in names)
        assert sum(name.startswith("configurations/") for name in names) == 4
    assert any(button.proto.id.endswith("report.download") for button in at.get("download_button"))
    at.segmented_control[0].set_value("page").run()
    assert not at.get("download_button")
    assert any("The choice has changed" in caption.value for caption in at.caption)
