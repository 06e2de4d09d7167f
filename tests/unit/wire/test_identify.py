"""Which service a request on the one port means."""

import pytest

from modelyard.wire.identify import identify, rewrite_virtual_host, scope_region

AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=AKIA/20260101/eu-west-1/{}/aws4_request, SignedHeaders=host, Signature=0"


@pytest.mark.parametrize(
    ("service", "path", "expected"),
    [
        ("sagemaker", "/", "sagemaker"),
        ("sagemaker", "/endpoints/e/invocations", "sagemaker-runtime"),
        ("sagemaker", "/endpoints/e/async-invocations", "sagemaker-runtime"),
        ("s3", "/endpoints/e/invocations", "s3"),
        ("sts", "/", "sts"),
        ("iam", "/", "iam"),
        ("logs", "/", "logs"),
        ("monitoring", "/", "cloudwatch"),
        ("lex", "/bots/", "lexv2-models"),
        ("lex", "/bots/B/botaliases/A/", "lexv2-models"),
        ("lex", "/bots/B/botAliases/A/botLocales/en_US/sessions/s/text", "lexv2-runtime"),
        ("lex", "/bots/B/botAliases/A/botLocales/en_US/sessions/s", "lexv2-runtime"),
    ],
)
def test_a_signature_names_its_service(service: str, path: str, expected: str) -> None:
    headers = {"authorization": AUTHORIZATION.format(service)}
    assert identify(method="POST", path=path, query="", headers=headers) == expected
    assert scope_region(query="", headers=headers) == "eu-west-1"


def test_a_presigned_query_names_its_service() -> None:
    query = "X-Amz-Credential=AKIA%2F20260101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Signature=0"
    assert identify(method="GET", path="/b/k", query=query, headers={}) == "s3"


@pytest.mark.parametrize(
    ("headers", "path", "expected"),
    [
        ({"x-amz-target": "SageMaker.ListModels"}, "/", "sagemaker"),
        ({"x-amz-target": "Logs_20140328.DescribeLogGroups"}, "/", "logs"),
        ({}, "/endpoints/e/invocations", "sagemaker-runtime"),
        ({"host": "sts.us-east-1.amazonaws.com"}, "/", "sts"),
        ({"host": "api.sagemaker.us-east-1.amazonaws.com"}, "/", "sagemaker"),
        ({"host": "localhost:8650"}, "/bucket/key", "s3"),
        ({"host": "models-v2-lex.us-east-1.amazonaws.com"}, "/bots/", "lexv2-models"),
        ({"host": "runtime-v2-lex.us-east-1.amazonaws.com"}, "/x", "lexv2-runtime"),
    ],
)
def test_an_unsigned_request_is_known_by_target_path_or_host(
    headers: dict[str, str], path: str, expected: str
) -> None:
    assert identify(method="POST", path=path, query="", headers=headers) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("bucket.localhost:8650", "/bucket/a%20b?x=y"),
        ("my.dotted.bucket.localhost", "/my.dotted.bucket/a%20b?x=y"),
        ("bucket.s3.localhost", "/bucket/a%20b?x=y"),
        ("bucket.s3.eu-west-1.amazonaws.com", "/bucket/a%20b?x=y"),
        ("bucket.s3.amazonaws.com", "/bucket/a%20b?x=y"),
        ("s3.eu-west-1.amazonaws.com", "/a%20b?x=y"),
        ("localhost:8650", "/a%20b?x=y"),
        ("127.0.0.1:8650", "/a%20b?x=y"),
        ("[::1]:8650", "/a%20b?x=y"),
    ],
)
def test_a_bucket_in_the_host_moves_into_the_path(host: str, expected: str) -> None:
    assert rewrite_virtual_host(host, "/a%20b?x=y") == expected
