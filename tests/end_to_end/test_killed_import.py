"""A worker killed in the middle of an import, as processes; `killed_import` runs the same with 10,000 rows."""

from __future__ import annotations

from pathlib import Path

from tests.end_to_end import killed_import
from tests.end_to_end.killed_import import Fleet, Seen


def test_good_rows_go_on_where_a_killed_worker_left_them(tmp_path: Path) -> None:
    figures = killed_import.run(tmp_path, rows=400, whole=False)
    seen = [each for _second, each in figures.after]
    assert seen[0] == Seen("running", 200, 0, 400, ""), "the user sees what is done"
    assert seen[-1] == Seen("finished", 400, 0, 400, "")
    assert [each.done for each in seen] == sorted(each.done for each in seen)
    assert figures.fleet_after_kill == Fleet(200, 200, 0, 0), "whole chunks"
    assert figures.is_right, "\n".join(figures.lines())


def test_all_or_nothing_is_nothing_after_a_kill_and_all_in_the_end(tmp_path: Path) -> None:
    figures = killed_import.run(tmp_path, rows=400, whole=True)
    assert figures.after[-1][1] == Seen("finished", 400, 0, 400, "")
    assert figures.fleet_after_kill == Fleet(0, 400, 0, 0), "the transaction died with its worker"
    assert figures.is_right, "\n".join(figures.lines())
