"""Plug-ins: the file system is the registry.

``numeric``, or ``{name: numeric, tolerance: 1e-3}``, is class ``Numeric`` in the family's folder, file ``numeric.py``.
``./my_check.py``, or ``{name: ./my_check.py, strict: true}``, is a user's own file with exactly one public class; its
hash enters the fingerprint. A plug-in is a frozen settings class with one or a few methods.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import pkgutil
import sys
import traceback
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from pydantic import Field, SerializationInfo, model_serializer

from selfstudy.config import Settings
from selfstudy.errors import ConfigError, PluginError, did_you_mean

T = TypeVar("T", bound=Settings)

# Where the module of a user's file keeps the bytes that were run.
_SOURCE = "__selfstudy_source__"


class PluginSpec(Settings):
    """Which plug-in, with which settings; validated by :func:`parse_spec`, imported only by :func:`load`.

    Attributes:
        name: A file of the family's folder, or the path of a user's own file.
        settings: The plug-in's settings.
        sha256: Digest of the user's own file; None for one of the package's.
        places: Settings that only say where something lies, and so count for nothing in a fingerprint.
    """

    name: str
    settings: dict[str, Any] = Field(default_factory=dict)
    sha256: str | None = None
    places: tuple[str, ...] = ()

    @cached_property
    def is_file(self) -> bool:
        """Whether this is a user's own file."""
        return self.name.endswith(".py")

    @model_serializer(mode="plain")
    def _flat(self, info: SerializationInfo) -> dict[str, Any]:
        identity = info.context and info.context.get("identity")
        if identity and self.is_file:
            return {"name": Path(self.name).name, "sha256": self.sha256, **self.settings}
        places = dict.fromkeys(self.places if identity else ())  # None, as where none is given
        return {"name": self.name, **self.settings, **places}


def parse_spec(family: str, value: Any) -> PluginSpec:
    """Turn ``"name"`` or ``{"name": …, setting: …}`` into a spec, settings of the package's own plug-ins validated.

    Args:
        family: The package that holds the plug-ins, such as ``selfstudy.judging.verifiers``.
        value: What the config says.

    Raises:
        ValueError: With the remedy; pydantic adds where it stands.
    """
    if isinstance(value, PluginSpec):
        return value
    tree = {"name": value} if isinstance(value, str) else dict(value) if isinstance(value, dict) else {}
    name = tree.pop("name", None)
    if not isinstance(name, str):
        raise ValueError(f"name one of: {', '.join(available(family))}; or the path of a .py file")
    if name.endswith(".py"):
        path = Path(name)
        if not path.is_file():
            raise ValueError(f"no plug-in file {name} (looked in {Path.cwd()})")
        return PluginSpec(name=str(path.resolve()), settings=tree, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    plugin = _packaged(family, name)
    try:
        instance = plugin.parse(tree, name)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    # Defaults are written out, so that a changed default is another fingerprint.
    settings, identity = instance.model_dump(mode="json"), instance.identity()
    places = tuple(key for key in settings if settings[key] != identity[key])
    return PluginSpec(name=name, settings=settings, places=places)


def load(family: str, spec: PluginSpec, base: type[T]) -> T:
    """Import the plug-in that ``spec`` names and make it with its settings.

    Raises:
        PluginError: The file changed since the config was read, cannot be imported, has no single public class, or
            the class does not keep the contract of ``base``.
        ConfigError: A setting of a user's own plug-in is wrong.
    """
    plugin = _from_file(spec, base) if spec.is_file else _packaged(family, spec.name)
    if not issubclass(plugin, base):
        raise PluginError(f"{spec.name}: class {plugin.__name__} must derive from {_path(base)}")
    if inspect.isabstract(plugin):
        missing = ", ".join(sorted(plugin.__abstractmethods__))
        raise PluginError(f"{spec.name}: class {plugin.__name__} lacks the method {missing}")
    return plugin.parse(spec.settings, spec.name)


def available(family: str) -> list[str]:
    """List the plug-ins of a family."""
    package = importlib.import_module(family)
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_"))


def _packaged(family: str, name: str) -> type[Settings]:
    if name not in available(family):
        raise ValueError(f"unknown name '{name}'{did_you_mean(name, available(family))}")
    module = importlib.import_module(f"{family}.{name}")
    plugin: type[Settings] = getattr(module, "".join(part.capitalize() for part in name.split("_")))
    return plugin


def _from_file(spec: PluginSpec, base: type[Settings]) -> type:
    path = Path(spec.name)
    if not path.is_file():
        raise PluginError(f"plug-in file {spec.name} is gone; put it back, or name another in the config")
    source = path.read_bytes()
    if hashlib.sha256(source).hexdigest() != spec.sha256:
        raise PluginError(f"plug-in file {spec.name} changed since this run was planned; start the command again")
    module = _imported(path, source, f"selfstudy_plugin_{path.stem}_{(spec.sha256 or '')[:12]}")
    classes = [
        value
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_")
    ]
    if len(classes) != 1:
        found = ", ".join(found.__name__ for found in classes) or "none"
        others = "; begin the names of the others with _" if classes else ""
        raise PluginError(
            f"{spec.name}: needs exactly one public class, derived from {_path(base)}; found {found}{others}"
        )
    return classes[0]


def imported_files() -> list[tuple[str, str, bytes]]:
    """Return module name, path and source of the users' files that this process has run: what another one needs.

    Objects of their classes can then be unpickled there, after :func:`import_files`.
    """
    modules = [(name, vars(module)) for name, module in sys.modules.items()]
    return [(name, found["__file__"], found[_SOURCE]) for name, found in modules if _SOURCE in found]


def import_files(files: Iterable[tuple[str, str, bytes]]) -> None:
    """Run what :func:`imported_files` returned in another process."""
    for name, path, source in files:
        _imported(Path(path), source, name)


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__name__}"


def _imported(path: Path, source: bytes, name: str) -> ModuleType:
    """Run the bytes that were hashed; Python's own import may run a cached version of an edited file."""
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = str(path)
    vars(module)[_SOURCE] = source
    sys.modules[name] = module  # where pydantic looks up what annotations name
    try:
        exec(compile(source, path, "exec", dont_inherit=True), vars(module))
    except Exception as error:
        del sys.modules[name]
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        place = f", line {lines[-1]}" if lines else ""  # a syntax error says its own
        raise PluginError(f"plug-in file {path}{place}: cannot be imported: {type(error).__name__}: {error}") from error
    return module
