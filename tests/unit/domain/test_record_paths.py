import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.record_paths import (
    BadPath,
    NotInRecord,
    check_csv_path,
    csv_cells,
    parse_path,
)

RECORD = {
    "id": 7,
    "features": [1.5, 2, 3, 4, 5, 6],
    "meta": {"a": "x", "b-c": None},
    "rows": [{"v": 1}, {"v": 2}],
}


@pytest.mark.parametrize(
    ("path", "chosen"),
    [
        ("$", RECORD),
        ("$.id", 7),
        ("$['id']", 7),
        ('$["id"]', 7),
        ("$.meta.a", "x"),
        ("$.meta.b-c", None),
        ("$['id','features']", {"id": 7, "features": RECORD["features"]}),
        ("$.meta['a', 'b-c']", {"a": "x", "b-c": None}),
        ("$.features[0]", 1.5),
        ("$.features[-1]", 6),
        ("$.features[0,-1]", [1.5, 6]),
        ("$.features[ 1 , 2 ]", [2, 3]),
        ("$.features[*]", RECORD["features"]),
        ("$.meta.*", ["x", None]),
        ("$.rows[*].v", [1, 2]),
        ("$.rows[0:1].v", [1]),
        ("$.rows[0,1]['v']", [1, 2]),
    ],
)
def test_a_path_chooses_what_it_says(path: str, chosen: Any) -> None:
    record = json.dumps(RECORD).encode()
    assert json.loads(parse_path(path).of_json(record)) == chosen


@pytest.mark.parametrize(
    ("path", "chosen"),
    [
        ("$[1:4]", [2, 3, 4]),
        ("$[:5]", [1, 2, 3, 4, 5]),
        ("$[-2:]", [5, 6]),
        ("$[2:99]", [3, 4, 5, 6]),
    ],
)
def test_the_end_of_a_slice_is_excluded_as_the_linked_library_has_it(
    path: str, chosen: list[int]
) -> None:
    assert json.loads(parse_path(path).of_json(b"[1,2,3,4,5,6]")) == chosen
    cells = parse_path(path).of_cells([b"1", b"2", b"3", b"4", b"5", b"6"])
    assert [int(cell) for cell in cells] == chosen


def test_numbers_keep_their_own_text() -> None:
    record = b'{"a": [1.10, 1e5, 12345678901234567890123, -0]}'
    assert parse_path("$.a[0]").of_json(record) == b"1.10"
    assert parse_path("$.a[0,1,2,3]").of_json(record) == b"[1.10,1e5,12345678901234567890123,-0]"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("$.features[6]", "index 6 is out of range, there are 6"),
        ("$.features[-7]", "index -7 is out of range"),
        ("$.gone", "has no gone"),
        ("$['id','gone']", "has no gone"),
        ("$.id.deeper", "needs a JSON object there"),
        ("$.meta[0]", "needs a JSON array there"),
    ],
)
def test_what_is_not_there_is_an_error(path: str, why: str) -> None:
    with pytest.raises(NotInRecord, match=why):
        parse_path(path).of_json(json.dumps(RECORD).encode())


@pytest.mark.parametrize(
    "path",
    ["", "id", ".id", "$id", "$.", "$[", "$[]", "$..id", "$[?(@.a>1)]", "$[(1)]", "$[0:4:2]", "$['a]", "$[a]",
     "$." + "a" * 63, "$['a'.'b']", "$[1.5]"],
)  # fmt: skip
def test_what_is_not_of_the_subset_is_refused(path: str) -> None:
    with pytest.raises(BadPath):
        parse_path(path)


@pytest.mark.parametrize("path", ["$.a", "$['a']", "$[0][1]", "$[*].a"])
def test_csv_is_chosen_by_columns_only(path: str) -> None:
    with pytest.raises(BadPath, match="choose columns by index"):
        check_csv_path(parse_path(path))


def test_a_column_that_is_not_there_is_an_error() -> None:
    with pytest.raises(NotInRecord, match="the row has 2"):
        parse_path("$[2]").of_cells([b"a", b"b"])


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n")), min_size=1))
def test_cells_put_together_are_the_row_again(values: list[str]) -> None:
    written = [
        '"' + one.replace('"', '""') + '"' if set(one) & set('",') else one for one in values
    ]
    row = ",".join(written).encode()
    cells = csv_cells(row)
    assert b",".join(cells) == row
    assert [cell.decode() for cell in cells] == written


def test_a_quote_that_does_not_end_is_an_error() -> None:
    with pytest.raises(NotInRecord, match="does not end on its line"):
        csv_cells(b'a,"b')
