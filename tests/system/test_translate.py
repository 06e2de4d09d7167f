"""Translate through boto3: Apertium's English and Spanish where the machine has them, and a small neural model."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from modelyard.ai.apertium import MODES
from modelyard.cli.platform import Platform
from modelyard.testing.losses import is_answered, wait_for
from modelyard.testing.platform import command

FRAMEWORKS = Path(__file__).parents[2] / ".cache" / "venvs" / "frameworks" / "bin" / "python"
PACK = "apertium-en-es"
WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
PAIR = {"SourceLanguageCode": "en", "TargetLanguageCode": "es"}


@pytest.fixture(scope="module")
def translate(platform: Platform) -> Any:
    if shutil.which("apertium") is None or not Path(MODES, "eng-spa.mode").exists():
        pytest.skip("Apertium's English and Spanish are not installed")
    refused = command("models", "install", PACK, home=platform.home.root)
    assert refused.returncode == 1 and "--accept-license" in refused.stderr
    installed = command("models", "install", PACK, "--accept-license", home=platform.home.root)
    assert installed.returncode == 0, installed.stderr
    return platform.client("translate")


def test_a_pack_that_is_not_installed_is_named(platform: Platform) -> None:
    with pytest.raises(ClientError) as caught:
        platform.client("translate").translate_text(
            Text="Det røde hus", SourceLanguageCode="da", TargetLanguageCode="sv"
        )
    assert "modelyard models install apertium-sv-da --accept-license" in str(caught.value)


def test_texts_are_translated_with_terms_of_ones_own(translate: Any) -> None:
    auto = {**PAIR, "SourceLanguageCode": "auto"}
    said = translate.translate_text(Text="The red house of my brother is big.", **auto)
    assert said["TranslatedText"] == "La casa roja de mi hermano es grande."
    assert said["SourceLanguageCode"] == "en"
    file = b"en,es\nAmazon Photos,Fotos Amazon\nAmazon,El Amazonas\n"
    translate.import_terminology(
        Name="brand", MergeStrategy="OVERWRITE", TerminologyData={"File": file, "Format": "CSV"}
    )
    given = {"Text": "I like Amazon Photos and Amazon.", "TerminologyNames": ["brand"]}
    assert (
        "Fotos Amazon y El Amazonas." in translate.translate_text(**given, **PAIR)["TranslatedText"]
    )
    got = translate.get_terminology(Name="brand")
    with urllib.request.urlopen(got["TerminologyDataLocation"]["Location"], timeout=60) as answer:
        assert answer.read() == file
    codes = [one["LanguageCode"] for one in translate.list_languages()["Languages"]]
    assert {"auto", "en", "es"} <= set(codes)
    translate.delete_terminology(Name="brand")
    with pytest.raises(translate.exceptions.ResourceNotFoundException):
        translate.get_terminology(Name="brand")


def word_document(body: str, *, prolog: str = "") -> bytes:
    namespace = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    types = "http://schemas.openxmlformats.org/package/2006/content-types"
    main = f'PartName="/word/document.xml" ContentType="{WORD[:-8]}document.main+xml"'
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{types}"><Override {main}/></Types>',
        )
        archive.writestr(
            "word/document.xml",
            f'{prolog}<w:document xmlns:w="{namespace}"><w:body>{body}</w:body></w:document>',
        )
    return out.getvalue()


def test_documents_keep_their_form(translate: Any) -> None:
    def said(content: bytes, form: str) -> bytes:
        answer = translate.translate_document(
            Document={"Content": content, "ContentType": form}, **PAIR
        )
        return bytes(answer["TranslatedDocument"]["Content"])

    page = b'<p id="1">The <b>red</b> house of my brother is <img src="x.png"> big.</p><script>the("red")</script>'
    assert said(page, "text/html") == (
        b'<p id="1">La casa <b>roja</b> de mi hermano es <img src="x.png"> grande.</p><script>the("red")</script>'
    )
    assert said(b"The cat.\n\n  The dog.\n", "text/plain") == b"El gato.\n\n  El perro.\n"
    bold = "<w:rPr><w:b/></w:rPr>"
    runs = ("", "The "), (bold, "red"), ("", " house.")
    body = "".join(
        f'<w:r>{look}<w:t xml:space="preserve">{text}</w:t></w:r>' for look, text in runs
    )
    written = said(word_document(f"<w:p>{body}</w:p>"), WORD)
    with zipfile.ZipFile(io.BytesIO(written)) as archive:
        xml = archive.read("word/document.xml").decode()
    assert f'<w:r>{bold}<w:t xml:space="preserve">roja</w:t></w:r>' in xml
    assert re.sub(r"<[^>]*>", "", xml) == "La casa roja."


def test_a_folder_is_translated_while_control_is_killed(platform: Platform, translate: Any) -> None:
    s3 = platform.client("s3")
    s3.create_bucket(Bucket="letters")
    for number in range(40):
        page = f"<h1>Letter {number}</h1><p>The <b>red</b> house.</p>" * 50
        s3.put_object(Bucket="letters", Key=f"in/2026/{number:02}.html", Body=page.encode())
    s3.put_object(Bucket="letters", Key="in/bad.html", Body=b"\xff")
    given = {
        "InputDataConfig": {"S3Uri": "s3://letters/in/", "ContentType": "text/html"},
        "OutputDataConfig": {"S3Uri": "s3://letters/out/"},
        "DataAccessRoleArn": "arn:aws:iam::123456789012:role/modelyard",
        "SourceLanguageCode": "auto",
        "TargetLanguageCodes": ["es"],
        "JobName": "letters",
        "ClientToken": "once",
    }

    def used() -> float:
        shown = json.loads(command("usage", "--json", home=platform.home.root).stdout)
        return sum(float(one["quantity"]) for one in shown if one["usage_type"] == "TranslateText")

    before = used()
    started = translate.start_text_translation_job(**given)
    job_id = started["JobId"]
    assert started["JobStatus"] == "SUBMITTED"

    def written() -> list[str]:
        found = s3.list_objects_v2(Bucket="letters", Prefix="out/").get("Contents", [])
        return [one["Key"] for one in found]

    def job() -> Any:
        described = translate.describe_text_translation_job(JobId=job_id)
        return described["TextTranslationJobProperties"]

    wait_for(lambda: written() != [], "the first file")
    os.kill(json.loads(platform.home.process_table.read_text())["control"], signal.SIGKILL)
    wait_for(lambda: is_answered(platform), "another control")
    wait_for(lambda: job()["JobStatus"] == "COMPLETED_WITH_ERROR", "the job's end")
    assert translate.start_text_translation_job(**given)["JobId"] == job_id
    done = job()
    assert done["JobDetails"] == {
        "TranslatedDocumentsCount": 40, "DocumentsWithErrorsCount": 1, "InputDocumentsCount": 41,
    }  # fmt: skip
    folder = done["OutputDataConfig"]["S3Uri"].removeprefix("s3://letters/")
    assert len(written()) == 41 and f"{folder}2026/es.07.html" in written()
    letter = s3.get_object(Bucket="letters", Key=f"{folder}2026/es.07.html")["Body"].read()
    assert letter == b"<h1>Letra 7</h1><p>La casa <b>roja</b>.</p>" * 50
    about = f"{folder}details/es.auxiliary-translation-details.json"
    details = json.loads(s3.get_object(Bucket="letters", Key=about)["Body"].read())
    (bad,) = [one for one in details["details"] if "targetFile" not in one]
    assert bad["sourceFile"] == "bad.html" and "UTF-8" in str(bad["auxiliaryData"]["error"])
    characters = sum(len(f"Letter {number}The red house.") * 50 for number in range(40))
    assert used() - before == characters == float(details["charactersTranslated"])
    listed = translate.list_text_translation_jobs(Filter={"JobName": "letters"})
    assert [one["JobId"] for one in listed["TextTranslationJobPropertiesList"]] == [job_id]
    stopped = translate.stop_text_translation_job(JobId=job_id)
    assert stopped["JobStatus"] == "COMPLETED_WITH_ERROR"


def test_the_services_own_errors_are_answered(translate: Any) -> None:
    errors = translate.exceptions
    with pytest.raises(errors.UnsupportedLanguagePairException) as caught:
        translate.translate_text(Text="x", SourceLanguageCode="en", TargetLanguageCode="ja")
    assert caught.value.response["TargetLanguageCode"] == "ja"
    with pytest.raises(errors.InvalidRequestException, match="document type"):
        bomb = word_document("", prolog='<!DOCTYPE w [<!ENTITY a "aa">]>')
        translate.translate_document(Document={"Content": bomb, "ContentType": WORD}, **PAIR)
    with pytest.raises(errors.TextSizeLimitExceededException):
        translate.translate_text(Text="é" * 5_001, **PAIR)
    bomb = b'<!DOCTYPE t [<!ENTITY a "aaa"><!ENTITY b "&a;&a;">]><tmx>&b;</tmx>'
    with pytest.raises(errors.InvalidParameterValueException, match="entities"):
        translate.import_terminology(
            Name="bomb", MergeStrategy="OVERWRITE", TerminologyData={"File": bomb, "Format": "TMX"}
        )


@pytest.mark.parametrize(
    ("engine", "library", "maker", "options"),
    [
        ("ctranslate2", "ctranslate2", "translation_models", ("--option", "beam=1")),
        ("firefox", "fxtranslate", "firefox_models", ()),
    ],
)
def test_a_neural_model_of_the_users_own_serves_its_pair(
    torch_platform: Platform,
    tmp_path: Path,
    engine: str,
    library: str,
    maker: str,
    options: tuple[str, ...],
) -> None:
    if subprocess.run([str(FRAMEWORKS), "-c", f"import {library}"]).returncode:
        pytest.skip(f"{library} is not installed: make clients")
    folder = tmp_path / "model"
    subprocess.run(
        [str(FRAMEWORKS), "-m", f"modelyard.testing.{maker}", str(folder)], timeout=250, check=True
    )
    added = command(
        "models", "add", f"{engine}-en-fr", str(folder), "--engine", engine, "--service", "translate",
        "--task", "translate", "--language", "en-fr", *options, home=torch_platform.home.root,
    )  # fmt: skip
    assert added.returncode == 0, added.stderr
    client = torch_platform.client("translate")
    pair = {"SourceLanguageCode": "en", "TargetLanguageCode": "fr"}
    text = client.translate_text(Text="The red house of my brother is big.", **pair)
    assert text["TranslatedText"] == "La rouge maison de mon frère est grande."
    page = b'<p class="a">I see the <b>dog</b> <img src="x"> in the house.</p>'
    answer = client.translate_document(
        Document={"Content": page, "ContentType": "text/html"}, **pair
    )
    said = answer["TranslatedDocument"]["Content"].decode()
    assert (
        said.startswith('<p class="a">je vois la <b>chien</b>') and said.count('<img src="x">') == 1
    )
    s3 = torch_platform.client("s3")
    bucket = f"texts-{engine}"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="in/a.txt", Body=b"One dog.\n\nTwo, and the house.")
    job = client.start_text_translation_job(
        InputDataConfig={"S3Uri": f"s3://{bucket}/in/", "ContentType": "text/plain"},
        OutputDataConfig={"S3Uri": f"s3://{bucket}/out/"},
        DataAccessRoleArn="arn:aws:iam::123456789012:role/modelyard",
        SourceLanguageCode="en",
        TargetLanguageCodes=["fr"],
    )["JobId"]

    def status() -> str:
        described = client.describe_text_translation_job(JobId=job)
        return str(described["TextTranslationJobProperties"]["JobStatus"])

    wait_for(lambda: status() == "COMPLETED", "the job's end")
    (key,) = [
        one["Key"]
        for one in s3.list_objects_v2(Bucket=bucket, Prefix="out/")["Contents"]
        if one["Key"].endswith("/fr.a.txt")
    ]
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == (
        b"Un chien.\n\nDeux, et la maison."
    )
