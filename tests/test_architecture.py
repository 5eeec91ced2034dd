"""The figure in DESIGN and in `instrument/__init__.py` is what the imports say, read from the AST."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "instrument"

LAYERS = (
    (
        "run",
        "guard",
        "snapshot",
        "codec",
        "cost",
        "entropy",
        "errors",
        "identity",
        "media",
        "patches",
        "secrets",
        "tree",
        "unheard",
    ),
    ("context", "exporters._base", "exporters._text", "terminal"),
    ("recorder", "privacy"),
    ("told", "ends", "serverless", "sigterm"),
    ("transport",),
    ("exporters", "integrations"),
    ("config", "questions", "figures", "store"),
    ("client", "trubrics_client", "scope", "testing"),
    (
        "launch",
        "viewer",
        "destinations",
        "backfill",
        "probe",
        "doctor",
        "commands",
        "cli",
        "_bootstrap",
        "",
    ),
    ("__main__",),
)
"""From the bottom up. A folder stands for all of its modules, and "" for the package itself."""

READ_THE_ENVIRONMENT = {
    *("config", "cli", "commands.asking", "commands.printing", "launch"),
    "_bootstrap.sitecustomize",
}
STRANGERS = {"exporters", "integrations"}
NEVER_AT_THE_TOP = {"openai", "langchain_core", "httpx", "httpx2", "sqlite3", "asyncio"}


def name_of(path: Path) -> str:
    """Name a module below the package: `exporters.llmonitor`, and "" for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}
PACKAGES = {name_of(path) for path in PACKAGE.rglob("__init__.py")}


def checked_at_run_time(tree: ast.AST):
    """Walk all nodes but those that only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield node
            yield from checked_at_run_time(node)


def absolute(module: str, node: ast.ImportFrom) -> str:
    """Resolve what stands after `from`."""
    if not node.level:
        return node.module or ""
    here = ["instrument", *filter(None, module.split("."))]
    base = here[: len(here) - node.level + (module in PACKAGES)]
    return ".".join([*base, *filter(None, [node.module])])


def imports(module: str, tree: ast.AST):
    """List the full names of what a module imports."""
    for node in checked_at_run_time(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = absolute(module, node)
            for alias in node.names:
                inside = f"{source}.{alias.name}".removeprefix("instrument.")
                yield f"instrument.{inside}" if inside in MODULES else source


def ours(module: str, tree: ast.AST) -> set[str]:
    """List the modules of this package that a module imports."""
    names = {name for name in imports(module, tree) if name.partition(".")[0] == "instrument"}
    return {name.removeprefix("instrument").removeprefix(".") for name in names} - {module}


def layer(module: str) -> int:
    """Find the layer of a module: by its own name, else by its folder's."""
    while module and not any(module in names for names in LAYERS):
        module = module.rpartition(".")[0]
    return next(height for height, names in enumerate(LAYERS) if module in names)


def folder(module: str) -> str:
    """Name the folder at the top that a module is in."""
    return module.partition(".")[0]


def test_every_module_has_a_layer():
    """A new module at the top is given its place in the figure."""
    named = {name for names in LAYERS for name in names}
    tops = {folder(module) for module in MODULES}

    assert tops - {folder(name) for name in named} == set()


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_down(module):
    """A module imports from its own layer and those below it, and from its own folder."""
    for imported in ours(module, MODULES[module]):
        same_folder = folder(module) and folder(module) == folder(imported)

        assert same_folder or layer(imported) <= layer(module), f"{module} imports {imported}"


def test_no_cycles():
    """No module imports itself by way of others."""
    graph = {module: ours(module, tree) for module, tree in MODULES.items()}

    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("module", sorted(MODULES))
def test_destinations_and_sdks_are_strangers(module):
    """A destination knows no SDK and no other destination, an SDK neither; all share helpers."""
    if folder(module) not in STRANGERS or module in STRANGERS:
        return
    for imported in ours(module, MODULES[module]):
        shared = "._" in imported or imported in STRANGERS
        same = imported.split(".")[:2] == module.split(".")[:2]
        other_side = folder(imported) in STRANGERS - {folder(module)}

        assert not other_side, f"{module} imports {imported}"
        assert folder(imported) not in STRANGERS or shared or same, f"{module} imports {imported}"


def test_httpx_has_one_user():
    """Only the sender knows the HTTP library."""
    users = {
        module
        for module, tree in MODULES.items()
        if any(name.partition(".")[0] in {"httpx", "httpx2"} for name in imports(module, tree))
    }

    assert users <= {"transport.sender"}


def test_sdks_are_never_imported():
    """The OpenAI client is not imported at all, LangChain by its own integration alone."""
    for module, tree in MODULES.items():
        tops = {name.partition(".")[0] for name in imports(module, tree)}

        assert "openai" not in tops
        assert module.startswith("integrations.langchain") or "langchain_core" not in tops


@pytest.mark.parametrize("module", sorted(MODULES))
def test_heavy_modules_are_imported_late(module):
    """What is heavy or optional is imported late: in a function, or a module imported in one."""
    body = [node for node in MODULES[module].body if isinstance(node, (ast.Import, ast.ImportFrom))]
    tops = {name.partition(".")[0] for name in imports(module, ast.Module(body, []))}

    if module == "integrations.langchain.handler":
        tops -= {"langchain_core"}  # its classes are the bases of ours; nothing imports it early
    assert not tops & NEVER_AT_THE_TOP


@pytest.mark.parametrize("module", sorted(set(MODULES) - READ_THE_ENVIRONMENT))
def test_environment_has_few_readers(module):
    """Only the settings, the command line and the launcher read the environment."""
    read = {
        ast.unparse(node)
        for node in ast.walk(MODULES[module])
        if isinstance(node, (ast.Attribute, ast.Call))
    }

    assert not {"os.environ", "os.getenv"} & {text.partition("(")[0] for text in read}
