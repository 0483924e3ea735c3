from __future__ import annotations

from selfnorm import report


def test_the_table_of_contents_is_sorted_and_importable() -> None:
    assert report.__all__ == sorted(report.__all__)
    for name in report.__all__:
        assert getattr(report, name).__module__.startswith("selfnorm.report.")
