"""A disk that is really full, while processes are killed: what runs goes on, the rest is refused, and comes back by itself.

The home lies on a small file system in memory, in a mount namespace of the test's own.
"""

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SCENARIO = textwrap.dedent(
    """
    import sys
    from pathlib import Path

    from botocore.exceptions import ClientError

    from modelyard.testing import losses
    from modelyard.testing.platform import command, running_platform

    root = Path(sys.argv[1])
    FILLERS = [root / "filler", root / "last-bytes"]
    TAGS = {
        "ResourceArn": "arn:aws:sagemaker:us-east-1:123456789012:endpoint/double",
        "Tags": [{"Key": "disk", "Value": "was full"}],
    }

    def fill():
        for path, piece in zip(FILLERS, (65_536, 512)):
            with path.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(b"x" * piece)
                except OSError:
                    pass

    def is_refused(ask, word):
        try:
            ask()
        except ClientError as error:
            assert word in str(error), error
            return True
        return False

    options = ("--no-auth", "--isolation", "off", "--gateways", "2", *losses.PATIENTLY)
    with running_platform(root / "h", *options) as platform:
        home = platform.home.root
        deployed = command(
            "deploy", sys.argv[2], "--name", "double", "--count", "2", home=home
        )
        assert deployed.returncode == 0, deployed.stderr
        sagemaker, s3 = platform.client("sagemaker"), platform.client("s3")
        fill()
        assert is_refused(lambda: sagemaker.add_tags(**TAGS), "could not be saved")
        assert is_refused(lambda: s3.create_bucket(Bucket="no-room"), "no room")
        assert "full" in command("status", home=home).stdout
        first = losses.platform_processes(platform.home)
        with losses.Callers(platform, "double", count=4) as callers:
            losses.wait_for(lambda: callers.since(0.0) > 50, "answers")
            for victim in ("gateway-0", "worker", "control"):
                killed_at = losses.kill(losses.victims(platform, victim))
                losses.wait_for(lambda: callers.since(killed_at) > 500, "answers after " + victim)
                seen = losses.summary(victim, callers.answers, killed_at)
                assert (seen.refused, seen.other) == (0, 0), seen
                assert seen.broken <= (4 if victim == "gateway-0" else 0), seen
            told = command("status", home=home)
            assert "full" in told.stdout + told.stderr, told
            for path in FILLERS:
                path.unlink()
            losses.wait_for(lambda: losses.is_answered(platform), "an answer of control")
            losses.wait_for(lambda: losses.is_whole(platform, 2), "a whole platform")
            losses.wait_for(
                lambda: losses.platform_processes(platform.home)["gateway-0"] != first["gateway-0"],
                "the table of processes, which had no room, to tell of the new gateway",
            )
        sagemaker.add_tags(**TAGS)
        s3.create_bucket(Bucket="room")
        now = losses.platform_processes(platform.home)
        assert now["host"] == first["host"]
    print("all is well")
    """
)


@pytest.mark.timeout(600)
def test_a_full_disk_is_told_survived_and_recovered_from(tmp_path: Path) -> None:
    from modelyard.testing.models import doubling_model

    model = doubling_model(tmp_path / "double.onnx")
    folder = tmp_path / "d"  # Paths of sockets are short.
    folder.mkdir()
    enter = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    mount = 'mount -t tmpfs -o size=96m tmpfs "$0"'
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare here")
    tried = subprocess.run(
        [*enter, mount, str(folder)], capture_output=True, text=True, timeout=30, check=False
    )
    if tried.returncode != 0:
        pytest.skip(f"this user may not mount: {tried.stderr.strip()}")
    done = subprocess.run(
        [
            *(*enter, f'{mount} && exec "$1" -c "$2" "$0" "$3"', str(folder)),
            *(sys.executable, SCENARIO, str(model)),
        ],
        capture_output=True,
        text=True,
        timeout=590,
        check=False,
    )
    assert done.stdout.endswith("all is well\n"), done.stdout + done.stderr
