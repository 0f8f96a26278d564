"""Which graphics cards there are, and that runs take turns over them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cggm_core.config import RunConfig
from cggm_core.launch import cores, devices, queue_runner
from cggm_core.launch.queue import Job, QueueState
from cggm_core.launch.worker import Starting, worker_environment


@pytest.mark.parametrize(
    ("said", "cards"),
    [("0,1,2", ("0", "1", "2")), (" 2 , 0", ("2", "0")), ("GPU-8f, GPU-1a", ("GPU-8f", "GPU-1a")), ("", ()), ("-1", ()),
     ("1,-1,2", ("1",)), ("3,,4", ("3",))],
)  # fmt: skip
def test_what_the_environment_says_of_the_cards_holds(said: str, cards: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "nvidia0").touch()
    assert devices.cards({devices.VISIBLE: said}, tmp_path) == cards


def test_without_a_word_the_device_files_are_counted(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidia10", "nvidiactl", "nvidia-uvm", "tty0"):
        (tmp_path / name).touch()
    assert devices.cards({}, tmp_path) == ("0", "1", "2")
    assert devices.cards({}, tmp_path / "none") == ()


@pytest.mark.parametrize(
    ("device", "busy", "there", "card"),
    [
        ("auto", [], ("0", "1"), "0"),
        ("cuda", ["0"], ("0", "1"), "1"),
        ("auto", ["0", "1", "0"], ("0", "1", "2"), "2"),
        ("auto", ["0", "1"], ("0", "1"), "0"),
        ("auto", ["", "", "1"], ("0", "1"), "0"),  # runs on the processor weigh nothing
        ("auto", [], ("0",), ""),
        ("auto", [], (), ""),
        ("cpu", [], ("0", "1"), ""),
        ("mps", [], ("0", "1"), ""),
        ("cuda:1", [], ("0", "1"), ""),
    ],
)
def test_the_card_with_fewest_runs_is_taken(
    device: str, busy: list[str], there: tuple[str, ...], card: str
) -> None:  # fmt: skip
    assert devices.assigned(device, busy, there) == card


def test_a_run_that_names_its_card_keeps_others_off_it() -> None:
    there = ("5", "7")
    assert devices.card_of("cuda:1", "", there) == "7"
    assert devices.card_of("cuda:9", "", there) == ""
    assert devices.card_of("auto", "5", there) == "5"
    assert devices.assigned("auto", [devices.card_of("cuda:0", "", there)], there) == "7"


def test_a_queue_spreads_its_jobs_over_the_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".queue").mkdir()
    given: list[str] = []

    def train(config: RunConfig, root: Path, folder: Path, card: str = "") -> Starting:
        given.append(card)
        return Starting(folder, None)

    monkeypatch.setattr(Starting, "train", train)
    monkeypatch.setattr(devices, "cards", lambda: ("0", "1", "2"))
    named = ["auto", "cuda", "cuda:2", "cpu", "auto", "auto"]
    configs = [RunConfig().with_settings({"device": device}).to_dict() for device in named]
    jobs = [Job(f"b-{number}", "b", config) for number, config in enumerate(configs)]
    queue_runner.turn(QueueState(5, jobs), tmp_path)
    # The third run named card 2 itself, so the fifth finds all taken once and begins again at the first.
    assert given == ["0", "1", "", "", "0"]
    assert [job.card for job in jobs] == ["0", "1", "", "", "0", ""]
    assert jobs[5].state == "pending"


def test_a_worker_sees_the_one_card_it_was_given() -> None:
    assert worker_environment({devices.VISIBLE: "0,1"}, 1, "1")[devices.VISIBLE] == "1"
    assert worker_environment({devices.VISIBLE: "0,1"}, 1)[devices.VISIBLE] == "0,1"
    assert devices.VISIBLE not in worker_environment({}, 1)


def test_every_card_can_have_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "cards", lambda: tuple(map(str, range(50))))
    assert devices.side_by_side() == 50
    monkeypatch.setattr(devices, "cards", tuple)
    assert devices.side_by_side() == cores.slots()
