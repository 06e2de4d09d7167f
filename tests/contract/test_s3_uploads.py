"""S3 as boto3 sees it: bodies in one piece, in chunks and in parts, and their checksums."""

import base64
import hashlib
import io
import os
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from modelyard.store.object_uploads import Uploads
from modelyard.testing.object_server import MIB, ObjectServer, code, refused


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_checksums(s3: Any, algorithm: str) -> None:
    member = f"Checksum{algorithm}"
    put = s3.put_object(Bucket="bucket", Key="k", Body=b"data", ChecksumAlgorithm=algorithm)
    got = s3.get_object(Bucket="bucket", Key="k", ChecksumMode="ENABLED")
    assert got["Body"].read() == b"data"
    assert put[member] == got[member]
    attributes = s3.get_object_attributes(
        Bucket="bucket", Key="k", ObjectAttributes=["Checksum", "ETag", "ObjectSize"]
    )
    assert attributes["Checksum"][member] == put[member]
    assert attributes["ObjectSize"] == 4
    wrong = base64.b64encode(bytes(len(base64.b64decode(put[member])))).decode()
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket="bucket", Key="bad", Body=b"data", **{member: wrong})
    assert code(error.value) == ("BadDigest", 400)
    assert [one["Key"] for one in s3.list_objects_v2(Bucket="bucket")["Contents"]] == ["k"]


class Unseekable(io.RawIOBase):
    """A body whose length boto3 does not know, so that it is sent in signed or unsigned chunks."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._data.read(size)


def test_an_upload_and_download_of_20_mib(s3: Any, tmp_path: Path, server: ObjectServer) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(20 * MIB))
    s3.upload_file(str(source), "bucket", "big", ExtraArgs={"Metadata": {"a": "b"}})
    s3.download_file("bucket", "big", str(target))
    assert target.read_bytes() == source.read_bytes()
    head = s3.head_object(Bucket="bucket", Key="big")
    assert head["ETag"].endswith('-3"')
    assert head["Metadata"] == {"a": "b"}
    attributes = s3.get_object_attributes(
        Bucket="bucket", Key="big", ObjectAttributes=["ObjectParts"], MaxParts=2
    )
    parts = attributes["ObjectParts"]
    assert (parts["TotalPartsCount"], parts["IsTruncated"]) == (3, True)
    part = s3.get_object(Bucket="bucket", Key="big", PartNumber=3)
    assert part["PartsCount"] == 3
    assert part["Body"].read() == source.read_bytes()[16 * MIB :]
    assert len(server.files()) == 1


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [("CRC32", "COMPOSITE"), ("CRC32C", "FULL_OBJECT"), ("CRC64NVME", "FULL_OBJECT"),
     ("SHA1", "COMPOSITE"), ("SHA256", "COMPOSITE")],
)  # fmt: skip
def test_multipart_checksums(s3: Any, algorithm: str, kind: str) -> None:
    member = f"Checksum{algorithm}"
    data = [bytes(5 * MIB), b"tail"]
    upload = s3.create_multipart_upload(
        Bucket="bucket", Key="k", ChecksumAlgorithm=algorithm, ChecksumType=kind
    )
    target = {"Bucket": "bucket", "Key": "k", "UploadId": upload["UploadId"]}
    parts = []
    for number, piece in enumerate(data, 1):
        sent = s3.upload_part(PartNumber=number, Body=piece, ChecksumAlgorithm=algorithm, **target)
        parts.append({"PartNumber": number, "ETag": sent["ETag"], member: sent[member]})
    done = s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **target)
    again = s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **target)
    assert again["ETag"] == done["ETag"]
    assert done["ChecksumType"] == kind
    got = s3.get_object(Bucket="bucket", Key="k", ChecksumMode="ENABLED")
    assert got["Body"].read() == b"".join(data)
    assert got[member] == done[member]
    if kind == "FULL_OBJECT":
        whole = s3.put_object(
            Bucket="bucket", Key="w", Body=b"".join(data), ChecksumAlgorithm=algorithm
        )
        assert whole[member] == done[member]
    else:
        assert done[member].endswith("-2")


def test_the_life_of_a_multipart_upload(s3: Any, server: ObjectServer) -> None:
    s3.put_object(Bucket="bucket", Key="source", Body=b"0123456789")
    first = s3.create_multipart_upload(Bucket="bucket", Key="a/1")["UploadId"]
    second = s3.create_multipart_upload(Bucket="bucket", Key="b c")["UploadId"]
    pages = s3.get_paginator("list_multipart_uploads").paginate(
        Bucket="bucket", PaginationConfig={"PageSize": 1}
    )
    assert [one["Key"] for page in pages for one in page["Uploads"]] == ["a/1", "b c"]
    answer = s3.list_multipart_uploads(Bucket="bucket", Delimiter="/")
    assert answer["CommonPrefixes"] == [{"Prefix": "a/"}]
    target = {"Bucket": "bucket", "Key": "a/1", "UploadId": first}
    etags = [
        s3.upload_part_copy(
            PartNumber=number, CopySource="bucket/source", CopySourceRange="bytes=2-4", **target
        )["CopyPartResult"]["ETag"]
        for number in (1, 2)
    ]
    pages = s3.get_paginator("list_parts").paginate(PaginationConfig={"PageSize": 1}, **target)
    assert [(p["PartNumber"], p["Size"]) for page in pages for p in page["Parts"]] == [
        (1, 3),
        (2, 3),
    ]
    both = [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, 1)]
    for parts, expected in (
        (both, "EntityTooSmall"),
        (both[::-1], "InvalidPartOrder"),
        ([{"PartNumber": 1, "ETag": '"00"'}], "InvalidPart"),
        ([{"PartNumber": 9, "ETag": etags[0]}], "InvalidPart"),
    ):
        with pytest.raises(ClientError) as error:
            s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **target)
        assert code(error.value) == (expected, 400)
    s3.complete_multipart_upload(MultipartUpload={"Parts": both[:1]}, IfNoneMatch="*", **target)
    assert s3.get_object(Bucket="bucket", Key="a/1")["Body"].read() == b"234"
    s3.abort_multipart_upload(Bucket="bucket", Key="b c", UploadId=second)
    with pytest.raises(ClientError) as error:
        s3.upload_part(Bucket="bucket", Key="b c", UploadId=second, PartNumber=1, Body=b"")
    assert code(error.value) == ("NoSuchUpload", 404)
    assert len(server.files()) == 2


@pytest.mark.parametrize("step", ["parts", "assemble"])
def test_a_completion_that_is_repeated_while_the_first_goes_on_succeeds(
    s3: Any, server: ObjectServer, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    upload = s3.create_multipart_upload(Bucket="bucket", Key="k")
    target = {"Bucket": "bucket", "Key": "k", "UploadId": upload["UploadId"]}
    part = s3.upload_part(**target, PartNumber=1, Body=b"data")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    going_on = getattr(Uploads, step)

    def overtaken(*given: Any) -> Any:
        """The first one, whose client did not wait for its answer, comes to its end before the second one's next step."""
        monkeypatch.undo()
        s3.complete_multipart_upload(**target, MultipartUpload=parts)
        return going_on(*given)

    monkeypatch.setattr(Uploads, step, overtaken)
    again = s3.complete_multipart_upload(**target, MultipartUpload=parts)
    head = s3.head_object(Bucket="bucket", Key="k")
    assert again["ETag"] == head["ETag"]
    assert len(server.files()) == 1


def test_content_md5(s3: Any) -> None:
    good = base64.b64encode(hashlib.md5(b"x").digest()).decode()
    s3.put_object(Bucket="bucket", Key="k", Body=b"x", ContentMD5=good)
    for value, expected in ((good, "BadDigest"), ("AA==", "InvalidDigest")):
        with pytest.raises(ClientError) as error:
            s3.put_object(Bucket="bucket", Key="k", Body=b"y", ContentMD5=value)
        assert code(error.value) == (expected, 400)


def test_an_unfinished_upload_tells_its_wrong_parts_and_ranges(s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="source", Body=b"0123456789")
    place = {"Bucket": "bucket", "Key": "k"}
    upload = {**place, "UploadId": s3.create_multipart_upload(**place)["UploadId"]}

    def copy(span: str) -> Any:
        return lambda: s3.upload_part_copy(
            **upload, PartNumber=1, CopySource="bucket/source", CopySourceRange=span
        )

    for wrong in ("0-8", "bytes=1-0", "bytes=1-", "bytes=-2", "bytes=0-1,3-4", "bytes=0-10"):
        assert refused(copy(wrong), "InvalidArgument", 400)["ArgumentValue"] == wrong
    refused(copy("bytes=100-200"), "InvalidRequest", 400)
    part = copy("bytes=0-9")()["CopyPartResult"]
    assert not {name for name in part if name.startswith("Checksum")}
    listed = s3.list_parts(**upload)
    assert "ChecksumType" not in listed and listed["Parts"][0]["Size"] == 10

    def complete(*parts: dict[str, Any]) -> Any:
        return lambda: s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [*parts]})

    refused(complete(), "InvalidRequest", 400)
    error = refused(complete({"PartNumber": 2, "ETag": part["ETag"]}), "InvalidPart", 400)
    assert (error["PartNumber"], error["UploadId"]) == ("2", upload["UploadId"])
    complete({"PartNumber": 1, "ETag": part["ETag"]})()
