"""A program whose AWS addresses are AWS's own; nothing in it knows of Modelyard."""

import os
import sys
import urllib.request

import boto3

for name in list(os.environ):
    if name.startswith("AWS_ENDPOINT"):
        del os.environ[name]
endpoint, rows = sys.argv[1:]

s3 = boto3.client("s3")  # https://BUCKET.s3.amazonaws.com
assert s3.meta.endpoint_url == "https://s3.amazonaws.com"
bucket, key, body = "hard-coded", "a folder/ümlaut.bin", os.urandom(9_000_000)
s3.create_bucket(Bucket=bucket)
s3.put_object(Bucket=bucket, Key=key, Body=body)
assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == body
link = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key})
with urllib.request.urlopen(link) as answer:
    assert answer.read() == body
s3.delete_object(Bucket=bucket, Key=key)
s3.delete_bucket(Bucket=bucket)

runtime = boto3.client("sagemaker-runtime")
answer = runtime.invoke_endpoint(EndpointName=endpoint, ContentType="text/csv", Body=rows)
assert float(answer["Body"].read().split()[0]) > 0
for region in ("us-east-1", "eu-central-1"):
    assert boto3.client("sts", region_name=region).get_caller_identity()["Account"]
for service, operation in (
    ("sagemaker", "list_endpoints"),
    ("logs", "describe_log_groups"),
    ("iam", "list_users"),
    ("cloudwatch", "list_metrics"),
):
    getattr(boto3.client(service), operation)()
print("Hard-coded addresses reached the platform")
