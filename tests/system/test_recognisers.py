"""Comprehend learning entities of a user's own through boto3: trained in a job, hosted, asked alone and over a folder."""

import io
import json
import tarfile
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from modelyard.cli.platform import Platform
from modelyard.testing.platform import command
from modelyard.testing.tagged_documents import (
    TYPES,
    annotations_file,
    documents_file,
    tagged_documents,
)

ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"
DOCUMENTS = tagged_documents(180, seed=1)
ENTITY_TYPES = [{"Type": one} for one in TYPES]


@pytest.fixture(scope="module")
def bucket(platform: Platform) -> str:
    s3 = platform.client("s3")
    s3.create_bucket(Bucket="recognisers")
    s3.put_object(Bucket="recognisers", Key="docs/all.txt", Body=documents_file(DOCUMENTS).encode())
    notes = annotations_file(DOCUMENTS, "all.txt")
    s3.put_object(Bucket="recognisers", Key="notes.csv", Body=notes.encode())
    return "recognisers"


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


def create(client: Any, name: str, bucket: str, **more: Any) -> str:
    data = {
        "EntityTypes": ENTITY_TYPES,
        "Documents": {"S3Uri": f"s3://{bucket}/docs/all.txt"},
        "Annotations": {"S3Uri": f"s3://{bucket}/notes.csv"},
    }
    given = {
        "RecognizerName": name,
        "DataAccessRoleArn": ROLE,
        "LanguageCode": "en",
        "InputDataConfig": data,
    }
    return str(client.create_entity_recognizer(**{**given, **more})["EntityRecognizerArn"])


def ended(client: Any, arn: str) -> Any:
    def look() -> Any:
        found = client.describe_entity_recognizer(EntityRecognizerArn=arn)
        return found["EntityRecognizerProperties"]

    return until(look, lambda seen: seen["Status"] not in ("SUBMITTED", "TRAINING"))


def units(platform: Platform) -> float:
    """Of custom entities, as metered so far."""
    used = json.loads(command("usage", "--json", home=platform.home.root).stdout)
    custom = [one for one in used if one["usage_type"] == "DetectCustomEntities"]
    return sum(float(one["quantity"]) for one in custom)


def test_a_recogniser_is_trained_hosted_asked_and_let_go(platform: Platform, bucket: str) -> None:
    client, s3 = platform.client("comprehend"), platform.client("s3")
    arn = create(client, "staff", bucket, Tags=[{"Key": "team", "Value": "a"}])
    assert arn.endswith(":entity-recognizer/staff")
    early = {"EndpointName": "early", "ModelArn": arn, "DesiredInferenceUnits": 1}
    try:
        hosted = client.create_endpoint(**early)
    except ClientError as error:
        assert error.response["Error"]["Code"] == "ResourceUnavailableException"
    else:  # A busy machine may come to ask when it is trained.
        assert client.describe_entity_recognizer(EntityRecognizerArn=arn)[
            "EntityRecognizerProperties"
        ]["Status"].startswith("TRAINED")
        client.delete_endpoint(EndpointArn=hosted["EndpointArn"])
    trained = ended(client, arn)
    assert trained["Status"] == "TRAINED", trained
    about = trained["RecognizerMetadata"]
    assert (about["NumberOfTrainedDocuments"], about["NumberOfTestDocuments"]) == (162, 18)
    assert 90 < about["EvaluationMetrics"]["F1Score"] <= 100
    assert [one["Type"] for one in about["EntityTypes"]] == list(TYPES)
    assert all(one["NumberOfTrainMentions"] >= 25 for one in about["EntityTypes"])
    listed = client.list_entity_recognizers(Filter={"Status": "TRAINED"})
    assert arn in [one["EntityRecognizerArn"] for one in listed["EntityRecognizerPropertiesList"]]
    summaries = client.list_entity_recognizer_summaries()["EntityRecognizerSummariesList"]
    versions = {one["RecognizerName"]: one["NumberOfVersions"] for one in summaries}
    assert versions["staff"] == 1

    endpoint = client.create_endpoint(**{**early, "EndpointName": "staff"})["EndpointArn"]
    assert endpoint.endswith(":entity-recognizer-endpoint/staff")
    until(
        lambda: client.describe_endpoint(EndpointArn=endpoint)["EndpointProperties"]["Status"],
        lambda status: status == "IN_SERVICE",
    )
    text = "😀 The engineer Tavel Mikas repaired CZ-123."
    metered = units(platform)
    found = client.detect_entities(Text=text, EndpointArn=endpoint)["Entities"]
    assert [(one["Type"], one["Text"]) for one in found] == [
        ("ENGINEER", "Tavel Mikas"),
        ("PART", "CZ-123"),
    ]
    for one in found:
        assert text[one["BeginOffset"] : one["EndOffset"]] == one["Text"]
        assert 0.5 < one["Score"] <= 1.0
    size = "TextSizeLimitExceededException"
    long = "x" * 99_999 + "é"
    assert code_of(client.detect_entities, Text=long, EndpointArn=endpoint) == size
    assert code_of(client.classify_document, Text="x", EndpointArn=endpoint) == "ValidationException"  # fmt: skip

    s3.put_object(Bucket=bucket, Key="in/a.txt", Body=f"{text}\n\nNothing here\n".encode())
    job = client.start_entities_detection_job(
        EntityRecognizerArn=arn,
        LanguageCode="en",
        DataAccessRoleArn=ROLE,
        InputDataConfig={"S3Uri": f"s3://{bucket}/in/", "InputFormat": "ONE_DOC_PER_LINE"},
        OutputDataConfig={"S3Uri": f"s3://{bucket}/out"},
        Tags=[{"Key": "k", "Value": "v"}],
    )
    seen = until(
        lambda: client.describe_entities_detection_job(JobId=job["JobId"])[
            "EntitiesDetectionJobProperties"
        ],
        lambda seen: seen["JobStatus"] in ("COMPLETED", "FAILED"),
    )
    assert seen["JobStatus"] == "COMPLETED" and seen["EntityRecognizerArn"] == arn, seen
    place = seen["OutputDataConfig"]["S3Uri"].removeprefix(f"s3://{bucket}/")
    packed = s3.get_object(Bucket=bucket, Key=place)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        first, empty, plain = [json.loads(line) for line in archive.extractfile("output") or ()]
    assert (first["File"], first["Line"]) == ("a.txt", 0)
    assert [one["Text"] for one in first["Entities"]] == ["Tavel Mikas", "CZ-123"]
    assert empty["ErrorCode"] == "EMPTY_DOCUMENT" and plain["Entities"] == []
    assert units(platform) - metered == 3 + 3 + 3

    def tags(of: str) -> dict[str, str]:
        return {
            one["Key"]: one["Value"]
            for one in client.list_tags_for_resource(ResourceArn=of)["Tags"]
        }

    client.tag_resource(ResourceArn=arn, Tags=[{"Key": "team", "Value": "b"}, {"Key": "x", "Value": ""}])  # fmt: skip
    assert tags(arn) == {"team": "b", "x": ""}
    client.untag_resource(ResourceArn=arn, TagKeys=["x", "y"])
    assert tags(arn) == {"team": "b"} and tags(job["JobArn"]) == {"k": "v"} and not tags(endpoint)
    many = [{"Key": f"k{n}", "Value": ""} for n in range(50)]
    assert code_of(client.tag_resource, ResourceArn=arn, Tags=many) == "TooManyTagsException"
    nobody = arn.replace("staff", "nobody")
    list_tags = client.list_tags_for_resource
    assert code_of(list_tags, ResourceArn=nobody) == "ResourceNotFoundException"
    delete = client.delete_entity_recognizer
    assert code_of(delete, EntityRecognizerArn=arn) == "ResourceInUseException"
    client.delete_endpoint(EndpointArn=endpoint)
    delete(EntityRecognizerArn=arn)
    until(
        lambda: client.list_entity_recognizers()["EntityRecognizerPropertiesList"],
        lambda seen: arn not in [one["EntityRecognizerArn"] for one in seen],
    )


def test_a_training_is_stopped_or_ends_with_a_message(platform: Platform, bucket: str) -> None:
    client, s3 = platform.client("comprehend"), platform.client("s3")
    arn = create(client, "stopped", bucket)
    client.stop_training_entity_recognizer(EntityRecognizerArn=arn)
    seen = until(
        lambda: client.describe_entity_recognizer(EntityRecognizerArn=arn)[
            "EntityRecognizerProperties"
        ],
        lambda seen: seen["Status"] in ("STOPPED", "TRAINED"),
    )
    if seen["Status"] == "STOPPED":  # Or it was faster than the word to stop.
        assert "RecognizerMetadata" not in seen
    rows = b"File,Line,Begin Offset,End Offset,Type\nall.txt,0,0,1\0,PART\n"
    s3.put_object(Bucket=bucket, Key="bad.csv", Body=rows)
    data = {
        "EntityTypes": ENTITY_TYPES,
        "Documents": {"S3Uri": f"s3://{bucket}/docs/all.txt"},
        "Annotations": {"S3Uri": f"s3://{bucket}/bad.csv"},
    }
    seen = ended(client, create(client, "bad", bucket, InputDataConfig=data))
    assert seen["Status"] == "IN_ERROR"
    assert "Row 2 of the annotations: End Offset is no number" in seen["Message"]
    # What the test has none of is said with the model, which is there nevertheless.
    few = tagged_documents(1, seed=2)
    s3.put_object(Bucket=bucket, Key="test/few.txt", Body=documents_file(few).encode())
    s3.put_object(Bucket=bucket, Key="few.csv", Body=annotations_file(few, "few.txt").encode())
    data = {
        "EntityTypes": ENTITY_TYPES,
        "Documents": {"S3Uri": f"s3://{bucket}/docs/", "TestS3Uri": f"s3://{bucket}/test/"},
        "Annotations": {"S3Uri": f"s3://{bucket}/notes.csv", "TestS3Uri": f"s3://{bucket}/few.csv"},
    }
    seen = ended(client, create(client, "warned", bucket, InputDataConfig=data))
    assert seen["Status"] == "TRAINED_WITH_WARNING" and "MANAGER, PART" in seen["Message"]
    made = client.create_endpoint(
        EndpointName="warned", ModelArn=seen["EntityRecognizerArn"], DesiredInferenceUnits=1
    )
    client.delete_endpoint(EndpointArn=made["EndpointArn"])


def test_what_no_training_could_begin_with_is_refused(platform: Platform, bucket: str) -> None:
    client = platform.client("comprehend")
    documents = {"S3Uri": f"s3://{bucket}/docs/"}
    good = {"EntityTypes": ENTITY_TYPES, "Documents": documents, "EntityList": documents}
    many = [{"Type": f"T{number}"} for number in range(26)]

    def code(**more: Any) -> str:
        data = {name: value for name, value in {**good, **more}.items() if value is not None}
        with pytest.raises(ClientError) as caught:
            create(client, "refused", bucket, InputDataConfig=data)
        return str(caught.value.response["Error"]["Code"])

    assert code(EntityTypes=many) == code(EntityTypes=ENTITY_TYPES * 2) == "InvalidRequestException"
    assert code(Documents=None) == code(EntityList=None) == "InvalidRequestException"
    assert code(Annotations=documents) == "InvalidRequestException"
    assert code(DataFormat="AUGMENTED_MANIFEST") == "UnsupportedOperation"
    tested = {**documents, "TestS3Uri": documents["S3Uri"]}
    assert code(EntityList=None, Annotations=documents, Documents=tested) == "InvalidRequestException"  # fmt: skip
    unknown = f"arn:aws:comprehend:us-east-1:123456789012:entity-recognizer-endpoint/{'x' * 10}"
    detect = client.detect_entities
    assert code_of(detect, Text="x", EndpointArn=unknown) == "ResourceNotFoundException"
