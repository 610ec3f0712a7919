"""The floors of the house: imports point down, without a circle, and no room grows too large."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BACKEND = ROOT / "backend"

# From the top to the bottom; rooms of one floor do not import each other.
FLOORS = (
    {"__init__", "__main__", "serve", "roles", "app", "gunicorn_config"},  # the door
    {"web"},
    {"sweeps"},
    {"experiments"},
    {"launchers"},
    {"store", "files"},
    {"domain"},
)
# Any floor may import these; they import the domain at most.
GROUND = {"addresses", "settings", "tokens"}
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_FOLDER_MODULES = 15
NO_IO = {  # what the domain may not import: it is data and rules
    *("os", "io", "pathlib", "shutil", "socket", "subprocess", "tempfile", "threading"),
    *("flask", "apiflask", "sqlalchemy", "pymysql", "kubernetes", "orjson", "logging"),
}

LIBRARIES = {  # who may import what
    "sqlalchemy": ("backend.store", "backend.settings"),
    "pymysql": ("backend.store",),
    "alembic": ("backend.store",),
    "flask": ("backend.web", "backend.app"),
    "apiflask": ("backend.web", "backend.app"),
    "marshmallow": ("backend.web",),
    "werkzeug": ("backend.web", "backend.app"),
    "prometheus_client": (
        "backend.web",
        "backend.experiments.reconciling.health",
        "backend.gunicorn_config",
    ),
    "kubernetes": ("backend.launchers.kubernetes",),
    "optuna": ("backend.sweeps.tpe",),
}

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(BACKEND.rglob("*.py"))
}
FOLDERS = (BACKEND, ROOT / "hello_flask", ROOT / "models")
SOURCES = [path for folder in FOLDERS for path in folder.rglob("*.py")]


@cache
def imports_of(module: str) -> frozenset[str]:
    """Return every module that `module` imports, inside functions and for type checks too."""
    return frozenset(_imports_of(module))


def _imports_of(module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            assert node.module is not None
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in MODULES else node.module


def room_of(module: str) -> str:
    """Return the room of a module: the folder below `backend`, or the module at the door."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def floor_of(module: str) -> int:
    """Return the number of the floor, 0 for the door."""
    return next(number for number, rooms in enumerate(FLOORS) if room_of(module) in rooms)


def ours(module: str) -> list[str]:
    """Return the modules of the backend that `module` imports."""
    return [name for name in imports_of(module) if name in MODULES and name != "backend"]


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    for imported in ours(module):
        if room_of(imported) in GROUND or room_of(imported) == room_of(module):
            continue
        assert room_of(module) not in GROUND or room_of(imported) == "domain", imported
        if room_of(module) not in GROUND and floor_of(module) > 0:
            assert floor_of(imported) > floor_of(module), f"{module} imports {imported}"


def test_no_circle() -> None:
    graph = {module: set(ours(module)) for module in MODULES}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for imported in sorted(graph[module]):
                visit(imported, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("module", [name for name in MODULES if room_of(name) == "web"])
def test_the_web_knows_no_store(module: str) -> None:
    assert [name for name in ours(module) if room_of(name) == "store"] == []


def test_only_experiments_sweeps_and_the_roles_use_the_store() -> None:
    users = {name for name in MODULES if any(room_of(used) == "store" for used in ours(name))}
    homes = {"store", "sweeps", "experiments", "roles", "gunicorn_config"}
    assert {room_of(name) for name in users} <= homes


@pytest.mark.parametrize(("room", "other"), [("kubernetes", "local"), ("local", "kubernetes")])
def test_launchers_share_only_their_protocol(room: str, other: str) -> None:
    shared = {"backend.launchers.base", "backend.launchers.exit_codes"}
    shared |= {name for name in MODULES if name.startswith("backend.launchers.preflight")}
    for module in [name for name in MODULES if name.startswith(f"backend.launchers.{room}")]:
        of_launchers = {name for name in ours(module) if room_of(name) == "launchers"}
        own = {name for name in of_launchers if name.startswith(f"backend.launchers.{room}")}
        assert of_launchers - own <= shared, f"{module} imports {of_launchers - own - shared}"
        assert not any(name.startswith(f"backend.launchers.{other}") for name in of_launchers)


@pytest.mark.parametrize(("library", "homes"), LIBRARIES.items())
def test_a_library_has_one_home(library: str, homes: tuple[str, ...]) -> None:
    users = {
        module
        for module in MODULES
        if any(name.split(".")[0] == library for name in imports_of(module))
    }
    assert {module for module in users if not module.startswith(homes)} == set()


@pytest.mark.parametrize("module", [name for name in MODULES if room_of(name) == "domain"])
def test_the_domain_does_no_io(module: str) -> None:
    assert {name.split(".")[0] for name in imports_of(module)} & NO_IO == set()


def imported_by(path: Path) -> Iterator[str]:
    """Yield the name after `import` or `from` of each import of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_models_do_not_import_backend() -> None:
    for path in (ROOT / "models").rglob("*.py"):
        assert not any(name.split(".")[0] == "backend" for name in imported_by(path)), path


def test_the_client_needs_the_standard_library_alone() -> None:
    known = {*sys.stdlib_module_names, "hello_flask"}
    for path in (ROOT / "hello_flask").rglob("*.py"):
        others = {name for name in imported_by(path) if name.split(".")[0] not in known}
        # The version of `backend/__init__.py`, which imports nothing; pandas if it is there.
        assert others <= {"backend", "pandas"}, path


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_MODULE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < MAX_FUNCTION_LINES, node.name


def test_folders_stay_small() -> None:
    others = [path for name in ("bench", "tests", "tools") for path in (ROOT / name).rglob("*.py")]
    for folder in {path.parent for path in [*SOURCES, *others]}:
        if folder.name != "versions":  # migrations only grow
            names = {path.stem for path in folder.glob("*.py")} - {"conftest", "support"}
            assert len(names) <= MAX_FOLDER_MODULES, folder
