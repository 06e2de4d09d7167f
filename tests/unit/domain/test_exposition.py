"""The text that Prometheus reads."""

from modelyard.domain.exposition import Family, Sample, text


def test_families_have_a_head_and_labels_are_escaped() -> None:
    page = text(
        [
            Family(
                name="requests_total",
                kind="counter",
                help="All\nof them.",
                samples=[
                    Sample(labels={"path": 'a"b\\c\nd'}, value=3),
                    Sample(labels={}, value=0.25),
                ],
            ),
            Family(name="nothing", kind="gauge", help="Left out.", samples=[]),
        ]
    )
    assert page == (
        "# HELP requests_total All\\nof them.\n"
        "# TYPE requests_total counter\n"
        'requests_total{path="a\\"b\\\\c\\nd"} 3\n'
        "requests_total 0.25\n"
    )


def test_numbers_are_prometheuss() -> None:
    samples = [Sample(labels={}, value=value) for value in (float("inf"), 1e21, 0.1)]
    page = text([Family(name="n", kind="gauge", help="h", samples=samples)])
    assert page.splitlines()[2:] == ["n +Inf", "n 1000000000000000000000", "n 0.1"]
