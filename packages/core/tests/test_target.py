import sys
from collections import Counter, OrderedDict
from pathlib import Path

import pytest

from mindtrace.core import get_class, instantiate_target


def test_a_class_is_found_by_its_dotted_name() -> None:
    assert get_class("collections.OrderedDict") is OrderedDict
    assert get_class("pathlib.Path") is Path


def test_what_lies_inside_a_class_is_found() -> None:
    assert get_class("pathlib.Path.cwd") == Path.cwd


@pytest.mark.parametrize(
    "name", ["Counter", "", ".Counter", "collections..Counter", "collections."]
)
def test_a_name_that_is_not_dotted_is_refused(name: str) -> None:
    with pytest.raises(
        ImportError, match=r"Expected a dotted name such as 'package\.module\.Class'"
    ):
        get_class(name)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("no_such_package.Thing", "there is no module 'no_such_package'"),
        ("no_such_package.deep.Thing", "there is no module 'no_such_package'"),
        ("collections.Thing", "'collections' has no 'Thing'"),
        ("collections.nowhere.Thing", "'collections' has no 'nowhere'"),
        ("collections.Counter.Thing", r"'collections\.Counter' has no 'Thing'"),
    ],
)
def test_a_missing_part_is_named(name: str, problem: str) -> None:
    with pytest.raises(ImportError, match=f"'{name}' cannot be imported: {problem}"):
        get_class(name)


def test_an_error_inside_a_module_passes_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_module.py").write_text("import a_missing_dependency")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    with pytest.raises(ModuleNotFoundError, match="a_missing_dependency"):
        get_class("broken_module.Thing")


def test_an_object_is_made_with_its_arguments() -> None:
    assert instantiate_target("collections.Counter", "aab", c=5) == Counter(a=2, b=1, c=5)


def test_a_keyword_may_be_called_target() -> None:
    assert instantiate_target("builtins.dict", target=1) == {"target": 1}


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match=r"'math\.pi' is no class: found a value of type float"):
        instantiate_target("math.pi")
