"""``transform``: score a file or a prefix with a model, from start to downloaded answers."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from botocore.exceptions import ClientError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from modelyard.cli import output, upload
from modelyard.cli.options import HomeOption, JsonOption, RegionOption
from modelyard.cli.platform import CommandFailed, Platform, connect

POLL_SECONDS = 0.1
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
    split: Annotated[str, typer.Option("--split", help="Line or None.")] = "Line",
    instance_type: Annotated[str, typer.Option("--instance-type")] = "ml.m5.large",
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
            "ContentType": content_type or _TYPES.get(Path(source).suffix, "text/csv"),
            "SplitType": split,
        },
        "TransformOutput": {"S3OutputPath": output_uri},
        "TransformResources": {"InstanceType": instance_type, "InstanceCount": 1},
    }
    if accept is not None:
        request["TransformOutput"]["Accept"] = accept
    if split == "Line":
        request["BatchStrategy"] = "MultiRecord"
    sagemaker.create_transform_job(**request)
    description = _follow(sagemaker, job)
    written = [] if target.startswith("s3://") else _download(platform, output_uri, Path(target))
    if as_json:
        description.pop("ResponseMetadata", None)
        output.print_json({**description, "Files": written})
        return
    seconds = (description["TransformEndTime"] - description["TransformStartTime"]).total_seconds()
    output.console.print(f"Job {job} Completed in {seconds:.1f} s:")
    for path in written or [output_uri]:
        output.console.print(f"  {path}", markup=False)


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


def _follow(sagemaker: Any, job: str) -> dict[str, Any]:
    """Show the job until it has ended. Raises ``CommandFailed`` with the platform's reason."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=output.notes, transient=True) as progress:
        task = progress.add_task(f"{job}: starting", total=None)
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
            time.sleep(POLL_SECONDS)


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
