"""Classes get into their process from wherever they are defined."""

from __future__ import annotations

import dataclasses
import enum
import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pytest
import services_support
from processes_support import Plain, Program, ran
from pydantic import BaseModel
from services_support import environment, eventually, launched

from mindtrace.core import TaskSchema
from mindtrace.services import Service, endpoint
from mindtrace.services.shipping import child_finds, shipped

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


class Colour(enum.Enum):
    """A colour."""

    RED = "red"
    BLUE = "blue"


class Box(BaseModel, Generic[T]):
    """Holds something."""

    content: T


class Paint(BaseModel):
    """What to paint, and how."""

    colour: Colour
    boxes: list[Box[int]] = []


@dataclasses.dataclass
class Brush:
    """What it is painted with."""

    width: int = 3


TOOLS = {"brush": Brush(5)}
"""A constant of this module, which no other process can import."""


def width() -> int:
    """Return how wide the brush is."""
    return TOOLS["brush"].width


class Painter(Service):
    """Uses what this module has."""

    @endpoint("/paint")
    def paint(self, paint: Paint) -> Box[int]:
        """Return the paint that it takes."""
        assert paint.colour is Colour.RED
        return Box[int](content=width() * sum(each.content for each in paint.boxes))


class Apprentice(Painter):
    """Is a subclass in such a module."""

    @endpoint("/clean")
    def clean(self, paint: Paint) -> Paint:
        """Return it."""
        return super().paint(paint) and paint


@pytest.fixture(autouse=True)
def pid_files(tmp_path: Path) -> Iterator[None]:
    """A folder of its own for each test's files of processes."""
    with environment(MINDTRACE_DIR_PATHS__ROOT=str(tmp_path)):
        yield


# in this process


@pytest.mark.process
def test_a_class_of_a_module_that_nobody_else_imports_is_launched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # where the tests run from their root, this module has a name that leads to it
    elsewhere = [each for each in sys.path if each and not Path(each, "packages").is_dir()]
    monkeypatch.setattr(sys, "path", elsewhere)
    assert not child_finds(__name__)

    with launched(Apprentice) as manager:
        box = manager.paint(colour="red", boxes=[{"content": 2}, {"content": 3}])
        assert (type(box), box.content) == (Box[int], 25)
        assert manager.clean(colour=Colour.RED, boxes=[Box[int](content=1)]).colour is Colour.RED


@pytest.mark.process
def test_a_class_of_a_function_is_launched() -> None:
    factor = 3

    class Doubled(BaseModel):
        """A number."""

        number: int

    def times(numbered: Doubled) -> int:
        return factor * numbered.number

    class Local(Service):
        """Uses what its function has."""

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            schema = TaskSchema(name="triple", input_schema=Doubled, output_schema=Doubled)
            self.add_endpoint("/triple", self.triple, schema)

        def triple(self, doubled: Doubled) -> Doubled:
            """Return three times as much."""
            return Doubled(number=times(doubled))

    with launched(Local) as manager:
        assert manager.triple(number=4) == Doubled(number=12)


@pytest.mark.process
def test_what_init_is_given_may_be_of_a_class_that_nobody_else_imports() -> None:
    class Given(Service):
        """Is given something."""

        def __init__(self, brush: Brush | None = None, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self._brush = brush

        @endpoint("/width")
        def width(self) -> dict[str, Any]:
            """Return its width."""
            return {"width": self._brush.width if self._brush else None}

    with launched(Given, brush=Brush(7)) as manager:
        assert manager.width() == {"width": 7}


@pytest.mark.process
def test_a_class_of_a_folder_that_was_put_on_the_path_at_run_time_is_launched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "added" / "late_package"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "late.py").write_text(
        "from processes_support import Plain\n\nclass Late(Plain):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "added")
    late = import_module("late_package.late")

    assert child_finds("late_package.late")
    with launched(late.Late) as manager:
        assert manager.pid().pid == manager.process_id


@pytest.mark.process
def test_a_class_whose_folder_left_the_path_is_launched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone_module.py").write_text(
        "from processes_support import Plain, Text\n"
        "from mindtrace.services import endpoint\n"
        "WORD = 'kept'\n\n"
        "class Gone(Plain):\n"
        "    @endpoint('/word')\n"
        "    def word(self) -> Text:\n"
        "        return Text(text=WORD)\n"
    )
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        gone_module = import_module("gone_module")

    assert not child_finds("gone_module")
    with launched(gone_module.Gone) as manager:
        assert manager.word().text == "kept"


def test_a_name_that_stands_for_another_file_there_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "twofold.py").write_text(f"FOLDER = {folder!r}\n")
    monkeypatch.syspath_prepend(tmp_path / "first")
    twofold = import_module("twofold")

    assert child_finds(twofold.__name__)
    monkeypatch.syspath_prepend(tmp_path / "second")
    assert not child_finds(twofold.__name__)


@pytest.mark.parametrize(
    "name",
    ["sys", "os", "typing", "enum", "collections.abc", "pydantic", "pydantic.main", "mindtrace",
     "mindtrace.services.service", "services_support", "_socket", "_frozen_importlib"],
)  # fmt: skip
def test_a_child_finds_what_is_installed(name: str) -> None:
    __import__(name)
    assert child_finds(name)


def test_a_child_finds_nothing_that_is_no_module() -> None:
    assert not child_finds("nowhere")
    assert not child_finds("__main__")


def test_a_class_that_a_child_finds_goes_by_its_name() -> None:
    assert len(shipped(Plain, {})) < 200
    assert services_support.__file__.encode() not in shipped(Plain, {})


def test_shipping_changes_nothing_for_other_users_of_cloudpickle() -> None:
    register = import_module("cloudpickle")
    shipped(Apprentice, {})
    with pytest.raises(TypeError):
        shipped(Apprentice, {"stream": sys.stderr})

    assert register.list_registry_pickle_by_value() == set()


@pytest.mark.process
def test_a_class_of_a_package_that_is_installed_editable_is_launched(tmp_path: Path) -> None:
    """A finder, rather than a folder on the path, knows where such a package is."""
    source = tmp_path / "source" / "odd_place"
    source.mkdir(parents=True)
    (source / "editable.py").write_text(
        "from processes_support import Plain\n\nclass Editable(Plain):\n    pass\n"
    )
    (source / "__init__.py").touch()
    (tmp_path / "finder").mkdir()
    (tmp_path / "finder" / "sitecustomize.py").write_text(
        "import sys\n"
        "from importlib.util import spec_from_file_location\n"
        "class Finder:\n"
        "    @classmethod\n"
        "    def find_spec(cls, name, path=None, target=None):\n"
        "        if name == 'odd_place':\n"
        f"            return spec_from_file_location(name, {str(source / '__init__.py')!r})\n"
        "sys.meta_path.append(Finder)\n"
    )
    program = """
        import odd_place.editable
        from mindtrace.services.shipping import child_finds
        print(child_finds("odd_place.editable"))
        with odd_place.editable.Editable.launch(port=0) as manager:
            print(manager.pid().pid == manager.process_id)
    """
    path = f"{tmp_path / 'finder'}:{Path(__file__).parent}"
    assert ran(program, tmp_path, variables={"PYTHONPATH": path}).split() == ["True", "True"]


# programs

SCRIPT = """
    {future}
    import dataclasses, enum
    from typing import Generic, Optional, TypeVar
    from pydantic import BaseModel, Field, field_validator
    from mindtrace.core import TaskSchema
    from mindtrace.services import Service, endpoint

    T = TypeVar("T")
    UNIT = "mm"
    print("it runs", flush=True)

    class Colour(enum.Enum):
        RED = "red"

    class Kind(enum.IntFlag):
        A = 1
        B = 2

    class Box(BaseModel, Generic[T]):
        content: T

    @dataclasses.dataclass
    class Brush:
        width: int = 3

    class Paint(BaseModel):
        colour: Colour
        kind: Kind = Kind.A
        brush: Brush = Brush()
        box: Box[int] = Box[int](content=1)
        inner: Optional["Paint"] = None
        long: int = Field(default=1, ge=0)

        @field_validator("long")
        @classmethod
        def even_longer(cls, value: int) -> int:
            return longer(value)

    class Answer(BaseModel):
        text: str

    class OnlyNamed(BaseModel):
        text: str

    def longer(value: int) -> int:
        return max(value, len(UNIT))

    def module_level(paint: Paint) -> Answer:
        return Answer(text=f"{{paint.colour.name}} {{longer(paint.long)}}{{UNIT}}")

    class Base(Service):
        word = "base"

        @endpoint("/base")
        def base(self) -> Answer:
            return Answer(text=self.word)

    class Painter(Base):
        word = "painter"

        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.add_endpoint("/module_level", module_level)
            schema = TaskSchema(name="s", input_schema=Paint, output_schema=Answer)
            self.add_endpoint("/by_schema", self.by_schema, schema)

        @endpoint("/paint")
        async def paint(self, paint: Paint) -> Box[int]:
            return Box[int](content=paint.box.content + paint.brush.width)

        @endpoint("/only_named")
        def only_named(self, only: OnlyNamed) -> OnlyNamed:
            return only

        def by_schema(self, payload):
            return Answer(text=payload.inner.colour.value if payload.inner else self.helped())

        @staticmethod
        def helped() -> str:
            return "helped"

    with Painter.launch(port=0) as manager:
        assert manager.base().text == "painter"
        assert manager.module_level(colour="red").text == "RED 2mm"
        assert manager.module_level(colour="red", long=4).text == "RED 4mm"
        assert manager.paint(colour=Colour.RED) == Box[int](content=4)
        assert manager.by_schema(colour="red").text == "helped"
        assert manager.by_schema(colour="red", inner=Paint(colour="red")).text == "red"
        assert manager.only_named(text="only in annotations").text == "only in annotations"
        print("it served", flush=True)
"""


@pytest.mark.process
@pytest.mark.parametrize("future", ["", "from __future__ import annotations"])
@pytest.mark.parametrize("how", ["file", "-", "-c"])
def test_a_script_without_a_guard_launches_its_own_classes(
    tmp_path: Path, how: Any, future: str
) -> None:
    printed = ran(SCRIPT.format(future=future), tmp_path, how=how)

    assert printed.split("\n") == ["it runs", "it served"]  # once each


@pytest.mark.process
@pytest.mark.parametrize("future", ["", "from __future__ import annotations"])
def test_a_session_whose_cells_define_the_classes_launches_them(
    tmp_path: Path, future: str
) -> None:
    """As a notebook does: each cell is compiled alone, and runs in the namespace of `__main__`."""
    cells = textwrap.dedent(SCRIPT.format(future=future)).strip().split("\n\n")
    runner = f"""
        import ast, code, sys
        console = code.InteractiveConsole(sys.modules["__main__"].__dict__)
        for number, cell in enumerate({cells!r}):
            compiled = console.compile.compiler(cell, f"<cell {{number}}>", "exec")
            console.runcode(compiled)
    """
    # an indented part of a class is no cell of its own
    joined: list[str] = []
    for cell in cells:
        if cell.startswith(" ") and joined:
            joined[-1] += "\n\n" + cell
        else:
            joined.append(cell)
    printed = ran(runner.replace(repr(cells), repr(joined)), tmp_path, how="-")

    assert printed.split("\n") == ["it runs", "it served"]


@pytest.mark.process
def test_a_class_of_a_script_may_launch_another_of_it(tmp_path: Path) -> None:
    source = """
        from __future__ import annotations
        from pydantic import BaseModel
        from mindtrace.services import Service, endpoint
        class Answer(BaseModel):
            text: str
        class Below(Service):
            @endpoint("/answer")
            def answer(self) -> Answer:
                return Answer(text="from below")
        class Above(Service):
            def startup(self):
                self.first = Below.launch(port=0)
            @endpoint("/ask")
            def ask(self) -> Answer:
                with Below.launch(port=0) as second:
                    return Answer(text=self.first.answer().text + " " + second.answer().text)
            @endpoint("/ask_on_the_loop")
            async def ask_async(self) -> Answer:
                with Below.launch(port=0) as second:
                    return await second.aanswer()
        with Above.launch(port=0) as manager:
            print(manager.ask().text)
            print(manager.ask_on_the_loop().text)
    """
    assert ran(source, tmp_path).split("\n") == ["from below from below", "from below"]


@pytest.mark.process
def test_a_process_of_multiprocessing_launches_classes_of_the_script(tmp_path: Path) -> None:
    source = """
        import multiprocessing
        from pydantic import BaseModel
        from mindtrace.services import Service, endpoint
        class Answer(BaseModel):
            text: str
        class Mine(Service):
            @endpoint("/answer")
            def answer(self) -> Answer:
                return Answer(text="answered")
        def work():
            with Mine.launch(port=0) as manager:
                print(manager.answer().text, flush=True)
        if __name__ == "__main__":
            for method in ("spawn", "fork", "forkserver"):
                process = multiprocessing.get_context(method).Process(target=work)
                process.start()
                process.join()
    """
    with Program(source, tmp_path) as program:
        assert [program.line() for _ in range(3)] == ["answered"] * 3
        assert program.ended() == 0
        eventually(lambda: not program.pid_files())


@pytest.mark.process
def test_a_module_that_runs_as_a_program_launches_its_classes(tmp_path: Path) -> None:
    package = tmp_path / "runnable"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "helper.py").write_text("WORD = 'helped'\n")
    (package / "__main__.py").write_text(
        "from pydantic import BaseModel\n"
        "from mindtrace.services import Service, endpoint\n"
        "from runnable import helper\n"
        "class Answer(BaseModel):\n"
        "    text: str\n"
        "class Mine(Service):\n"
        "    @endpoint('/answer')\n"
        "    def answer(self) -> Answer:\n"
        "        return Answer(text=helper.WORD)\n"
        "with Mine.launch(port=0) as manager:\n"
        "    print(manager.answer().text)\n"
    )
    found = subprocess.run(
        [sys.executable, "-m", "runnable"], cwd=tmp_path, capture_output=True, check=True, text=True
    )

    assert found.stdout == "helped\n"
