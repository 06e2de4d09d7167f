"""Comprehend learning from a user's texts through boto3: classifiers, trained in a job and hosted; topics."""

import io
import json
import os
import signal
import tarfile
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from modelyard.cli.platform import Platform
from modelyard.testing.platform import command

ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"
WORDS = {
    "SPORT": "ball goal team match",
    "FOOD": "bread soup cheese cook",
    "MONEY": "bank loan tax fund",
}
ROWS = "".join(
    f'{name},"the {words} of number {number}"\n'
    for number in range(20)
    for name, words in WORDS.items()
)


@pytest.fixture(scope="module")
def bucket(platform: Platform) -> str:
    s3 = platform.client("s3")
    s3.create_bucket(Bucket="classifiers")
    s3.put_object(Bucket="classifiers", Key="train/all.csv", Body=ROWS.encode())
    return "classifiers"


def until(look: Callable[[], Any], wanted: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + 200
    while not wanted(seen := look()):
        assert time.monotonic() < deadline, seen
        time.sleep(0.1)
    return seen


def code_of(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])


def kill_control(platform: Platform) -> None:
    """Return when another one answers."""

    def pid() -> int:
        return int(json.loads(platform.home.process_table.read_text()).get("control", 0))

    before = pid()
    os.kill(before, signal.SIGKILL)
    until(pid, lambda now: now not in (0, before))
    until(lambda: command("status", home=platform.home.root).returncode, lambda code: code == 0)


def create(client: Any, name: str, bucket: str, key: str = "train/", **more: Any) -> str:
    made = client.create_document_classifier(
        DocumentClassifierName=name,
        DataAccessRoleArn=ROLE,
        LanguageCode="en",
        InputDataConfig={"S3Uri": f"s3://{bucket}/{key}"},
        **more,
    )
    return str(made["DocumentClassifierArn"])


def ended(client: Any, arn: str) -> Any:
    def look() -> Any:
        found = client.describe_document_classifier(DocumentClassifierArn=arn)
        return found["DocumentClassifierProperties"]

    return until(look, lambda seen: seen["Status"] in ("TRAINED", "IN_ERROR", "STOPPED"))


def test_a_classifier_is_trained_hosted_and_asked_though_control_is_killed(
    platform: Platform, bucket: str
) -> None:
    client = platform.client("comprehend")
    target = {"S3Uri": f"s3://{bucket}/out"}
    arn = create(client, "topics", bucket, OutputDataConfig=target)
    early = {"EndpointName": "early", "ModelArn": arn, "DesiredInferenceUnits": 1}
    try:
        hosted = client.create_endpoint(**early)
    except ClientError as error:
        assert error.response["Error"]["Code"] == "ResourceUnavailableException"
    else:  # A busy machine may come to ask when it is trained.
        found = client.describe_document_classifier(DocumentClassifierArn=arn)
        assert found["DocumentClassifierProperties"]["Status"] == "TRAINED"
        client.delete_endpoint(EndpointArn=hosted["EndpointArn"])
    kill_control(platform)
    trained = ended(client, arn)
    assert trained["Status"] == "TRAINED", trained
    about = trained["ClassifierMetadata"]
    assert (about["NumberOfLabels"], about["NumberOfTrainedDocuments"]) == (3, 54)
    assert about["NumberOfTestDocuments"] == 6
    assert about["EvaluationMetrics"]["Accuracy"] == about["EvaluationMetrics"]["F1Score"] == 1.0
    place = trained["OutputDataConfig"]["S3Uri"].removeprefix(f"s3://{bucket}/")
    packed = platform.client("s3").get_object(Bucket=bucket, Key=place)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        said = json.load(archive.extractfile("output/confusion_matrix.json"))  # type: ignore[arg-type]
    assert said["confusion_matrix"] == [[2, 0, 0], [0, 2, 0], [0, 0, 2]]

    made = client.create_endpoint(EndpointName="live", ModelArn=arn, DesiredInferenceUnits=1)
    endpoint = {"EndpointArn": made["EndpointArn"]}
    until(
        lambda: client.describe_endpoint(**endpoint)["EndpointProperties"]["Status"],
        lambda status: status == "IN_SERVICE",
    )
    classes = client.classify_document(Text="bread and soup", **endpoint)["Classes"]
    assert classes[0]["Name"] == "FOOD"
    assert sum(one["Score"] for one in classes) == pytest.approx(1.0, abs=1e-5)
    other = client.classify_document(Text="the bank's loan", **endpoint)["Classes"]
    assert other[0]["Name"] == "MONEY"
    size = "TextSizeLimitExceededException"
    assert code_of(client.classify_document, Text="x" * 100_001, **endpoint) == size
    delete = client.delete_document_classifier
    assert code_of(delete, DocumentClassifierArn=arn) == "ResourceInUseException"
    assert len(client.list_endpoints()["EndpointPropertiesList"]) == 1
    client.delete_endpoint(**endpoint)
    delete(DocumentClassifierArn=arn)
    until(
        lambda: client.list_document_classifiers()["DocumentClassifierPropertiesList"],
        lambda seen: not seen,
    )


def test_labels_that_come_together_are_given_together(platform: Platform, bucket: str) -> None:
    names = list(WORDS)
    rows = "".join(
        f'{name}|{names[(place + 1) % 3]},"{WORDS[name]} {WORDS[names[(place + 1) % 3]]} {number}"\n'
        for number in range(20)
        for place, name in enumerate(names)
    )
    platform.client("s3").put_object(Bucket=bucket, Key="many/all.csv", Body=rows.encode())
    client = platform.client("comprehend")
    arn = create(client, "many", bucket, "many/", Mode="MULTI_LABEL", VersionName="v1")
    assert arn.endswith("document-classifier/many/version/v1")
    assert ended(client, arn)["Status"] == "TRAINED"
    (summary,) = client.list_document_classifier_summaries()["DocumentClassifierSummariesList"]
    assert (summary["DocumentClassifierName"], summary["LatestVersionName"]) == ("many", "v1")
    made = client.create_endpoint(EndpointName="many", ModelArn=arn, DesiredInferenceUnits=2)
    text = f"{WORDS['SPORT']} {WORDS['FOOD']}"
    labels = client.classify_document(Text=text, EndpointArn=made["EndpointArn"])["Labels"]
    assert {one["Name"] for one in labels[:2]} == {"SPORT", "FOOD"}
    client.delete_endpoint(EndpointArn=made["EndpointArn"])


def test_a_job_classifies_a_folder_with_a_classifier_that_other_data_has_tested(
    platform: Platform, bucket: str
) -> None:
    s3, client = platform.client("s3"), platform.client("comprehend")
    tested = "".join(f"{name},{words} again\n" for name, words in WORDS.items())
    s3.put_object(Bucket=bucket, Key="tested/all.csv", Body=tested.encode())
    data = {"S3Uri": f"s3://{bucket}/train/", "TestS3Uri": f"s3://{bucket}/tested/"}
    made = client.create_document_classifier(
        DocumentClassifierName="tested",
        DataAccessRoleArn=ROLE,
        LanguageCode="en",
        InputDataConfig=data,
    )
    arn = made["DocumentClassifierArn"]
    about = ended(client, arn)["ClassifierMetadata"]
    assert (about["NumberOfTrainedDocuments"], about["NumberOfTestDocuments"]) == (60, 3)
    s3.put_object(Bucket=bucket, Key="docs/a.txt", Body=b"the bank lends\n\na soup with bread\n")
    job = client.start_document_classification_job(
        DocumentClassifierArn=arn,
        DataAccessRoleArn=ROLE,
        InputDataConfig={"S3Uri": f"s3://{bucket}/docs/", "InputFormat": "ONE_DOC_PER_LINE"},
        OutputDataConfig={"S3Uri": f"s3://{bucket}/classified"},
    )

    def look() -> Any:
        found = client.describe_document_classification_job(JobId=job["JobId"])
        return found["DocumentClassificationJobProperties"]

    seen = until(look, lambda seen: seen["JobStatus"] in ("COMPLETED", "FAILED"))
    assert seen["JobStatus"] == "COMPLETED", seen
    assert seen["DocumentClassifierArn"] == arn
    place = seen["OutputDataConfig"]["S3Uri"].removeprefix(f"s3://{bucket}/")
    packed = s3.get_object(Bucket=bucket, Key=place)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        lines = archive.extractfile("predictions.jsonl").read().splitlines()  # type: ignore[union-attr]
    bank, nothing, soup = [json.loads(line) for line in lines]
    assert (bank["File"], bank["Line"], bank["Classes"][0]["Name"]) == ("a.txt", "0", "MONEY")
    assert nothing["ErrorCode"] and soup["Classes"][0]["Name"] == "FOOD"
    client.delete_document_classifier(DocumentClassifierArn=arn)


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("one", b"A,x\n" * 20, "at least 2 labels"),
        ("few", b"A,x\n" * 20 + b"B,y\n" * 9, "B (9)"),
        ("column", b"A\nB\n", "1 fields"),
        ("bytes", b"A,\xff\n", "not UTF-8"),
        ("huge", b"A," + b"x" * 10_000_001 + b"\n", "no CSV"),
        ("long", b"A," + b"x" * 200_000 + b"\n", "at least 2 labels"),
        ("nul", b"A,\0\n" * 30, "at least 2 labels"),
        ("nothing", None, "no objects"),
    ],
)
def test_what_nothing_can_be_learned_of_says_why(
    platform: Platform, bucket: str, name: str, body: bytes | None, message: str
) -> None:
    if body is not None:
        platform.client("s3").put_object(Bucket=bucket, Key=f"bad/{name}/a.csv", Body=body)
    client = platform.client("comprehend")
    seen = ended(client, create(client, f"bad-{name}", bucket, f"bad/{name}/"))
    assert seen["Status"] == "IN_ERROR" and message in seen["Message"]


def test_a_missing_bucket_and_an_unknown_classifier_are_said(platform: Platform) -> None:
    client = platform.client("comprehend")
    seen = ended(client, create(client, "nowhere", "no-such-bucket"))
    assert seen["Status"] == "IN_ERROR" and seen["Message"]
    arn = "arn:aws:comprehend:us-east-1:123456789012:document-classifier/none"
    describe = client.describe_document_classifier
    assert code_of(describe, DocumentClassifierArn=arn) == "ResourceNotFoundException"
    elsewhere = "arn:aws:comprehend:eu-west-1:123456789012:document-classifier/many"
    assert code_of(describe, DocumentClassifierArn=elsewhere) == "ResourceNotFoundException"


def test_topics_of_a_folder_are_found(platform: Platform, bucket: str) -> None:
    texts = "".join(f"{words}\n" for words in WORDS.values()) * 30
    platform.client("s3").put_object(Bucket=bucket, Key="texts/a.txt", Body=texts.encode())
    client = platform.client("comprehend")
    job = client.start_topics_detection_job(
        DataAccessRoleArn=ROLE,
        NumberOfTopics=3,
        InputDataConfig={"S3Uri": f"s3://{bucket}/texts/", "InputFormat": "ONE_DOC_PER_LINE"},
        OutputDataConfig={"S3Uri": f"s3://{bucket}/topics"},
    )

    def look() -> Any:
        return client.describe_topics_detection_job(JobId=job["JobId"])[
            "TopicsDetectionJobProperties"
        ]

    seen = until(look, lambda seen: seen["JobStatus"] in ("COMPLETED", "FAILED"))
    assert seen["JobStatus"] == "COMPLETED", seen
    (listed,) = client.list_topics_detection_jobs()["TopicsDetectionJobPropertiesList"]
    assert listed["JobId"] == job["JobId"]
    place = seen["OutputDataConfig"]["S3Uri"].removeprefix(f"s3://{bucket}/")
    packed = platform.client("s3").get_object(Bucket=bucket, Key=place)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        rows = archive.extractfile("doc-topics.csv").read().decode().splitlines()  # type: ignore[union-attr]
    assert rows[0] == "docname,topic,proportion" and len(rows) == 91
    assert [row.split(",")[1] for row in rows[1:4]] == [row.split(",")[1] for row in rows[4:7]]
    assert len({row.split(",")[1] for row in rows[1:4]}) == 3
