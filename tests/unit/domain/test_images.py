"""Images: AWS's addresses and our own names, matched by repository."""

import pytest

from modelyard.domain.images import RUNTIMES, repository, runtime_of


@pytest.mark.parametrize(
    ("uri", "runtime"),
    [
        (
            "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3",
            "sklearn",
        ),
        ("246618743249.dkr.ecr.us-west-2.amazonaws.com/sagemaker-xgboost:1.7-1", "xgboost"),
        ("811284229777.dkr.ecr.us-east-1.amazonaws.com/xgboost:1", "xgboost"),
        ("763104351884.dkr.ecr.cn-north-1.amazonaws.com.cn/pytorch-inference:2.0-cpu", "pytorch"),
        (
            "763104351884.dkr.ecr.us-east-1.amazonaws.com/huggingface-pytorch-inference:2",
            "huggingface",
        ),
        ("763104351884.dkr.ecr.us-east-1.amazonaws.com/tensorflow-inference:2.11", "tensorflow"),
        ("modelyard/python", "auto"),
        ("modelyard/python:latest", "auto"),
        ("localhost:5000/modelyard/onnx:1", "onnx"),
        ("localhost/modelyard/sklearn", "sklearn"),
        ("registry.example.com/modelyard/xgboost@sha256:0123", "xgboost"),
        ("registry.example.com:443/modelyard/lightgbm:1@sha256:0123", "lightgbm"),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/my-own:1", None),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/team/sagemaker-xgboost:1", None),
        ("python", None),
        ("", None),
    ],
)
def test_an_image_is_known_by_its_repository(uri: str, runtime: str | None) -> None:
    assert runtime_of(uri) == runtime


def test_every_repository_of_the_table_is_found_with_and_without_registry() -> None:
    for name, runtime in RUNTIMES.items():
        assert runtime_of(name) == runtime
        assert runtime_of(f"1.dkr.ecr.eu-west-1.amazonaws.com/{name}:tag") == runtime
        assert repository(f"localhost:1/{name}@sha256:ab") == name
