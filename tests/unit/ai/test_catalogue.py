"""Which pack serves what, and what is said where none does."""

from pathlib import Path

import pytest

from modelyard.ai import installing
from modelyard.ai.catalogue import (
    Catalogue,
    Licence,
    Module,
    NotServed,
    Pack,
    Package,
    PackMissing,
    Serves,
    builtin_packs,
    choice_key,
    read_pack,
    write_choices,
)
from modelyard.ai.engine import ENGINES


def pack(name: str, *languages: str, package: bool = True, accept: bool = False) -> Pack:
    packages = (Package(name="p", version="1", file="p.whl", sha256="0"),) if package else ()
    return Pack(
        name=name,
        version="1",
        title="A thing",
        engine="sentiment",
        licence=Licence(code="MIT", weights="GPL-3.0" if accept else "MIT", accept=accept),
        serves=(Serves(service="comprehend", task="sentiment", languages=languages),),
        packages=packages,
    )


def put(one: Pack, root: Path, tmp_path: Path) -> None:
    folder = tmp_path / f"files-{one.name}"
    folder.mkdir()
    (folder / "weights").write_text(one.name)
    installing.add_folder(one, folder, root)


def test_every_builtin_pack_names_an_engine_its_licence_and_pins() -> None:
    packs = builtin_packs()
    assert {"language-detection", "sentiment-en"} <= {one.name for one in packs}
    for one in packs:
        assert one.engine in ENGINES, one.name
        assert one.licence.code and one.licence.weights
        assert all(len(package.sha256) == 64 for package in one.packages)
        is_free = any(word in one.licence.weights for word in ("MIT", "BSD", "Apache", "none"))
        assert is_free or one.licence.accept, f"{one.name} has to be accepted"


def test_a_pack_that_is_not_installed_is_named_with_the_command_that_mends_it(
    tmp_path: Path,
) -> None:
    catalogue = Catalogue(tmp_path, [pack("one", "en"), pack("two", "fr", accept=True)])
    with pytest.raises(PackMissing, match=r"Install it with: modelyard models install one$"):
        catalogue.find("comprehend", "sentiment", "en")
    with pytest.raises(PackMissing, match=r"models install two --accept-license$"):
        catalogue.find("comprehend", "sentiment", "fr")
    with pytest.raises(NotServed) as caught:
        catalogue.find("comprehend", "sentiment", "xx")
    assert caught.value.languages == ("en", "fr")


def test_a_pack_that_is_removed_while_packs_are_read_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "packs"
    catalogue = Catalogue(root, [pack("one", "en"), pack("two", "fr")])
    for one in catalogue.builtins():
        put(one, root, tmp_path)
    read = Path.read_bytes

    def late(path: Path) -> bytes:
        installing.remove("one", root)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", late)
    assert catalogue.find("comprehend", "sentiment", "fr").pack.name == "two"


def test_a_missing_library_is_named_instead_of_the_pack(tmp_path: Path) -> None:
    one = Pack(
        name="bare",
        version="1",
        title="A thing",
        engine="language",
        licence=Licence(code="MIT", weights="MIT"),
        serves=(Serves(service="comprehend", task="t", languages=("*",)),),
        modules=(Module(name="no_such_module", command="pip install it"),),
    )
    with pytest.raises(PackMissing, match=r"Install it with: pip install it$"):
        Catalogue(tmp_path, [one]).find("comprehend", "t", "en")


def test_the_pack_of_the_language_comes_before_the_one_for_all_and_the_chosen_one_before_both(
    tmp_path: Path,
) -> None:
    root = tmp_path / "packs"
    catalogue = Catalogue(root, [pack("all", "*"), pack("english", "en")])
    put(pack("all", "*"), root, tmp_path)
    assert catalogue.find("comprehend", "sentiment", "en").pack.name == "all"
    put(pack("english", "en"), root, tmp_path)
    assert catalogue.find("comprehend", "sentiment", "en").pack.name == "english"
    assert catalogue.find("comprehend", "sentiment", "fr").pack.name == "all"
    put(pack("own", "de"), root, tmp_path)
    write_choices(root, {choice_key("comprehend", "sentiment", "en"): "own"})
    assert catalogue.find("comprehend", "sentiment", "en").pack.name == "own"
    installing.remove("own", root)
    with pytest.raises(NotServed):
        catalogue.find("comprehend", "sentiment", "en")


def test_a_key_changes_with_the_content_and_only_with_it(tmp_path: Path) -> None:
    root = tmp_path / "packs"
    catalogue = Catalogue(root, [])
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_text("1")
    first = installing.add_folder(pack("one", "en"), folder, root).key
    assert installing.add_folder(pack("one", "en"), folder, root).key == first
    (folder / "weights").write_text("2")
    assert installing.add_folder(pack("one", "en"), folder, root).key != first
    assert catalogue.installed()["one"].source == str(folder)


def test_a_file_that_was_changed_is_seen(tmp_path: Path) -> None:
    root = tmp_path / "packs"
    one = pack("one", "en")
    put(one, root, tmp_path)
    assert installing.verify(one, root) == []
    with (root / "one" / "model.tar").open("ab") as file:
        file.write(b"more")
    assert installing.verify(one, root) == ["model.tar has changed since it was installed"]


def test_a_pack_with_a_wrong_member_is_refused() -> None:
    with pytest.raises(ValueError, match="licence"):
        read_pack(b'name = "x"\nversion = "1"\ntitle = ""\nengine = "language"\nserves = []\n')
