"""Which service is meant by a request on the one port (DESIGN, "Routing on the one port")."""

import re
from collections.abc import Mapping
from urllib.parse import parse_qs

from modelyard.wire.smithy_rpc import is_rpc, path_names

_BY_SIGNING_NAME = {
    "sagemaker": "sagemaker",
    "s3": "s3",
    "sts": "sts",
    "iam": "iam",
    "logs": "logs",
    "monitoring": "cloudwatch",
    "application-autoscaling": "application-autoscaling",
}
_RUNTIME_PATH = re.compile(
    r"/endpoints/[^/]+/(invocations|async-invocations|invocations-response-stream)"
)
_SESSION_PATH = re.compile(r"/bots/[^/]+/botAliases/[^/]+/botLocales/[^/]+/sessions/.+")
_BY_TARGET = {
    "SageMaker": "sagemaker",
    "Logs_20140328": "logs",
    "GraniteServiceVersion20100801": "cloudwatch",
    "AnyScaleFrontendService": "application-autoscaling",
    "Comprehend_20171127": "comprehend",
    "AWSShineFrontendService_20170701": "translate",
    "AWSInsightsIndexService": "ce",
}
_HOST = re.compile(
    r"^(?:(?P<bucket>.+)\.)?s3[.-](?:(?:dualstack|accelerate|[a-z]{2}-[a-z-]+-\d)\.)*amazonaws\.com(?:\.cn)?$"
    r"|^(?P<service>[a-z0-9.-]+?)(?:\.[a-z]{2}-[a-z-]+-\d)?\.amazonaws\.com(?:\.cn)?$"
)
_BY_HOST = {
    "api.sagemaker": "sagemaker",
    "runtime.sagemaker": "sagemaker-runtime",
    "models-v2-lex": "lexv2-models",
    "runtime-v2-lex": "lexv2-runtime",
}
_LOCAL_BUCKET = re.compile(
    r"^(?P<bucket>.+?)(?:\.s3(?:\.[a-z]{2}-[a-z-]+-\d)?)?\.localhost(?:\.localdomain)?$"
)
_ACTIONS = {"2011-06-15": "sts", "2010-05-08": "iam", "2010-08-01": "cloudwatch"}


def identify(*, method: str, path: str, query: str, headers: Mapping[str, str]) -> str | None:
    """botocore's name of the service, None where nothing says it."""
    signing_name = scope_service(query=query, headers=headers)
    if signing_name is not None:
        if signing_name == "sagemaker" and _RUNTIME_PATH.fullmatch(path):
            return "sagemaker-runtime"
        if signing_name == "lex":
            return "lexv2-runtime" if _SESSION_PATH.fullmatch(path) else "lexv2-models"
        return _BY_SIGNING_NAME.get(signing_name, signing_name)
    return _unsigned(method, path, query, headers)


def scope_service(*, query: str, headers: Mapping[str, str]) -> str | None:
    """The service in the credential scope of a signed or presigned request."""
    parts = _scope(query, headers)
    return parts[-2] if len(parts) >= 5 else None


def scope_region(*, query: str, headers: Mapping[str, str]) -> str | None:
    """The region in the credential scope."""
    parts = _scope(query, headers)
    return parts[-3] if len(parts) >= 5 else None


def _scope(query: str, headers: Mapping[str, str]) -> list[str]:
    authorization = headers.get("authorization", "")
    credential = ""
    if "Credential=" in authorization:
        credential = authorization.split("Credential=", 1)[1].split(",", 1)[0].strip()
    elif "X-Amz-Credential" in query:
        credential = parse_qs(query).get("X-Amz-Credential", [""])[0]
    return credential.split("/")


def _unsigned(method: str, path: str, query: str, headers: Mapping[str, str]) -> str | None:
    if is_rpc(headers):
        return _BY_TARGET.get(path_names(path)[0])
    target = headers.get("x-amz-target", "").partition(".")[0]
    if target:
        return _BY_TARGET.get(target)
    if _RUNTIME_PATH.fullmatch(path):
        return "sagemaker-runtime"
    host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
    match = _HOST.match(host.lower())
    if match and match["service"]:
        return _BY_HOST.get(match["service"], match["service"])
    if headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return "sts"
    return "s3"


def rewrite_virtual_host(host: str, target: str) -> str:
    """A virtual-host style S3 target as its path-style form; any other target as it is."""
    name = host.lower().rpartition(":")[0] if re.search(r":\d+$", host) else host.lower()
    match = _LOCAL_BUCKET.match(name) or _HOST.match(name)
    if match is None or match.groupdict().get("bucket") in (None, "s3"):
        return target
    return f"/{match['bucket']}{target}"
