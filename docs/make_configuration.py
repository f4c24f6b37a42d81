"""Write ``docs/configuration.md``, the reference of every setting, from the settings classes and their docstrings.

Run ``python docs/make_configuration.py`` after a change of settings; a test compares the file with what this writes.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from importlib import resources
from itertools import takewhile
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from selfstudy.config import Settings, packaged_configs
from selfstudy.models.presets import PRESETS
from selfstudy.models.resolve import packaged_models
from selfstudy.plugins import PluginSpec, available, parse_spec
from selfstudy.recipes.config import Config

TARGET = Path(__file__).with_name("configuration.md")

# Families of plug-ins in the order of the flow: the package, the heading, and what one of them is called.
FAMILIES = {
    "selfstudy.problems.sources": ("Problem sources", "problem source"),
    "selfstudy.judging.verifiers": ("Verifiers", "verifier"),
    "selfstudy.generation.hooks": ("Hooks", "hook"),
    "selfstudy.selection.pairers": ("Pairers", "pairer"),
    "selfstudy.learning.losses": ("Losses", "loss"),
    "selfstudy.selection.selectors": ("Selectors", "selector"),
}

INTRODUCTION = """\
# Configuration

<!-- Written by docs/make_configuration.py from the settings classes; edit their docstrings, then run it. -->

`selfstudy run NAME [SETTING=VALUE …]`, where `NAME` is a packaged config or the path of a YAML file.

- **`extends: NAME`** starts from another config; a path in it is relative to the file that says so. Mappings are merged
  key by key, so that one change never resets its siblings; anything else is replaced.
- **Overrides** such as `preference.learning_rate=1e-6` or `"problems.train={name: gsm8k, split: train}"` are merged in
  the same way, before validation. The value is YAML; no value is `null`.
- **Plug-ins** are written as their name (`verifier: exact`), as a mapping with settings (`verifier: {name: numeric,
  tolerance: 0.01}`), or as the path of a `.py` file with exactly one public class (`verifier: ./even.py`, or with
  settings `{name: ./even.py, strict: true}`). Another name replaces the mapping, since the old plug-in's settings mean
  nothing to the new one.
- **YAML** is read as people expect: `3e-7` is a number, `on` and `off` are text, a key that stands twice is an error.
  `${VAR}` is taken from the environment, else from `.env` in the working directory. Paths are relative to the working
  directory.
- An unknown setting, a value out of range and a plug-in that does not exist are errors that name the place and the
  nearest known word. The resolved config is saved with the run (`runs/NAME/config.yaml`).
- Every setting counts in the fingerprints of the stages it reaches, so a change makes exactly those artifacts anew.
  `root` and other paths, `checkpoint_every`, `verifier_timeout`, `compute.devices`, `price_per_hour` and `track` change
  no result and count nowhere.

Environment: `SELFSTUDY_DATA` is the folder of the benchmark data sets (also read from `.env`). Models and data sets
that are not on the machine come from the Hugging Face Hub, whose own variables (`HF_HOME`, `HF_TOKEN`,
`HF_HUB_OFFLINE`) apply.
"""


def render() -> str:
    """Return the whole page."""
    sections = list(_sections(Config, ""))
    used = _uses(sections)
    parts = [INTRODUCTION, _configs(), "## The run\n", _table(Config)]
    for path, settings in sections[1:]:
        parts += [f"{'##' if '.' not in path else '###'} `{path}`\n", f"{_summary(settings)}\n", _table(settings)]
    parts.append("# Plug-ins\n")
    nested: dict[type[Settings], str] = {}
    for family, (heading, _) in FAMILIES.items():
        parts += [f"## {heading}\n", _family(family, used[family])]
        for name in available(family):
            plugin = _plugin(family, name)
            parts += [f"### `{name}`\n", f"{_summary(plugin)}\n", _table(plugin)]
            nested |= {inner: inner.__name__ for inner in _nested(plugin)}
    if nested:
        parts.append("## Settings inside plug-ins\n")
    for inner, name in nested.items():
        parts += [f"### `{name}`\n", f"{_summary(inner)}\n", _table(inner)]
    return "\n".join(parts)


def _sections(settings: type[Settings], path: str) -> Iterator[tuple[str, type[Settings]]]:
    yield path, settings
    for name, field in settings.model_fields.items():
        for inner in _settings_in(field.annotation):
            yield from _sections(inner, f"{path}.{name}" if path else name)


def _settings_in(annotation: Any) -> Iterator[type[Settings]]:
    """Yield the settings classes, plug-ins apart, that an annotation names."""
    if inspect.isclass(annotation) and issubclass(annotation, Settings) and annotation is not PluginSpec:
        yield annotation
    for argument in get_args(annotation):
        yield from _settings_in(argument)


def _nested(plugin: type[Settings]) -> Iterator[type[Settings]]:
    for field in plugin.model_fields.values():
        yield from _settings_in(field.annotation)


def _uses(sections: Sequence[tuple[str, type[Settings]]]) -> dict[str, list[str]]:
    """Return the settings that name a plug-in of each family."""
    used: dict[str, list[str]] = {family: [] for family in FAMILIES}
    for path, settings in sections:
        for name, field in settings.model_fields.items():
            if "PluginSpec" in repr(field.annotation):
                used[_family_of(settings, field)].append(f"{path}.{name}" if path else name)
    return used


def _family_of(settings: type[Settings], field: FieldInfo) -> str:
    """Return the family of a plug-in setting: its validator is bound to it, or it stands beside the validator."""
    for argument in (*field.metadata, *_metadata_in(field.annotation)):
        validate = getattr(argument, "func", None)
        if isinstance(validate, partial) and validate.func is parse_spec:
            return str(validate.args[0])
        if isinstance(argument, str) and argument in FAMILIES:
            return argument
    raise LookupError(f"{settings.__name__}: a plug-in setting whose family cannot be told")


def _metadata_in(annotation: Any) -> Iterator[Any]:
    for argument in get_args(annotation):
        if get_origin(argument) is Annotated:
            yield from get_args(argument)[1:]


def _plugin(family: str, name: str) -> type[Settings]:
    module = importlib.import_module(f"{family}.{name}")
    plugin = getattr(module, "".join(part.capitalize() for part in name.split("_")))
    assert issubclass(plugin, Settings)
    return plugin


def _family(family: str, uses: Sequence[str]) -> str:
    module = importlib.import_module(family)
    (base,) = [c for _, c in inspect.getmembers(module, inspect.isabstract) if c.__module__ == family]
    methods = sorted(name for name in base.__abstractmethods__)
    return (
        f"{_plain(_paragraph(module.__doc__))}\n\nNamed by {_listed([f'`{use}`' for use in uses])}. One of your own "
        f"derives from `{family}.{base.__name__}` and has {_listed([f'`{method}`' for method in methods])}.\n"
    )


def _configs() -> str:
    lines = ["## Packaged configs and models\n", "| config | |", "|---|---|"]
    for name in packaged_configs():
        text = (resources.files("selfstudy") / "configs" / f"{name}.yaml").read_text(encoding="utf-8")
        comments = [line[1:] for line in text.split("\n") if line.startswith("#")]
        prose = takewhile(lambda line: not line.startswith("   "), comments)  # commands are set in
        comment = " ".join(line.strip() for line in prose)
        lines.append(f"| `{name}` | {_cell(re.split(r'(?<=[.:]) (?=[A-Z])', comment)[0].removesuffix(':'))} |")
    models, shapes = (_listed([f"`{name}`" for name in names]) for names in (packaged_models(), PRESETS))
    lines.append(
        f"\n`model` is one of the base models that come along, {models}; a folder; a Hub id (`org/name`, "
        f"`org/name@revision`); or one of the presets {shapes}, which are shapes with fresh weights.\n"
    )
    return "\n".join(lines)


def _table(settings: type[Settings]) -> str:
    """Return one row a setting.

    Raises:
        ValueError: A setting is not described in the class's docstring.
    """
    described = _descriptions(settings)
    lines = ["| setting | type | default | |", "|---|---|---|---|"]
    for name, field in settings.model_fields.items():
        inner = next(_settings_in(field.annotation), None)
        text = described.get(name) or (_summary(inner) if inner else "")
        if not text and "PluginSpec" in repr(field.annotation):
            text = f"Which {FAMILIES[_family_of(settings, field)][1]}."
        if not text:
            raise ValueError(f"{settings.__name__}.{name} is not described under Attributes of its class")
        kind = _type(settings, field, field.annotation, field.metadata)
        if field.default == "auto" and "`auto`" not in kind:  # a validator puts a value in its place
            kind += ", or `auto`"
        lines.append(f"| `{name}` | {_cell(kind)} | {_cell(_default(field))} | {_cell(_plain(text))} |")
    return "\n".join(lines) + "\n" if settings.model_fields else "No settings.\n"


def _descriptions(settings: type[Settings]) -> dict[str, str]:
    """Return what the Attributes sections of a class and its bases say of each attribute."""
    found: dict[str, str] = {}
    for base in reversed(settings.__mro__):
        if not issubclass(base, Settings):
            continue
        _, _, section = inspect.cleandoc(vars(base).get("__doc__") or "").partition("\nAttributes:\n")
        name = ""
        for line in section.split("\n"):
            if line and not line.startswith(" "):
                break
            match = re.match(r" {4}(\w+): (.*)", line)
            if match:
                name, found[match[1]] = match[1], match[2]
            elif line.strip():
                found[name] += f" {line.strip()}"
    return found


def _type(settings: type[Settings], field: FieldInfo, annotation: Any, metadata: Sequence[Any]) -> str:
    """Write a type in words, its bounds behind it."""
    write = partial(_type, settings, field)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner, *more = arguments
        return write(
            inner, [part for item in more for part in (item.metadata if hasattr(item, "metadata") else [item])]
        )
    if origin in (Union, UnionType):
        # The bounds of a union are those of its numbers.
        return _listed([write(part, metadata if part in (int, float) else ()) for part in arguments], "or")
    if origin is Literal:
        text = _listed([f"`{argument}`" for argument in arguments], "or")
    elif origin is tuple and arguments[-1] is not Ellipsis:
        text = f"list of {len(arguments)}: {write(arguments[0], ())}"
    elif origin is tuple:
        text = f"list of: {write(arguments[0], ())}"
    elif origin is dict:
        text = f"names, each with: {write(arguments[1], ())}"
    elif annotation is PluginSpec:
        heading, word = FAMILIES[_family_of(settings, field)]
        text = f"[{word}](#{_anchor(heading)})"
    elif inspect.isclass(annotation) and issubclass(annotation, Settings):
        text = _link(annotation)
    else:
        text = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`", NoneType: "`null`"}[
            annotation
        ]
    bounds = [bound for item in metadata for bound in _bounds(item)]
    return f"{text} {' and '.join(bounds)}" if bounds else text


def _bounds(item: Any) -> Iterator[str]:
    for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
        if getattr(item, name, None) is not None:
            yield f"{sign} {getattr(item, name)}"
    if getattr(item, "pattern", None):
        yield f"matching `{item.pattern}`"


def _link(settings: type[Settings]) -> str:
    places = {inner: path for path, inner in _sections(Config, "") if path}
    name = places.get(settings, settings.__name__)
    return f"[`{name}`](#{_anchor(name)})"


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    return _value(field.get_default(call_default_factory=True, validated_data={}))


def _value(value: Any) -> str:
    match value:
        case PluginSpec():
            return f"`{value.name}`"
        case Settings():
            return "its defaults"
        case None | True | False:
            return f"`{str(value).lower().replace('none', 'null')}`"
        case float():
            return f"`{value:g}`"
        case str():
            return f"`{value}`" if value else '`""`'
        case tuple() | list():
            return f"`[{', '.join(f'{item:g}' for item in value)}]`"
        case Mapping() if not value:
            return "none"
        case _:
            return f"`{value}`"


def _summary(settings: type[Settings]) -> str:
    return _plain(_paragraph(settings.__doc__))


def _paragraph(text: str | None) -> str:
    return " ".join(inspect.cleandoc(text or "").split("\n\n")[0].split())


def _plain(text: str) -> str:
    """Turn a docstring's markup into Markdown."""
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text)
    return re.sub(r"\bNone\b", "`null`", re.sub(r"``(.+?)``", r"`\1`", text))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _listed(words: Sequence[str], last: str = "and") -> str:
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else words[0]


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
