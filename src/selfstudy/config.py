"""Settings: frozen models with helpful errors, YAML in, overrides merged into the raw tree before validation."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, PlainSerializer, SerializationInfo, ValidationError

from selfstudy.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class Settings(BaseModel):
    """Base of every settings class: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    in_commands: ClassVar[bool] = False  # whether a command can set these by their paths

    def identity(self) -> dict[str, Any]:
        """Return what enters a fingerprint: every setting that can change a result."""
        return self.model_dump(mode="json", context={"identity": True})

    @classmethod
    def parse(cls, tree: Mapping[str, Any], where: str) -> Self:
        """Validate ``tree``; errors name ``where`` it came from, the setting, what was received and what to do.

        Raises:
            ConfigError: One line for every setting that is wrong.
        """
        try:
            return cls.model_validate(dict(tree))
        except ValidationError as error:
            raise ConfigError("\n".join(_explain(cls, error, where))) from None


def _outside(value: Any, info: SerializationInfo) -> Any:
    return None if info.context and info.context.get("identity") else value


# Marks a setting that changes no result, and so counts for nothing in a fingerprint.
OUTSIDE_IDENTITY = PlainSerializer(_outside)
# A path on this machine. Contents enter fingerprints by digest, so the place itself must not.
Place = Annotated[str, OUTSIDE_IDENTITY]


def _explain(model: type[Settings], error: ValidationError, where: str) -> Iterator[str]:
    """Yield one line for every setting that is wrong, though each form that it may have says why it is not that one."""
    found: dict[str, list[tuple[ErrorDetails, Iterable[str]]]] = {}
    for item in error.errors():
        path, known = _place(model, item)
        found.setdefault(path, []).append((item, known))
    for path, items in found.items():
        if isinstance(items[0][0]["input"], Mapping) and any(other.startswith(f"{path}.") for other in found):
            continue  # of a mapping, what is wrong inside it says more
        messages: list[str] = []
        for item, known in items:
            if item["type"] == "extra_forbidden":
                messages.append(f"{path} is not a setting{did_you_mean(str(item['loc'][-1]), known)}")
            elif item["type"] == "missing":
                command = f", or {path}=… to the command" if model.in_commands else ""
                messages.append(f"{path} is required; add '{path}: …' to it{command}")
            else:
                message = item["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
                if item["type"] == "model_type":
                    message = "a mapping of settings is needed"
                messages.append(message if messages or not path else f"{path}: {message}")
        item = items[0][0]
        known_already = item["type"] in ("extra_forbidden", "missing") or (
            item["type"] == "value_error" and isinstance(item["input"], Mapping)
        )
        received = "" if known_already else f" (received {item['input']!r:.200})"
        yield f"{where}: {', or '.join(dict.fromkeys(messages))}{received}"


def _place(model: type[BaseModel], item: ErrorDetails) -> tuple[str, Iterable[str]]:
    """Return the setting that an error is about, and what else could stand there.

    Of a setting with several forms the library names the form as well (``guard.GuardSettings.every``): left out.
    """
    path: list[str] = []
    annotation: Any = model
    last = len(item["loc"]) - 1
    for number, part in enumerate(item["loc"]):
        settings = _settings_of(annotation)
        if settings is not None and part in settings.model_fields:
            annotation = settings.model_fields[str(part)].annotation
        elif number == last and item["type"] == "extra_forbidden":
            return ".".join([*path, str(part)]), settings.model_fields if settings else ()
        elif isinstance(part, int) or get_origin(annotation) is dict:
            annotation = (*get_args(annotation), Any)[-1 if isinstance(part, int) else 1]
        else:
            continue
        path.append(str(part))
    return ".".join(path), ()


def _settings_of(annotation: Any) -> type[BaseModel] | None:
    """Return the settings class of an annotation, or of one of its forms; None where it has none."""
    candidates = [annotation, *get_args(annotation)]
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)


class _Loader(yaml.SafeLoader):
    """YAML as people expect it: the numbers and words of YAML 1.2, and no key twice.

    ``3e-7`` is a number (YAML 1.1 wants ``3.0e-7``), ``010`` is ten; ``on``, ``12:30`` and ``2024-01-01`` are text.
    """

    yaml_implicit_resolvers = {
        first: [(tag, regexp) for tag, regexp in rules if not tag.endswith((":bool", ":int", ":float", ":timestamp"))]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse a key that stands twice; the base class would keep the last one silently."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"'{key.value}' is set twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$"), list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?\d[\d_]*$", re.ASCII), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:(?:\d[\d_]*\.[\d_]*|\.\d[\d_]*)(?:[eE][-+]?\d+)?|\d[\d_]*[eE][-+]?\d+|\.inf|\.nan)$", re.ASCII
    ),
    list("-+0123456789."),
)
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value.replace("_", "")))


class _Dumper(yaml.SafeDumper):
    """Quotes whatever text YAML 1.1 or :class:`_Loader` would read as something else, such as ``08`` and ``1e5``."""

    yaml_implicit_resolvers = {
        first: [rule for kind in (yaml.SafeDumper, _Loader) for rule in kind.yaml_implicit_resolvers.get(first, ())]
        for first in {**yaml.SafeDumper.yaml_implicit_resolvers, **_Loader.yaml_implicit_resolvers}
    }


_MOST_VALUES = 100_000  # of a config


def dump_yaml(tree: Mapping[str, Any]) -> str:
    """Return settings as the YAML that :func:`parse_yaml` reads as the same settings."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def parse_yaml(text: str, where: str) -> Any:
    """Parse one YAML document; a syntax error names ``where``, line and column."""
    try:
        loader = _Loader(text)
        loader.name = where  # in the place of "<unicode string>"
        tree = loader.get_single_data()
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a number of thousands of digits
        raise ConfigError(f"{where}: not valid YAML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{where}: not valid YAML: nested too deeply") from None
    waiting, count = [tree], 0
    while waiting:  # whoever goes through the tree meets what an alias stands for each time
        count += 1
        if count > _MOST_VALUES:
            raise ConfigError(f"{where}: not valid YAML: more than {_MOST_VALUES:,} values, aliases followed")
        item = waiting.pop()
        waiting.extend(item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
    return tree


def load_tree(name: str, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """Read a config by packaged name or path, follow its ``extends``, apply ``a.b=value`` overrides.

    Returns:
        The raw tree, environment variables expanded, without ``extends``.
    """
    tree = _read(name, ())
    for override in overrides:
        key, sign, text = override.partition("=")
        if not sign or not key:
            raise ConfigError(f"override '{override}' is not of the form setting=value, such as rounds=2")
        change = parse_yaml(text, f"override {key}") if text else None
        for part in reversed(key.split(".")):
            change = {part: change}
        assert isinstance(change, dict)
        tree = merge(tree, change)
    expanded = _expand(tree, name)
    assert isinstance(expanded, dict)
    return expanded


def merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Merge ``change`` into ``base`` mapping by mapping, so that one override never resets its siblings.

    A plug-in written as its name alone is the mapping with that ``name``. A mapping whose ``name`` differs from the
    base's is another plug-in: it replaces, since settings of the old one mean nothing to it. So does a name alone.
    """
    merged = dict(base)
    for key, value in change.items():
        old = merged.get(key)
        if isinstance(old, str) and isinstance(value, Mapping):
            old = {"name": old}
        if isinstance(old, Mapping) and isinstance(value, Mapping) and _same_name(old, value):
            merged[key] = merge(old, value)
        else:
            merged[key] = value
    return merged


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the settings in which two configs differ, such as ``sft.epochs``, with both values (None: not there)."""
    a, b = dict(_flattened(one)), dict(_flattened(other))
    return {path: (a.get(path), b.get(path)) for path in {**a, **b} if a.get(path) != b.get(path)}


def _flattened(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flattened(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _same_name(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return "name" not in old or new.get("name", old["name"]) == old["name"]


def packaged_configs() -> list[str]:
    """Return the names of the configs that come with the package."""
    folder = resources.files("selfstudy") / "configs"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def _read(name: str, seen: tuple[str, ...]) -> dict[str, Any]:
    if name in seen:
        raise ConfigError(f"{name}: extends itself ({' → '.join((*seen, name))})")
    path, asker = Path(name), f"; {seen[-1]} extends it" if seen else ""
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        if not path.is_file():
            raise ConfigError(f"{name}: no such config file (looked in {Path.cwd()}){asker}")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(f"{name}: not UTF-8 text ({error}); save it as UTF-8") from None
    elif name in packaged_configs():
        text = (resources.files("selfstudy") / "configs" / f"{name}.yaml").read_text(encoding="utf-8")
    else:
        raise ConfigError(f"no config named '{name}'{did_you_mean(name, packaged_configs())}{asker}")
    tree = parse_yaml(text, name) or {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{name}: a config is a mapping of settings, not a {type(tree).__name__}")
    parent = tree.pop("extends", None)
    if parent is None:
        return tree
    if str(parent).startswith((".", "/")) or str(parent).endswith((".yaml", ".yml")):
        parent = str((path.parent / str(parent)).resolve())
    return merge(_read(str(parent), (*seen, name)), tree)


def read_dotenv(path: Path) -> dict[str, str]:
    """Read ``KEY=value`` lines; quotes around a value, ``# comments`` and an ``export`` before it are dropped.

    Raises:
        ConfigError: The file is not UTF-8.
    """
    values: dict[str, str] = {}
    if path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path.absolute()}: not UTF-8 text ({error}); save it as UTF-8") from None
        for line in text.splitlines():
            match = re.match(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*?)\s*$", line)
            if match:
                quoted = re.match(r"""(['"])(.*)\1(?:\s+#.*)?$""", match[2])
                values[match[1]] = quoted[2] if quoted else re.sub(r"(?:^|\s+)#.*", "", match[2])
    return values


def _expand(value: Any, where: str, path: str = "") -> Any:
    """Put values of the environment in the place of ``${NAME}``; errors name the config and the setting."""
    if isinstance(value, dict):
        return {key: _expand(item, where, f"{path}.{key}" if path else str(key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, where, path) for item in value]
    return re.sub(r"\$\{(\w+)\}", partial(_variable, f"{where}: {path}"), value) if isinstance(value, str) else value


def _variable(where: str, match: re.Match[str]) -> str:
    found = os.environ.get(match[1])
    if found is None:
        found = read_dotenv(Path(".env")).get(match[1])
    if found is None:
        raise ConfigError(
            f"{where}: ${{{match[1]}}} is set neither in the environment nor in ./.env; export it, or add a line "
            f"{match[1]}=… to .env"
        )
    return found
