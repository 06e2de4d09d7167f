"""Local files on their way to the platform's S3, and back."""

import gzip
import hashlib
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from rich.progress import wrap_file

from modelyard.cli import output
from modelyard.cli.platform import CommandFailed, Platform

PIECE = 1 << 20


def bucket(platform: Platform) -> str:
    """The bucket of everything that commands upload, created at need."""
    name = f"modelyard-{platform.region}-{platform.credentials.account}"
    s3 = platform.client("s3")
    try:
        s3.head_bucket(Bucket=name)
    except ClientError:
        place = {"LocationConstraint": platform.region}
        extra: dict[str, Any] = (
            {} if platform.region == "us-east-1" else {"CreateBucketConfiguration": place}
        )
        s3.create_bucket(Bucket=name, **extra)
    return name


def model(platform: Platform, path: Path, *, name: str) -> str:
    """Upload a model file, an archive, or a folder as ``model.tar.gz``; returns its ``s3://`` URI."""
    if not path.exists():
        raise CommandFailed(
            f"{path} does not exist.", "Give a model file, a folder or a model.tar.gz."
        )
    if path.is_dir():
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "model.tar.gz"
            pack(path, archive)
            return _put_by_content(platform, archive, name=name)
    return _put_by_content(platform, path, name=name)


def _put_by_content(platform: Platform, path: Path, *, name: str) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return put(platform, path, key=f"models/{name}/{digest}/{path.name}")


def pack(folder: Path, target: Path) -> None:
    """Write a folder as ``model.tar.gz``: the same files give the same bytes, so that nothing is unpacked twice."""
    with (
        target.open("wb") as file,
        gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|") as archive,
    ):
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            archive.add(path, arcname=name, recursive=False, filter=_undated)


def _undated(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without what differs between two copies of a folder: times and owners."""
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def put(platform: Platform, path: Path, *, key: str) -> str:
    """Upload one file with a progress bar; returns its ``s3://`` URI."""
    target = bucket(platform)
    size = path.stat().st_size
    with (
        path.open("rb") as plain,
        wrap_file(
            plain, size, description=f"Uploading {path.name}", console=output.notes, transient=True
        ) as file,
    ):
        platform.client("s3").put_object(Bucket=target, Key=key, Body=file)
    return f"s3://{target}/{key}"


def get(platform: Platform, bucket_name: str, key: str, path: Path) -> None:
    """Download one object; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    answer = platform.client("s3").get_object(Bucket=bucket_name, Key=key)
    temporary = path.with_name(path.name + ".part")
    with temporary.open("wb") as file:
        for piece in answer["Body"].iter_chunks(PIECE):
            file.write(piece)
    temporary.replace(path)
