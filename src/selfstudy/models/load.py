"""Load and save models and tokenizers as plain ``transformers`` folders.

Only safetensors is read, code from a model folder is never run, and the family is what the config says. What is saved
has the same bytes for the same weights: no dates, no versions, no names of places.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.activations import NewGELUActivation
from transformers.utils import logging as transformers_logging

from selfstudy.errors import ModelError, listed
from selfstudy.models.compute import DTYPES, out_of_memory
from selfstudy.models.tokenizers import Family
from selfstudy.storage.atomic import as_os_error

# What the library raises, too, where JSON is of another kind than it expects: a list in the place of a mapping.
_WRONG_KIND = (TypeError, AttributeError, ZeroDivisionError)
# One architecture under several names; its feed-forward sums leave float16's range.
_OVERFLOWS_FLOAT16 = frozenset({"t5", "mt5", "umt5", "longt5"})
# What a model is beside its weights, as far as this package reads it: no model card, no history.
_FORM = ("config.json", "generation_config.json", "*token*", "*.model", "*.spm", "vocab*", "merges.txt", "*.jinja")
# The vocabulary as SentencePiece wrote it: tokenizer.json has all of it, yet some readers (llama.cpp's) want this one.
_SENTENCEPIECE = ("spiece.model", "tokenizer.model")
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_SHARD = re.compile(r"[\w-][\w.-]*\.safetensors", re.ASCII)
# What a config records of where it was read and by what it was written; none of it belongs to the model.
_PROVENANCE = frozenset(
    {"_name_or_path", "name_or_path", "transformers_version", "_commit_hash", "_from_model_config"}
    | {"is_local", "local_files_only"}
)


def family(model: PreTrainedModel | PreTrainedConfig) -> Family:
    """Return ``seq2seq`` for encoder–decoder models, else ``causal``: read from the config, never from a name."""
    config = model if isinstance(model, PreTrainedConfig) else model.config
    return "seq2seq" if config.is_encoder_decoder else "causal"


def position_limit(model: PreTrainedModel | PreTrainedConfig) -> int | None:
    """Return how many positions a row has; None without a limit, as for T5, which counts relative distances.

    Causal models have them for prompt and completion together, encoder–decoder models for each.
    """
    config = model if isinstance(model, PreTrainedConfig) else model.config
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def load_config(path: Path) -> PreTrainedConfig:
    """Read the architecture alone, without weights.

    Raises:
        ModelError: There is no readable ``config.json``, or the architecture is not one of ``transformers``.
    """
    if not (path / "config.json").is_file():
        found = ", ".join(sorted(entry.name for entry in path.iterdir())[:10]) if path.is_dir() else "no such folder"
        hint = "; it holds a LoRA adapter: merge it into its base model first" if "adapter_config.json" in found else ""
        raise ModelError(
            f"{path}: not a model folder, config.json is missing (found: {found or 'nothing'}){hint}; "
            "name a folder that save_pretrained of transformers wrote"
        )
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    except (*_WRONG_KIND, OSError, ValueError, KeyError, StrictDataclassError) as error:
        raise ModelError(
            f"{path}: config.json cannot be used: {_first_line(error)} (architectures that bring their own code are "
            "refused; transformers must know model_type)"
        ) from error
    if getattr(config, "quantization_config", None) is not None:
        raise ModelError(
            f"{path}: its weights are quantised, and cannot be trained; take the model in bfloat16 or float32"
        )
    return config


def load_model(path: Path, *, dtype: str = "float32", device: str = "cpu") -> PreTrainedModel:
    """Load a model in evaluation mode, its sampling defaults removed.

    Args:
        path: A plain ``transformers`` folder with safetensors weights.
        dtype: ``float32``, ``bfloat16`` or ``float16`` of the weights in memory.
        device: As torch names it.

    Raises:
        ModelError: Files are missing or damaged, weights are missing or of other shapes than the config says, or the
            architecture does not survive ``dtype``.
    """
    config = load_config(path)
    _check_dtype(config, dtype, str(path))
    _check_generation_config(path)
    if missing := missing_weights(path):
        raise ModelError(f"{path}: {missing}")
    auto = AutoModelForSeq2SeqLM if family(config) == "seq2seq" else AutoModelForCausalLM
    try:
        with _quiet():
            model, info = auto.from_pretrained(
                path,
                config=config,
                dtype=DTYPES[dtype],
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                ignore_mismatched_sizes=True,  # so that they are listed below instead of raised one by one
                output_loading_info=True,
            )
    except (*_WRONG_KIND, OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(f"{path}: the model cannot be loaded: {_first_line(error)}; fetch it again") from error
    # transformers fills such weights with random numbers and warns; a model that is partly noise must not train.
    wrong = sorted(map(str, (*info["missing_keys"], *info["mismatched_keys"])))
    if wrong:
        raise ModelError(
            f"{path}: weights are missing or do not fit config.json: {listed(wrong, 5)}; fetch the model again"
        )
    # Other weights that it has no use for are its maker's business; of a layer that is missing, nobody would be told.
    beyond = sorted(key for key in map(str, info["unexpected_keys"]) if _beyond(model, key))
    if beyond:
        raise ModelError(
            f"{path}: config.json has fewer layers than there are weights for, such as {listed(beyond, 5)}; fetch the "
            "model again"
        )
    model.generation_config = plain_generation_config(model)
    keep_untied(model)
    fuse_activations(model)
    try:
        return cast(PreTrainedModel, model.eval().to(device))
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise ModelError(
            f"{path}: memory of {device} is too small for its {model.num_parameters():,} weights in {dtype}; take a "
            "smaller model, or set compute.device: cpu"
        ) from error


def _check_generation_config(path: Path) -> None:
    """Refuse a damaged one: the library would do without, and a completion end elsewhere, or never."""
    file = path / "generation_config.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        stop = found.get("eos_token_id")
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{file}: cannot be read ({error}); fetch it again, or remove it") from None
    tokens = stop if isinstance(stop, list) else [stop]
    if stop is not None and not (tokens and all(type(token) is int for token in tokens)):
        raise ModelError(f"{file}: eos_token_id is {stop!r:.80}, not a token's number or a list of them; mend it")


def _beyond(model: PreTrainedModel, key: str) -> bool:
    """Say whether a weight is of a layer behind the last that a model has."""
    for number in re.finditer(r"\.(\d+)\.", key):
        for name in (key[: number.start()], f"{model.base_model_prefix}.{key[: number.start()]}"):
            with suppress(AttributeError):
                layers = model.get_submodule(name)
                if isinstance(layers, nn.ModuleList) and int(number[1]) >= len(layers):
                    return True
    return False


def load_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """Load a fast tokenizer that decodes without tidying up spaces.

    Raises:
        ModelError: There is none, it needs its own code, or it is not a fast one.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    except (*_WRONG_KIND, OSError, ValueError, KeyError, ImportError) as error:
        alone = not (path / "tokenizer.json").is_file() and any((path / name).is_file() for name in _SENTENCEPIECE)
        remedy = "pip install sentencepiece protobuf" if alone else "tokenizer.json belongs beside the weights"
        raise ModelError(f"{path}: the tokenizer cannot be loaded: {_first_line(error)} ({remedy})") from error
    if not tokenizer.is_fast:
        raise ModelError(
            f"{path}: {type(tokenizer).__name__} is not a fast tokenizer; write it as tokenizer.json "
            "(convert_slow_tokenizer of transformers)"
        )
    tokenizer.clean_up_tokenization_spaces = False
    return cast(PreTrainedTokenizerBase, tokenizer)


def save_model(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, facts: Mapping[str, Any]
) -> None:
    """Write a folder that ``from_pretrained`` reads: config, weights, generation config, tokenizer, model card.

    Args:
        model: Any dtype; saved as it is in memory, tied weights once.
        tokenizer: Its EOS and fill tokens enter the generation config.
        folder: Made if need be.
        facts: What the model card tells, in this order: values that are the same whenever the weights are.
    """
    with _quiet(), as_os_error(folder):
        model.save_pretrained(folder)
    config = model.config.to_dict()
    config["tie_word_embeddings"] = is_tied(model)  # T5's config class says True always; other readers go by it
    _write_json(folder / "config.json", config)
    for weights in folder.glob("*.safetensors"):  # which their library lets nobody else read
        shutil.copymode(folder / "config.json", weights)
    generation = plain_generation_config(model)
    generation.eos_token_id = tokenizer.eos_token_id
    generation.pad_token_id = fill_id(tokenizer)
    _write_json(folder / "generation_config.json", generation.to_diff_dict())
    save_tokenizer(tokenizer, folder)
    (folder / "README.md").write_text(_model_card(model, facts), encoding="utf-8")


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write the tokenizer's files, under the class name that every version of ``transformers`` knows.

    A SentencePiece model beside the files that it was loaded from goes with it.
    """
    with as_os_error(folder):
        tokenizer.save_pretrained(folder)
    for name in _SENTENCEPIECE:
        source = tokenizer.name_or_path  # empty where it was trained here
        if source and (model := Path(source) / name).is_file():
            shutil.copyfile(model, folder / name)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    if settings.get("tokenizer_class") == "TokenizersBackend":
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    _write_json(path, settings)


def plain_generation_config(model: PreTrainedModel) -> GenerationConfig:
    """Return special tokens only: no temperature, ``top_k`` or length that would act unasked in ``generate``."""
    old = model.generation_config
    names = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
    values = {name: getattr(old, name, None) for name in names}
    return GenerationConfig(
        **{name: getattr(model.config, name, None) if value is None else value for name, value in values.items()}
    )


def keep_untied(model: PreTrainedModel) -> None:
    """Make sure that a later ``tie_weights()`` leaves an untied output layer alone.

    The T5 config class of transformers 5 says ``tie_word_embeddings`` whatever ``config.json`` says; only the weights
    tell, and whoever ties again, as lm-eval does, would overwrite Flan-T5's output layer with its
    embedding.
    """
    if not is_tied(model) and isinstance(model._tied_weights_keys, dict):
        model._tied_weights_keys = {
            target: source for target, source in model._tied_weights_keys.items() if target != "lm_head.weight"
        }
        model.all_tied_weights_keys.pop("lm_head.weight", None)


def fuse_activations(model: PreTrainedModel) -> None:
    """Compute GELU's form with tanh, T5's and GPT-2's, in one kernel.

    The library spells it out in eight operations, five of which keep a tensor for the backward pass. Values differ by
    rounding alone.
    """
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, nn.GELU(approximate="tanh"))


def is_tied(model: PreTrainedModel) -> bool:
    """Whether the output layer is the embedding."""
    output = model.get_output_embeddings()
    return output is not None and output.weight is model.get_input_embeddings().weight


def fill_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the token that fills rows: pad, else unk, else EOS. It is masked by length everywhere, so any will do."""
    for token_id in (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.eos_token_id):
        if token_id is not None:
            return int(token_id)
    return 0


def model_files(folder: Path) -> tuple[str, ...]:
    """Return patterns of the files in ``folder`` that are the model: no weights in other formats lying beside them.

    Raises:
        ModelError: The index of the weights is damaged.
    """
    try:
        shards = _shards(folder)
    except ValueError as error:
        raise ModelError(f"{folder}: {error}") from None
    return (*_FORM, *([_WEIGHTS] if shards is None else [_INDEX, *shards]))


def _shards(folder: Path) -> list[str] | None:
    """Return the files that the index of the weights names; None where there is no index."""
    if not (folder / _INDEX).is_file():
        return None
    try:
        shards = set(json.loads((folder / _INDEX).read_text(encoding="utf-8"))["weight_map"].values())
        odd = sorted(str(shard) for shard in shards if not _SHARD.fullmatch(shard))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{_INDEX} cannot be read ({error!r:.100}); fetch the model again") from None
    if odd:  # transformers would read a pickle there, or a file of another folder
        raise ValueError(
            f"{_INDEX} names {odd[0]!r:.100}, which is no safetensors file beside it; fetch the model again"
        )
    return sorted(shards)


def missing_weights(folder: Path) -> str | None:
    """Say which weight files ``folder`` lacks and what to do; None where it is complete."""
    try:
        shards = _shards(folder)
    except ValueError as error:
        return str(error)
    if shards is not None:
        absent = [shard for shard in shards if not (folder / shard).is_file()]
        return f"weight files are missing: {', '.join(absent)}; fetch the model again" if absent else None
    if (folder / _WEIGHTS).is_file():
        return None
    if pickles := sorted(path.name for path in (*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth"))):
        return (
            f"weights are in {pickles[0]}, a pickle, which can run code when it is read; convert them to "
            "model.safetensors (save_pretrained of transformers does)"
        )
    return f"no weights: {_WEIGHTS} is missing; fetch the model again"


def _check_dtype(config: PreTrainedConfig, dtype: str, where: str) -> None:
    if dtype not in DTYPES:
        raise ModelError(f"{where}: dtype '{dtype}' is not one of {', '.join(DTYPES)}")
    if dtype == "float16" and config.model_type in _OVERFLOWS_FLOAT16:
        raise ModelError(
            f"{where}: {config.model_type} overflows to NaN in float16 (transformers issue 23918); "
            "use dtype bfloat16 or float32"
        )


def _model_card(model: PreTrainedModel, facts: Mapping[str, Any]) -> str:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    rows = {"architecture": type(model).__name__, "parameters": f"{parameters:,}", **facts}
    table = "\n".join(f"| {name} | {_cell(value)} |" for name, value in rows.items())
    return (
        "---\nlibrary_name: transformers\ntags:\n- selfstudy\n---\n\n# A model trained with Selfstudy\n\n"
        "It reasons in steps before it answers. Where it marks its arithmetic, a calculator can write the results.\n\n"
        f"| | |\n|---|---|\n{table}\n"
    )


def _cell(value: object) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    return str(value).replace("|", "&#124;")


def _write_json(path: Path, tree: Mapping[str, Any]) -> None:
    kept = {name: value for name, value in tree.items() if name not in _PROVENANCE}
    path.write_text(json.dumps(kept, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what transformers prints while it loads: progress bars, and T5's warning that it is not tied."""
    bars = transformers_logging.is_progress_bar_enabled()
    level = transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
