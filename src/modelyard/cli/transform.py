"""``transform``: score a file or a prefix with a model, from start to downloaded answers."""

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from botocore.exceptions import ClientError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from modelyard.cli import output, upload
from modelyard.cli.options import HomeOption, JsonOption, RegionOption
from modelyard.cli.platform import CommandFailed, Platform, connect

POLL_SECONDS = 0.1
LOG_SECONDS = 1.0
"""So often the job's log is asked how far it is: AWS's DescribeTransformJob does not tell."""
_LOG_GROUP = "/aws/sagemaker/TransformJobs"
_PROGRESS = re.compile(r"progress: (\d+) of (\d+) objects, (\d+) records")
_GZIP = ".gz"
_TYPES = {".csv": "text/csv", ".jsonl": "application/jsonlines", ".json": "application/json"}


def transform(
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="A local file, or an s3:// prefix.")
    ],
    target: Annotated[
        str, typer.Argument(metavar="OUTPUT", help="A local file or folder, or an s3:// prefix.")
    ],
    model: Annotated[str, typer.Option("--model", help="An endpoint's name, or a model's.")],
    content_type: Annotated[
        str | None, typer.Option("--content-type", show_default="by the input's suffix")
    ] = None,
    accept: Annotated[str | None, typer.Option("--accept", help="Type of the answers.")] = None,
    split: Annotated[
        str, typer.Option("--split", help="Line, None, RecordIO or TFRecord.")
    ] = "Line",
    singly: Annotated[
        bool, typer.Option("--singly", help="One record a request, instead of as many as fit.")
    ] = False,
    join: Annotated[
        bool, typer.Option("--join", help="Write each record beside its answer.")
    ] = False,
    input_filter: Annotated[
        str | None,
        typer.Option("--input-filter", help="JSONPath of what the model gets, as '$[1:]'."),
    ] = None,
    output_filter: Annotated[
        str | None,
        typer.Option("--output-filter", help="JSONPath of what is written, as '$[0,-1]'."),
    ] = None,
    variables: Annotated[
        list[str] | None,
        typer.Option("--env", metavar="NAME=VALUE", help="Environment of the job; repeatable."),
    ] = None,
    instance_type: Annotated[str, typer.Option("--instance-type")] = "ml.m5.large",
    instances: Annotated[int, typer.Option("--instances", help="They share the objects.")] = 1,
    home: HomeOption = None,
    region: RegionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score a file, or every object under a prefix, in a batch transform job."""
    platform = connect(home, region=region)
    sagemaker = platform.client("sagemaker")
    job = f"transform-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{time.time_ns() // 1000 % 1000:03d}"
    input_uri = _input(platform, source, job)
    output_uri = (
        target
        if target.startswith("s3://")
        else f"s3://{upload.bucket(platform)}/jobs/{job}/output"
    )
    request: dict[str, Any] = {
        "TransformJobName": job,
        "ModelName": _model_name(sagemaker, model),
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": input_uri}},
            "ContentType": content_type or _type_of(source),
            "SplitType": split,
            "CompressionType": "Gzip" if source.endswith(_GZIP) else "None",
        },
        "TransformOutput": {"S3OutputPath": output_uri},
        "TransformResources": {"InstanceType": instance_type, "InstanceCount": instances},
        "Environment": _environment(variables or ()),
        "DataProcessing": _processing(input_filter, output_filter, join=join),
    }
    if accept is not None:
        request["TransformOutput"]["Accept"] = accept
    if split != "None":
        request["BatchStrategy"] = "SingleRecord" if singly else "MultiRecord"
    if join:
        request["TransformOutput"].setdefault("Accept", request["TransformInput"]["ContentType"])
        request["TransformOutput"]["AssembleWith"] = split
    sagemaker.create_transform_job(**request)
    description = _follow(platform, job)
    written = [] if target.startswith("s3://") else _download(platform, output_uri, Path(target))
    if as_json:
        description.pop("ResponseMetadata", None)
        output.print_json({**description, "Files": written})
        return
    seconds = (description["TransformEndTime"] - description["TransformStartTime"]).total_seconds()
    output.console.print(f"Job {job} Completed in {seconds:.1f} s:")
    for path in written or [output_uri]:
        output.console.print(f"  {path}", markup=False)


def _type_of(source: str) -> str:
    return _TYPES.get(Path(source.removesuffix(_GZIP)).suffix, "text/csv")


def _environment(variables: Sequence[str]) -> dict[str, str]:
    pairs = [variable.partition("=") for variable in variables]
    if any(not separator for _, separator, _ in pairs):
        raise CommandFailed("--env takes NAME=VALUE.", "For example: --env OMP_NUM_THREADS=1")
    return {name: value for name, _, value in pairs}


def _processing(
    input_filter: str | None, output_filter: str | None, *, join: bool
) -> dict[str, str]:
    given = {"InputFilter": input_filter, "OutputFilter": output_filter}
    chosen = {name: path for name, path in given.items() if path is not None}
    return {**chosen, "JoinSource": "Input" if join else "None"}


def _input(platform: Platform, source: str, job: str) -> str:
    if source.startswith("s3://"):
        return source
    path = Path(source)
    if not path.is_file():
        raise CommandFailed(f"{path} is no file.", "Give a local file or an s3:// prefix.")
    return upload.put(platform, path, key=f"jobs/{job}/input/{path.name}")


def _model_name(sagemaker: Any, name: str) -> str:
    """An endpoint's name stands for the model of its first variant."""
    try:
        config = sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
    except ClientError:
        return name
    description = sagemaker.describe_endpoint_config(EndpointConfigName=config)
    model: str = description["ProductionVariants"][0]["ModelName"]
    return model


def _follow(platform: Platform, job: str) -> dict[str, Any]:
    """Show the job until it has ended. Raises ``CommandFailed`` with the platform's reason."""
    sagemaker, logs = platform.client("sagemaker"), platform.client("logs")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=output.notes, transient=True) as progress:
        task = progress.add_task(f"{job}: starting", total=None)
        asked_at = time.monotonic()
        while True:
            description: dict[str, Any] = sagemaker.describe_transform_job(TransformJobName=job)
            status = description["TransformJobStatus"]
            if status == "Completed":
                return description
            if status in ("Failed", "Stopped"):
                raise CommandFailed(
                    f"Job {job} {status}: {description.get('FailureReason', 'it was stopped')}",
                    f"Its output: modelyard logs {job} --job",
                )
            progress.update(task, description=f"{job}: {status}")
            if time.monotonic() - asked_at >= LOG_SECONDS:
                asked_at = time.monotonic()
                far = _how_far(logs, job)
                if far is not None:
                    done, total, records = far
                    shown = f"{job}: {status}, {records:,} records"
                    progress.update(task, completed=done, total=total, description=shown)
            time.sleep(POLL_SECONDS)


def _how_far(logs: Any, job: str) -> tuple[int, int, int] | None:
    """Objects done, all objects, and records, by the last line of the job's log that tells."""
    try:
        streams = logs.describe_log_streams(logGroupName=_LOG_GROUP, logStreamNamePrefix=f"{job}/")
        for stream in streams["logStreams"]:
            page = logs.get_log_events(
                logGroupName=_LOG_GROUP, logStreamName=stream["logStreamName"], limit=20
            )
            for event in reversed(page["events"]):
                if found := _PROGRESS.match(event["message"]):
                    return int(found[1]), int(found[2]), int(found[3])
    except ClientError:
        return None  # The group comes with the first line.
    return None


def _download(platform: Platform, uri: str, target: Path) -> list[str]:
    """Bring a job's outputs: one into the file ``target``, several into the folder ``target``."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    pages = (
        platform.client("s3")
        .get_paginator("list_objects_v2")
        .paginate(Bucket=bucket, Prefix=prefix)
    )
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    single = len(keys) == 1 and not target.is_dir()
    written = []
    for key in keys:
        path = target if single else target / key.removeprefix(prefix).lstrip("/")
        upload.get(platform, bucket, key, path)
        written.append(str(path))
    return written
