"""Artifacts: what is unpacked, what is refused, and what several workers or a killed one leave."""

import gzip
import io
import multiprocessing
import os
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from modelyard.frameworks.archive import ArtifactError, ArtifactLimits, unpack_once
from modelyard.testing import models

LIMITS = ArtifactLimits(total_bytes=8 << 20, files=100)


def unpack(
    source: Path, tmp_path: Path, *, name: str = "model.tar.gz", limits: ArtifactLimits = LIMITS
) -> Path:
    return unpack_once(
        source, name=name, key="key-1", artifacts=tmp_path / "artifacts", limits=limits
    )


def tar_of(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def member(
    name: str, *, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size, header.type, header.linkname = size, kind, link
    return header


def test_an_archive_becomes_a_folder_of_its_files(tmp_path: Path) -> None:
    source = models.archive(
        tmp_path / "m.tar.gz", files={"model.onnx": b"abc", "code/inference.py": b"x = 1"}
    )
    folder = unpack(source, tmp_path)
    assert (folder / "model.onnx").read_bytes() == b"abc"
    assert (folder / "code/inference.py").read_text() == "x = 1"


def test_a_plain_tar_is_an_archive_too(tmp_path: Path) -> None:
    source = models.archive(tmp_path / "m.tar.gz", files={"model.onnx": b"abc"})
    plain = tmp_path / "m.tar"
    plain.write_bytes(gzip.decompress(source.read_bytes()))
    assert (unpack(plain, tmp_path, name="m.tar") / "model.onnx").read_bytes() == b"abc"


def test_a_bare_file_keeps_the_name_it_was_uploaded_under(tmp_path: Path) -> None:
    source = tmp_path / "stored-under-a-hash"
    source.write_bytes(b"\x08\x07model")
    folder = unpack(source, tmp_path, name="churn.onnx")
    assert (folder / "churn.onnx").read_bytes() == b"\x08\x07model"


def test_a_folder_of_files_is_copied(tmp_path: Path) -> None:
    source = tmp_path / "prefix"
    (source / "deep").mkdir(parents=True)
    (source / "deep/model.onnx").write_bytes(b"abc")
    assert (unpack(source, tmp_path) / "deep/model.onnx").read_bytes() == b"abc"


def test_a_folder_with_a_link_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "prefix"
    source.mkdir()
    (source / "model.onnx").symlink_to("/etc/passwd")
    with pytest.raises(ArtifactError, match="not a regular file"):
        unpack(source, tmp_path)


def test_what_is_unpacked_is_read_only_and_without_special_bits(tmp_path: Path) -> None:
    header = member("code/run.sh", size=3)
    header.mode = 0o6777
    folder = unpack(tar_of(tmp_path / "m.tar.gz", header), tmp_path)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))]
    assert sorted(modes) == [0o400, 0o500, 0o500]


def test_files_of_finder_are_skipped(tmp_path: Path) -> None:
    source = models.archive(
        tmp_path / "m.tar.gz",
        files={"._model.onnx": b"finder", "a/._b": b"x", "model.onnx": b"abc"},
    )
    names = {path.name for path in unpack(source, tmp_path).rglob("*") if path.is_file()}
    assert names == {"model.onnx"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_to_a_file_of_the_archive_is_a_second_name_of_it(
    tmp_path: Path, kind: bytes
) -> None:
    source = tar_of(
        tmp_path / "m.tar.gz",
        member(
            "v1/latest.onnx",
            kind=kind,
            link="model.onnx" if kind == tarfile.SYMTYPE else "v1/model.onnx",
        ),
        member("v1/model.onnx", size=3),
    )
    path = unpack(source, tmp_path) / "v1/latest.onnx"
    assert path.read_bytes() == b"xxx"
    assert not path.is_symlink()


def test_links_to_links_are_followed_within_the_archive(tmp_path: Path) -> None:
    source = tar_of(
        tmp_path / "m.tar.gz",
        member("a", kind=tarfile.SYMTYPE, link="b"),
        member("b", kind=tarfile.SYMTYPE, link="sub/../c"),
        member("c", size=2),
    )
    assert (unpack(source, tmp_path) / "a").read_bytes() == b"xx"


def test_links_that_mean_each_other_are_refused(tmp_path: Path) -> None:
    source = tar_of(
        tmp_path / "m.tar.gz",
        member("a", kind=tarfile.SYMTYPE, link="b"),
        member("b", kind=tarfile.SYMTYPE, link="a"),
    )
    with pytest.raises(ArtifactError, match="link to nothing"):
        unpack(source, tmp_path)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return models.hostile_archives(tmp_path_factory.mktemp("hostile"))


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("parent", "leave the model's folder"),
        ("inner parent", "leave the model's folder"),
        ("absolute", "leave the model's folder"),
        ("symbolic link", "is a link that leaves"),
        ("relative link", "is a link that leaves"),
        ("link to the folder", "is a link that leaves"),
        ("hard link", "is a link that leaves"),
        ("write through a link", "is a link that leaves"),
        ("device", "a device or a pipe"),
        ("block device", "a device or a pipe"),
        ("pipe", "a device or a pipe"),
        ("long name", "more than 1024 bytes"),
        ("long part", "255 in one part"),
        ("deep", "too deep"),
        ("empty", "empty"),
        ("cut tar", "cut off"),
        ("cut", "cut off"),
        ("without its end", "cut off"),
        ("wrong checksum", "CRC"),
        ("text", "not a gzip-compressed tar"),
        ("nothing", "an empty file"),
        ("bomb", "more than 8388608 bytes"),
    ],
)
def test_a_hostile_archive_is_refused_and_leaves_nothing(
    hostile: dict[str, Path], tmp_path: Path, what: str, reason: str
) -> None:
    with pytest.raises(ArtifactError, match=reason):
        unpack(hostile[what], tmp_path)
    assert [path for path in (tmp_path / "artifacts").iterdir() if path.is_dir()] == []
    assert not Path("/tmp/escaped").exists()


def test_every_hostile_archive_is_tried(hostile: dict[str, Path]) -> None:
    assert len(hostile) == 22


def test_a_tar_that_ends_between_two_members_is_refused(tmp_path: Path) -> None:
    whole = gzip.decompress(
        models.archive(tmp_path / "m.tar.gz", files={"a": b"x" * 512, "b": b"y" * 512}).read_bytes()
    )
    for length in (1024, 1300):
        cut = tmp_path / "cut.tar.gz"
        cut.write_bytes(gzip.compress(whole[:length]))
        with pytest.raises(ArtifactError, match="cut off"):
            unpack(cut, tmp_path)


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    source = models.archive(tmp_path / "m.tar.gz", files={f"f{n}": b"" for n in range(101)})
    with pytest.raises(ArtifactError, match="more than 100 files"):
        unpack(source, tmp_path)


def test_a_header_that_claims_gigabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    header = member("x", kind=tarfile.GNUTYPE_LONGNAME, size=1 << 33)
    path = tmp_path / "m.tar.gz"
    path.write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(4096)))
    with pytest.raises(ArtifactError, match="header of 8589934592 bytes"):
        unpack(path, tmp_path)


def test_a_chain_of_extended_headers_is_refused(tmp_path: Path) -> None:
    header = member("p", kind=tarfile.XHDTYPE, size=6).tobuf(tarfile.USTAR_FORMAT)
    path = tmp_path / "m.tar.gz"
    path.write_bytes(gzip.compress((header + b"6 a=b\n".ljust(512, b"\0")) * 3000))
    with pytest.raises(ArtifactError):
        unpack(path, tmp_path)


def test_bytes_without_end_after_the_last_member_are_refused(tmp_path: Path) -> None:
    whole = gzip.decompress(models.archive(tmp_path / "m.tar.gz", files={"a": b"x"}).read_bytes())
    path = tmp_path / "padded.tar.gz"
    path.write_bytes(gzip.compress(whole + bytes(80 << 20), compresslevel=1))
    with pytest.raises(ArtifactError, match="longer than its files"):
        unpack(path, tmp_path)


def test_two_members_of_which_one_lies_within_the_other_are_refused(tmp_path: Path) -> None:
    source = models.archive(tmp_path / "m.tar.gz", files={"a": b"file", "a/b": b"file in a file"})
    with pytest.raises(ArtifactError, match="cannot be unpacked"):
        unpack(source, tmp_path)


def test_an_artifact_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is gone"):
        unpack(tmp_path / "no-such-file", tmp_path)


def test_a_key_cannot_leave_the_folder(tmp_path: Path) -> None:
    for key in ("../x", "", ".", "..", "a/b", ".hidden"):
        with pytest.raises(ValueError, match="not a folder name"):
            unpack_once(tmp_path, name="m", key=key, artifacts=tmp_path, limits=LIMITS)


def test_what_is_unpacked_once_is_used_again(tmp_path: Path) -> None:
    source = models.archive(tmp_path / "m.tar.gz", files={"model.onnx": b"abc"})
    first = unpack(source, tmp_path)
    source.unlink()
    assert unpack(source, tmp_path) == first


def _unpack_in_child(source: Path, tmp_path: Path) -> int:
    return os.stat(unpack(source, tmp_path) / "model.onnx").st_ino


def test_workers_that_start_together_unpack_once(tmp_path: Path) -> None:
    source = models.archive(tmp_path / "m.tar.gz", files={"model.onnx": b"abc" * 100_000})
    with multiprocessing.get_context("fork").Pool(4) as pool:
        found = pool.starmap(_unpack_in_child, [(source, tmp_path)] * 8)
    assert len(set(found)) == 1


def test_a_worker_killed_at_the_rename_leaves_nothing_that_is_used(tmp_path: Path) -> None:
    source = models.archive(tmp_path / "m.tar.gz", files={"model.onnx": b"abc"})
    program = (
        "import sys; from pathlib import Path\n"
        "from modelyard.frameworks.archive import *\n"
        "unpack_once(Path(sys.argv[1]), name='m', key='key-1', artifacts=Path(sys.argv[2]),"
        " limits=ArtifactLimits(total_bytes=1000, files=10))"
    )
    environment = {**os.environ, "MODELYARD_FAILPOINTS": "artifact.before-rename=1"}
    arguments = [sys.executable, "-c", program, str(source), str(tmp_path / "artifacts")]
    killed = subprocess.run(arguments, env=environment)
    assert killed.returncode == -9
    assert not (tmp_path / "artifacts/key-1").exists()
    assert (unpack(source, tmp_path) / "model.onnx").read_bytes() == b"abc"
    assert not (tmp_path / "artifacts/.key-1.tmp").exists()
