"""The policies that AWS manages and that exist in every account: part of the program, not of its state.

A few that people attach when they set up SageMaker. ``AmazonSageMakerFullAccess`` is shortened to the services that the
platform has. Ids and dates are AWS's, so that what compares them finds what it knows.
"""

import json
from collections.abc import Mapping
from typing import Any

from modelyard.base.arns import iam_arn

ACCOUNT = "aws"
"""Stands in the place of the account in their ARNs."""
_VERSION = "2012-10-17"
_SAGEMAKER_BUCKETS = [
    "arn:aws:s3:::*SageMaker*",
    "arn:aws:s3:::*Sagemaker*",
    "arn:aws:s3:::*sagemaker*",
]


def _allow(action: Any, resource: Any, **more: Any) -> Mapping[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def _policy(
    name: str, policy_id: str, created: float, description: str, *statements: Mapping[str, Any]
) -> Mapping[str, Any]:
    document = json.dumps({"Version": _VERSION, "Statement": statements}, indent=2)
    return {
        "PolicyName": name,
        "Path": "/",
        "PolicyId": policy_id,
        "Arn": iam_arn(ACCOUNT, f"policy/{name}"),
        "CreateDate": created,
        "UpdateDate": created,
        "Description": description,
        "DefaultVersionId": "v1",
        "Versions": {"v1": {"Document": document, "CreateDate": created}},
        "Tags": [],
    }


SAGEMAKER_FULL_ACCESS = _policy(
    "AmazonSageMakerFullAccess",
    "ANPAJZ5IWYMXO5QDB4QOG",
    1_511_960_879.0,
    "Provides full access to Amazon SageMaker via the AWS Management Console and SDK. Also provides select "
    "access to related services.",
    _allow("sagemaker:*", "*"),
    _allow(
        [
            "application-autoscaling:*",
            "cloudwatch:DeleteAlarms",
            "cloudwatch:DescribeAlarms",
            "cloudwatch:GetMetricData",
            "cloudwatch:GetMetricStatistics",
            "cloudwatch:ListMetrics",
            "cloudwatch:PutMetricAlarm",
            "cloudwatch:PutMetricData",
            "logs:CreateLogGroup",
            "logs:CreateLogStream",
            "logs:Describe*",
            "logs:GetLogEvents",
            "logs:PutLogEvents",
            "iam:ListRoles",
            "s3:GetBucketLocation",
            "s3:ListAllMyBuckets",
            "s3:ListBucket",
        ],
        "*",
    ),
    _allow(
        ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
        [f"{bucket}/*" for bucket in _SAGEMAKER_BUCKETS] + _SAGEMAKER_BUCKETS,
    ),
    _allow("s3:CreateBucket", _SAGEMAKER_BUCKETS),
    _allow(
        "iam:PassRole",
        "arn:aws:iam::*:role/*",
        Condition={"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
    ),
)
POLICIES: Mapping[str, Mapping[str, Any]] = {
    policy["PolicyName"]: policy
    for policy in (
        SAGEMAKER_FULL_ACCESS,
        _policy(
            "AdministratorAccess",
            "ANPAIWMBCKSKIEE64ZLYK",
            1_423_250_346.0,
            "Provides full access to AWS services and resources.",
            _allow("*", "*"),
        ),
        _policy(
            "AmazonS3FullAccess",
            "ANPAIFIR6V6BVTRAHWINE",
            1_423_250_458.0,
            "Provides full access to all buckets via the AWS Management Console.",
            _allow(["s3:*", "s3-object-lambda:*"], "*"),
        ),
        _policy(
            "AmazonS3ReadOnlyAccess",
            "ANPAIZTJ4DXE7G6AGAE6M",
            1_423_250_459.0,
            "Provides read only access to all buckets via the AWS Management Console.",
            _allow(
                [
                    "s3:Get*",
                    "s3:List*",
                    "s3:Describe*",
                    "s3-object-lambda:Get*",
                    "s3-object-lambda:List*",
                ],
                "*",
            ),
        ),
    )
}
"""By name."""
