"""``deploy``, ``invoke``, ``list`` and ``delete``: models and endpoints."""

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from botocore.exceptions import ClientError

from modelyard.cli import output, upload
from modelyard.cli.options import HomeOption, JsonOption, RegionOption
from modelyard.cli.platform import CommandFailed, connect

DEFAULT_IMAGE = "modelyard/python"
DEFAULT_INSTANCE = "ml.m5.large"
WAIT_SECONDS = 600.0
POLL_SECONDS = 0.05
_CONTENT_TYPES = {".csv": "text/csv", ".json": "application/json", ".npy": "application/x-npy",
                  ".jsonl": "application/jsonlines"}  # fmt: skip


def deploy(
    path: Annotated[Path, typer.Argument(help="A model file, a folder, or a model.tar.gz.")],
    name: Annotated[str, typer.Option("--name", help="Name of the endpoint.")],
    image: Annotated[
        str, typer.Option("--image", help="Container image; the default looks at the files.")
    ] = DEFAULT_IMAGE,
    instance_type: Annotated[str, typer.Option("--instance-type")] = DEFAULT_INSTANCE,
    count: Annotated[int, typer.Option("--count", min=1, help="Replicas.")] = 1,
    variables: Annotated[
        list[str] | None, typer.Option("--env", metavar="NAME=VALUE", help="For the container.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it serves.")] = True,
    home: HomeOption = None,
    region: RegionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve a model: upload it, create model, configuration and endpoint, and wait until it answers.

    A second deploy of the same name updates the endpoint; the old model serves until the new one is ready.
    """
    platform = connect(home, region=region)
    uri = upload.model(platform, path, name=name)
    sagemaker = platform.client("sagemaker")
    version = f"{name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{time.time_ns() // 1000 % 1000:03d}"[
        -63:
    ]
    version = version.lstrip("-")
    _create(
        sagemaker.create_model,
        ModelName=version,
        ExecutionRoleArn=f"arn:aws:iam::{platform.credentials.account}:role/ModelyardExecutionRole",
        PrimaryContainer={
            "Image": image,
            "ModelDataUrl": uri,
            "Environment": _pairs(variables or []),
        },
    )
    _create(
        sagemaker.create_endpoint_config,
        EndpointConfigName=version,
        ProductionVariants=[
            {
                "VariantName": "AllTraffic",
                "ModelName": version,
                "InstanceType": instance_type,
                "InitialInstanceCount": count,
            }
        ],
    )
    _create_or_update(sagemaker, name, version)
    description = _wait(sagemaker, name) if wait else sagemaker.describe_endpoint(EndpointName=name)
    if as_json:
        description.pop("ResponseMetadata", None)
        output.print_json(description)
        return
    output.console.print(f"Endpoint {name} is {description['EndpointStatus']}. Ask it:")
    output.console.print(
        f"  modelyard invoke {name} --body '…'   or   --body @rows.csv", markup=False
    )


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise CommandFailed(f"--env {text!r} is not NAME=VALUE.")
        pairs[name] = value
    return pairs


_EXISTS = "already existing"


def _create(operation: Callable[..., Any], **request: Any) -> None:
    """Create what has a name of this deploy's own: if it exists, an earlier try of this very request made it."""
    try:
        operation(**request)
    except ClientError as error:
        if _EXISTS not in str(error):
            raise


def _create_or_update(sagemaker: Any, name: str, config: str) -> None:
    try:
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
    except ClientError as error:
        if _EXISTS not in str(error):
            raise
        known = sagemaker.describe_endpoint(EndpointName=name)
        if known["EndpointConfigName"] == config:
            return  # An earlier try of this very request made it.
        if known["EndpointStatus"] == "Failed":
            raise CommandFailed(
                f"Endpoint {name} is Failed and cannot be updated.",
                f"Delete it first: modelyard delete {name}",
            ) from error
        sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config)


def _wait(sagemaker: Any, name: str) -> dict[str, Any]:
    """Follow an endpoint until it has settled. Raises ``CommandFailed`` with the platform's reason."""
    deadline = time.monotonic() + WAIT_SECONDS
    with output.notes.status(f"Starting {name} …") as progress:
        while time.monotonic() < deadline:
            description: dict[str, Any] = sagemaker.describe_endpoint(EndpointName=name)
            status = description["EndpointStatus"]
            if status == "Failed" or (status == "InService" and "FailureReason" in description):
                raise CommandFailed(
                    f"Endpoint {name}: {description.get('FailureReason', 'Failed without a reason')}",
                    f"Its output: modelyard logs {name}",
                )
            if status == "InService":
                return description
            progress.update(f"{name}: {status} …")
            time.sleep(POLL_SECONDS)
    raise CommandFailed(
        f"Endpoint {name} is not InService after {WAIT_SECONDS:.0f} s.",
        f"See its output: modelyard logs {name}",
    )


def invoke(
    name: Annotated[str, typer.Argument(help="Name of the endpoint.")],
    body: Annotated[
        str, typer.Option("--body", help="The request: text, @FILE, or - for standard input.")
    ],
    content_type: Annotated[
        str | None,
        typer.Option(
            "--content-type", help="Type of the body.", show_default="by the file's or text's look"
        ),
    ] = None,
    accept: Annotated[
        str | None, typer.Option("--accept", help="Wanted type of the answer.")
    ] = None,
    variant: Annotated[str | None, typer.Option("--variant", help="Ask this variant.")] = None,
    home: HomeOption = None,
    region: RegionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask an endpoint and print its answer."""
    data, guessed = _body(body)
    request = {
        "EndpointName": name,
        "Body": data,
        "ContentType": content_type or guessed,
        "Accept": accept,
        "TargetVariant": variant,
    }
    client = connect(home, region=region).client("sagemaker-runtime")
    answer = client.invoke_endpoint(
        **{key: value for key, value in request.items() if value is not None}
    )
    payload = answer["Body"].read()
    if as_json:
        output.print_json(
            {
                "ContentType": answer["ContentType"],
                "InvokedProductionVariant": answer.get("InvokedProductionVariant"),
                "Body": payload.decode("utf-8", "replace"),
            }
        )
        return
    sys.stdout.buffer.write(payload)
    if sys.stdout.isatty() and not payload.endswith(b"\n"):
        sys.stdout.write("\n")


def _body(text: str) -> tuple[bytes, str]:
    """The request's bytes and the content type that they look like."""
    if text == "-":
        data, suffix = sys.stdin.buffer.read(), ""
    elif text.startswith("@"):
        path = Path(text[1:])
        if not path.is_file():
            raise CommandFailed(f"{path} is no file.")
        data, suffix = path.read_bytes(), path.suffix
    else:
        data, suffix = text.encode(), ""
    by_look = "application/json" if data.lstrip()[:1] in (b"{", b"[") else "text/csv"
    return data, _CONTENT_TYPES.get(suffix, by_look)


def list_resources(
    home: HomeOption = None, region: RegionOption = None, as_json: JsonOption = False
) -> None:
    """Show endpoints and transform jobs."""
    sagemaker = connect(home, region=region).client("sagemaker")
    endpoints = [
        sagemaker.describe_endpoint(EndpointName=item["EndpointName"])
        for item in _all(sagemaker, "list_endpoints", "Endpoints")
    ]
    jobs = _all(sagemaker, "list_transform_jobs", "TransformJobSummaries")
    if as_json:
        for endpoint in endpoints:
            endpoint.pop("ResponseMetadata", None)
        output.print_json({"Endpoints": endpoints, "TransformJobs": jobs})
        return
    output.print_table(
        ("ENDPOINT", "STATUS", "VARIANTS", "CHANGED"),
        [
            (e["EndpointName"], e["EndpointStatus"], _variants(e), e["LastModifiedTime"])
            for e in endpoints
        ],
        empty="No endpoints. Deploy a model: modelyard deploy MODEL --name NAME",
    )
    if jobs:
        output.console.print()
        output.print_table(
            ("TRANSFORM JOB", "STATUS", "CREATED"),
            [(j["TransformJobName"], j["TransformJobStatus"], j["CreationTime"]) for j in jobs],
            empty="",
        )


def _variants(endpoint: dict[str, Any]) -> str:
    return ", ".join(
        f"{variant['VariantName']} {variant.get('CurrentInstanceCount', 0)}"
        f"/{variant.get('DesiredInstanceCount', 0)}"
        for variant in endpoint.get("ProductionVariants", [])
    )


def _all(client: Any, operation: str, member: str) -> list[dict[str, Any]]:
    pages = client.get_paginator(operation).paginate()
    return [item for page in pages for item in page[member]]


def delete(
    name: Annotated[str, typer.Argument(help="Name of the endpoint.")],
    keep_model: Annotated[
        bool, typer.Option("--keep-model", help="Leave model and configuration.")
    ] = False,
    home: HomeOption = None,
    region: RegionOption = None,
) -> None:
    """Delete an endpoint, and with it the configuration and the models that only it used."""
    sagemaker = connect(home, region=region).client("sagemaker")
    config_name = sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
    sagemaker.delete_endpoint(EndpointName=name)
    with output.notes.status(f"Draining {name} …"), contextlib.suppress(ClientError):
        while True:  # Ends when the endpoint can no longer be described.
            sagemaker.describe_endpoint(EndpointName=name)
            time.sleep(POLL_SECONDS)
    if not keep_model:
        with contextlib.suppress(
            ClientError
        ):  # Somebody has deleted them already: that is what we want.
            config = sagemaker.describe_endpoint_config(EndpointConfigName=config_name)
            sagemaker.delete_endpoint_config(EndpointConfigName=config_name)
            shadows = config.get("ShadowProductionVariants", ())
            for variant in (*config["ProductionVariants"], *shadows):
                sagemaker.delete_model(ModelName=variant["ModelName"])
    output.notes.print(f"Endpoint {name} is deleted.")
