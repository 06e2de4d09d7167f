import pytest

from modelyard.domain.transform_manifest import BadManifest, manifest, parse_manifest


def test_a_manifest_names_its_prefix_and_keys_in_order_each_once() -> None:
    data = b'[{"prefix": "s3://b/in/"}, "b.csv", "sub/a.csv", "b.csv"]'
    assert parse_manifest(data) == ("s3://b/in/", ("b.csv", "sub/a.csv"))
    assert parse_manifest(manifest("s3://b/", ["k"])) == ("s3://b/", ("k",))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"a,b", "not JSON"),
        (b"\xff", "not JSON"),
        (b"{}", "not a JSON array"),
        (b"[]", "not a JSON array"),
        (b'["a"]', "first element"),
        (b'[{"prefix": "b/in"}]', "first element"),
        (b'[{"prefix": "s3://b/"}, 3]', "not 3"),
        (b'[{"prefix": "s3://b/"}, ""]', "not ''"),
    ],
)
def test_what_is_no_manifest_is_told(data: bytes, why: str) -> None:
    with pytest.raises(BadManifest, match=why):
        parse_manifest(data)
