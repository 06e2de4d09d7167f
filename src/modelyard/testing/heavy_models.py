"""Small models of the heavy frameworks, made in a folder of the test's, by whoever has these frameworks.

The counterpart of ``testing.models``: on the same data, nothing is downloaded.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.testing.models import Array, breast_cancer

WORDS = ("bad", "dull", "fine", "good", "great", "plot", "the", "was")


def network() -> Any:
    """Two layers over 30 numbers; the same each time."""
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(30, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2), torch.nn.Softmax(dim=1)
    ).eval()


def expected_of(module: Any, rows: Array) -> Array:
    """What a network says to rows."""
    import torch

    with torch.no_grad():
        return np.asarray(module(torch.from_numpy(rows.astype(np.float32))).numpy())


def torchscript_model(folder: Path, *, name: str = "model.pt") -> Path:
    """A traced network."""
    import torch

    path = folder / name
    torch.jit.save(torch.jit.trace(network(), torch.zeros(2, 30)), str(path))
    return path


def exported_model(folder: Path) -> Path:
    """``model.pt2``, for any number of rows."""
    import torch

    path = folder / "model.pt2"
    rows = torch.export.Dim("rows")
    program = torch.export.export(network(), (torch.zeros(2, 30),), dynamic_shapes=({0: rows},))
    torch.export.save(program, path)
    return path


def weights(folder: Path) -> Path:
    """``weights.pth``: numbers without a program."""
    import torch

    path = folder / "weights.pth"
    torch.save(network().state_dict(), path)
    return path


def catboost_model(folder: Path) -> Path:
    """``model.cbm``, a classifier."""
    import catboost

    data = breast_cancer()
    model = catboost.CatBoostClassifier(
        iterations=10, depth=3, random_seed=0, verbose=False, allow_writing_files=False
    )
    model.fit(data.rows, data.labels)
    path = folder / "model.cbm"
    model.save_model(str(path))
    return path


def mlflow_folder(folder: Path) -> Path:
    """A pyfunc of scikit-learn's classifier, with a signature of four named columns."""
    import mlflow.sklearn
    import pandas
    from sklearn.linear_model import LogisticRegression

    data = breast_cancer()
    frame = pandas.DataFrame(data.rows[:, :4], columns=["radius", "texture", "perimeter", "area"])
    model = LogisticRegression(max_iter=5000).fit(frame, data.labels)
    mlflow.sklearn.save_model(
        model,
        str(folder),
        signature=mlflow.models.infer_signature(frame, model.predict(frame)),
        pip_requirements=["scikit-learn"],
    )
    return folder


def huggingface_folder(folder: Path) -> Path:
    """A text classifier of some thousand random weights, with a tokenizer of eight words."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    torch.manual_seed(0)
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text(
        "\n".join(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS)) + "\n"
    )
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(str(folder))
    config = BertConfig(
        vocab_size=5 + len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=32,
        id2label={0: "NEGATIVE", 1: "POSITIVE"}, label2id={"NEGATIVE": 0, "POSITIVE": 1},
    )  # fmt: skip
    BertForSequenceClassification(config).eval().save_pretrained(str(folder))
    assert "architectures" in json.loads((folder / "config.json").read_bytes())
    return folder
