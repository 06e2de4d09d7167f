"""Comprehend through boto3, with a tiny model that is trained here."""

import datetime
import io
import json
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from modelyard.ai.sentiment import FILE
from modelyard.ai.text_classifier import train
from modelyard.cli.platform import Platform
from modelyard.testing.platform import command

GOOD = ("good", "great", "lovely", "wonderful", "I love it", "excellent", "happy")
BAD = ("bad", "awful", "terrible", "horrible", "I hate it", "dreadful", "sad")
PLAIN = ("the table", "it is Monday", "a train", "the report has pages", "the box", "rain", "paper")


@pytest.fixture(scope="module")
def comprehend(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client; the platform's sentiment model is a small one of the user's own."""
    folder = tmp_path_factory.mktemp("sentiment")
    labelled = {"POSITIVE": GOOD, "NEGATIVE": BAD, "NEUTRAL": PLAIN}
    texts = [text for some in labelled.values() for text in some]
    labels = [[label] for label, some in labelled.items() for _ in some]
    train(texts, labels, strength=100.0).save(folder / FILE)
    added = command(
        "models", "add", "tiny-sentiment", str(folder), "--engine", "sentiment", "--service", "comprehend",
        "--task", "sentiment", "--language", "en", home=platform.home.root,
    )  # fmt: skip
    assert added.returncode == 0, added.stderr
    yield platform.client("comprehend")


def code_of(call: Any, **arguments: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_texts_are_answered_as_awss_examples_are(comprehend: Any) -> None:
    english = comprehend.detect_dominant_language(
        Text="Bob lives in Seattle. He is a software engineer at Amazon."
    )
    assert english["Languages"][0]["LanguageCode"] == "en"
    many = comprehend.batch_detect_dominant_language(
        TextList=["Il fait beau aujourd'hui à Marseille", "Ich möchte bitte ein Bier", "12345 67"]
    )
    codes = [[one["LanguageCode"] for one in r["Languages"]][:1] for r in many["ResultList"]]
    assert codes == [["fr"], ["de"], []]
    for text, sentiment in (("great", "POSITIVE"), ("awful", "NEGATIVE"), ("a table", "NEUTRAL")):
        found = comprehend.detect_sentiment(Text=text, LanguageCode="en")
        assert found["Sentiment"] == sentiment
        assert sum(found["SentimentScore"].values()) == pytest.approx(1.0, abs=1e-5)
    mixed = comprehend.detect_sentiment(Text="It is excellent. But I hate it!", LanguageCode="en")
    assert mixed["SentimentScore"]["Mixed"] > 0.2


def test_bad_input_gets_awss_errors(comprehend: Any) -> None:
    one = comprehend.detect_sentiment
    code, text = code_of(one, Text="é" * 2501, LanguageCode="en")
    assert code == "TextSizeLimitExceededException" and "5002 bytes" in text
    assert code_of(one, Text="x" * 4_999 + "é", LanguageCode="en")[0] == code
    for blank in (" \n\t", "\u3000"):
        assert code_of(one, Text=blank, LanguageCode="en")[0] == "InvalidRequestException"
    assert code_of(one, Text="x", LanguageCode="fr")[0] == "UnsupportedLanguageException"
    assert code_of(one, Text="x", LanguageCode="xx")[0] == "ValidationException"
    many = comprehend.batch_detect_sentiment
    code, _ = code_of(many, TextList=["x"] * 26, LanguageCode="en")
    assert code == "BatchSizeLimitExceededException"
    found = many(TextList=["great", "x" * 5001, "awful", " "], LanguageCode="en")
    assert [one["Index"] for one in found["ResultList"]] == [0, 2]
    error, blank = found["ErrorList"]
    assert (blank["Index"], blank["ErrorCode"]) == (3, "INVALID_REQUEST")
    assert (error["Index"], error["ErrorCode"]) == (1, "TEXT_SIZE_LIMIT_EXCEEDED")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"Text": "\xff\xfe", "LanguageCode": "en"}', "SerializationException"),
        (b'{"Text": "caf\xc3", "LanguageCode": "en"}', "SerializationException"),
        (b'{"Text": "half \\ud83d", "LanguageCode": "en"}', "InvalidRequestException"),
        (b'{"Text": "x", "LanguageCode": "klingon"}', "ValidationException"),
        (b'{"Text": ["x"], "LanguageCode": "en"}', "SerializationException"),
        (b'{"Text": "", "LanguageCode": "en"}', "ValidationException"),
        (b'{"LanguageCode": "en"}', "ValidationException"),
        (b'{"Text": "x", ', "SerializationException"),
    ],
)
def test_a_body_that_is_no_request_is_refused(
    platform: Platform, comprehend: Any, body: bytes, code: str
) -> None:
    client = platform.client("comprehend")

    def replace(params: dict[str, Any], **_: Any) -> None:
        params["body"] = body

    client.meta.events.register("before-call.comprehend.DetectSentiment", replace)
    assert code_of(client.detect_sentiment, Text="x", LanguageCode="en")[0] == code
    assert comprehend.detect_sentiment(Text="great", LanguageCode="en")["Sentiment"] == "POSITIVE"


def test_the_platforms_own_endpoints_are_nobodys(platform: Platform, comprehend: Any) -> None:
    comprehend.detect_dominant_language(Text="Whatever it may be")
    names = [
        one["EndpointName"] for one in platform.client("sagemaker").list_endpoints()["Endpoints"]
    ]
    assert "language-detection" not in names
    runtime = platform.client("sagemaker-runtime")
    arguments = {"EndpointName": "language-detection", "Body": b"x"}
    assert code_of(runtime.invoke_endpoint, **arguments)[0] == "ValidationError"


def test_packs_are_listed_with_what_they_need(platform: Platform, comprehend: Any) -> None:
    listed = json.loads(command("models", "list", "--json", home=platform.home.root).stdout)
    states = {one["name"]: one["state"] for one in listed["packs"]}
    assert states["language-detection"] == states["tiny-sentiment"] == "ready"
    assert listed["choices"]["comprehend/sentiment/en"] == "tiny-sentiment"
    refused = command("models", "install", "nothing", home=platform.home.root)
    assert refused.returncode == 1 and "no pack 'nothing'" in refused.stderr
    verified = command("models", "verify", home=platform.home.root)
    assert verified.returncode == 0, verified.stderr


def test_what_was_used_is_metered_and_priced(platform: Platform, comprehend: Any) -> None:
    def used() -> float:
        shown = json.loads(command("usage", "--json", home=platform.home.root).stdout)
        return sum(
            float(one["quantity"]) for one in shown if one["usage_type"] == "DetectSentiment"
        )

    before = used()
    comprehend.detect_sentiment(Text="x" * 301, LanguageCode="en")
    comprehend.batch_detect_sentiment(TextList=["a", "b"], LanguageCode="en")
    assert used() - before == 10
    today = datetime.datetime.now(datetime.UTC).date()
    costs = platform.client("ce").get_cost_and_usage(
        TimePeriod={
            "Start": str(today - datetime.timedelta(days=1)),
            "End": str(today + datetime.timedelta(days=1)),
        },
        Granularity="DAILY",
        Metrics=["UnblendedCost"],
        GroupBy=[{"Type": "DIMENSION", "Key": "SERVICE"}],
    )
    assert len(costs["ResultsByTime"]) == 2
    assert costs["ResultsByTime"][-1]["Groups"][0]["Keys"] == ["Amazon Comprehend"]


def test_personal_data_needs_a_model_of_names_or_the_choice_to_do_without(
    platform: Platform, comprehend: Any
) -> None:
    given = {"Text": "Mail to 😀 jo@example.com", "LanguageCode": "en"}
    code, text = code_of(comprehend.detect_pii_entities, **given)
    assert code == "ModelPackNotInstalledException" and "modelyard models install spacy-en" in text
    arguments = ("models", "use", "comprehend", "pii-names", "en", "pii-patterns")
    assert command(*arguments, home=platform.home.root).returncode == 0
    (found,) = comprehend.detect_pii_entities(**given)["Entities"]
    assert (found["Type"], found["BeginOffset"], found["EndOffset"]) == ("EMAIL", 10, 24)
    (label,) = comprehend.contains_pii_entities(**given)["Labels"]
    assert label["Name"] == "EMAIL"


def ended(describe: Any, job_id: str, member: str) -> dict[str, Any]:
    """The job's properties once it has ended."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        job: dict[str, Any] = describe(JobId=job_id)[member]
        if job["JobStatus"] in ("COMPLETED", "FAILED", "STOPPED"):
            return job
        time.sleep(0.1)
    raise AssertionError(job)


def test_a_folder_of_documents_is_a_job(platform: Platform, comprehend: Any) -> None:
    s3 = platform.client("s3")
    s3.create_bucket(Bucket="documents")
    lines = "I love it\n\nawful\n"
    s3.put_object(Bucket="documents", Key="in/one.txt", Body=lines.encode())
    common = {
        "InputDataConfig": {"S3Uri": "s3://documents/in/", "InputFormat": "ONE_DOC_PER_LINE"},
        "OutputDataConfig": {"S3Uri": "s3://documents/out/"},
        "DataAccessRoleArn": "arn:aws:iam::123456789012:role/modelyard",
        "LanguageCode": "en",
    }
    started = comprehend.start_sentiment_detection_job(**common, ClientRequestToken="one")
    again = comprehend.start_sentiment_detection_job(**common, ClientRequestToken="one")
    assert again["JobId"] == started["JobId"]
    describe = comprehend.describe_sentiment_detection_job
    job = ended(describe, started["JobId"], "SentimentDetectionJobProperties")
    assert job["JobStatus"] == "COMPLETED", job
    bucket, _, key = job["OutputDataConfig"]["S3Uri"].removeprefix("s3://").partition("/")
    packed = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        said = [json.loads(line) for line in archive.extractfile("output") or ()]
    assert [(one["File"], one["Line"]) for one in said] == [("one.txt", n) for n in range(3)]
    assert [one.get("Sentiment") for one in said] == ["POSITIVE", None, "NEGATIVE"]
    assert said[1]["ErrorCode"] == "EMPTY_DOCUMENT"
    listed = comprehend.list_sentiment_detection_jobs(Filter={"JobStatus": "COMPLETED"})
    assert [one["JobId"] for one in listed["SentimentDetectionJobPropertiesList"]] == [job["JobId"]]


def test_a_job_hides_personal_data(platform: Platform, comprehend: Any) -> None:
    arguments = ("models", "use", "comprehend", "pii-names", "en", "pii-patterns")
    assert command(*arguments, home=platform.home.root).returncode == 0
    s3 = platform.client("s3")
    s3.create_bucket(Bucket="personal")
    s3.put_object(Bucket="personal", Key="in/letter.txt", Body=b"Mail to jo@example.com\nThanks\n")
    started = comprehend.start_pii_entities_detection_job(
        InputDataConfig={"S3Uri": "s3://personal/in/", "InputFormat": "ONE_DOC_PER_LINE"},
        OutputDataConfig={"S3Uri": "s3://personal/out/"},
        DataAccessRoleArn="arn:aws:iam::123456789012:role/modelyard",
        LanguageCode="en",
        Mode="ONLY_REDACTION",
        RedactionConfig={
            "PiiEntityTypes": ["ALL"],
            "MaskMode": "REPLACE_WITH_PII_ENTITY_TYPE",
        },
    )
    describe = comprehend.describe_pii_entities_detection_job
    job = ended(describe, started["JobId"], "PiiEntitiesDetectionJobProperties")
    assert job["JobStatus"] == "COMPLETED", job
    bucket, _, folder = job["OutputDataConfig"]["S3Uri"].removeprefix("s3://").partition("/")
    (found,) = s3.list_objects_v2(Bucket=bucket, Prefix=folder)["Contents"]
    text = s3.get_object(Bucket=bucket, Key=found["Key"])["Body"].read()
    assert text == b"Mail to [EMAIL]\nThanks\n"


def test_an_unknown_operation_is_refused_by_name(comprehend: Any) -> None:
    code, text = code_of(comprehend.list_flywheels)
    assert code == "UnsupportedOperation" and "ListFlywheels" in text


def test_the_folder_of_an_own_model_may_go(platform: Platform, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    arguments = (
        "--engine",
        "sentiment",
        "--service",
        "comprehend",
        "--task",
        "t",
        "--language",
        "de",
    )
    added = command(
        "models", "add", "short-lived", str(folder), *arguments, home=platform.home.root
    )
    assert added.returncode == 0, added.stderr
    gone = command("models", "remove", "short-lived", home=platform.home.root)
    assert gone.returncode == 0, gone.stderr
