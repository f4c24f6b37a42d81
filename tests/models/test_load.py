"""Models on disk: what is saved is what is loaded, in the same bytes each time, and what cannot be loaded says why."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, GenerationConfig

from selfstudy.errors import ModelError
from selfstudy.models.format import read_format
from selfstudy.models.load import (
    family,
    fill_id,
    fuse_activations,
    is_tied,
    load_config,
    load_model,
    load_tokenizer,
    save_model,
)
from selfstudy.models.presets import create
from selfstudy.models.tokenizers import train_tokenizer
from tests.fakes import BRACKET_CORPUS, CORPUS, llama_tokenizer, tiny_llama, tiny_t5

TOKENIZERS = {
    "causal": train_tokenizer(CORPUS, "causal", 300),
    "seq2seq": train_tokenizer(BRACKET_CORPUS, "seq2seq", 200),
}
PRESET = {"causal": "llama-tiny", "seq2seq": "t5-tiny"}
FACTS = {"stage": "sft", "base model": "llama-tiny", "steps": 12}
both = pytest.mark.parametrize("kind", ["causal", "seq2seq"])


def logits(model):
    prompt = torch.tensor([[5, 6, 7, 8, 1]])
    extra = {"decoder_input_ids": torch.tensor([[0, 9, 10]])} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        return model(input_ids=prompt, **extra).logits


def digests(folder: Path):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module", params=["causal", "seq2seq"])
def saved(request, tmp_path_factory):
    """A saved model of each family: (model, tokenizer, folder)."""
    tokenizer = TOKENIZERS[request.param]
    model = create(PRESET[request.param], tokenizer, seed=3)
    folder = tmp_path_factory.mktemp(request.param)
    save_model(model, tokenizer, folder, FACTS)
    return model, tokenizer, folder


def test_loaded_model_computes_the_same(saved):
    model, tokenizer, folder = saved
    loaded = load_model(folder)
    assert not loaded.training
    assert type(loaded) is type(model)
    expected = deepcopy(model)
    fuse_activations(expected)
    assert torch.equal(logits(loaded), logits(expected))
    assert is_tied(loaded) == is_tied(model)
    text = "Tom has 12 apples"
    assert load_tokenizer(folder)(text)["input_ids"] == tokenizer(text)["input_ids"]


def test_loads_with_plain_transformers(saved):
    model, _, folder = saved
    auto = AutoModelForSeq2SeqLM if family(model) == "seq2seq" else AutoModelForCausalLM
    assert torch.equal(logits(auto.from_pretrained(folder).eval()), logits(model))


def test_whoever_may_read_the_config_may_read_the_weights(saved):
    """A folder that is packed or shared is of no use without them."""
    folder = saved[2]
    modes = {path.name: path.stat().st_mode for path in folder.iterdir()}
    assert modes["model.safetensors"] == modes["config.json"]


def test_same_weights_same_bytes(saved, tmp_path):
    model, tokenizer, folder = saved
    save_model(model, tokenizer, tmp_path / "a", FACTS)
    assert digests(tmp_path / "a") == digests(folder)
    # A stage that loads and saves changes nothing either.
    save_model(load_model(folder), load_tokenizer(folder), tmp_path / "b", FACTS)
    assert digests(tmp_path / "b") == digests(folder)


def test_same_bytes_in_another_process(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from selfstudy.models.load import save_model\n"
        "from selfstudy.models.presets import create\n"
        "from tests.models.test_load import FACTS, TOKENIZERS\n"
        "tokenizer = TOKENIZERS['seq2seq']\n"
        "save_model(create('t5-tiny', tokenizer, seed=3), tokenizer, Path(sys.argv[1]), FACTS)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "there")], check=True)
    save_model(create("t5-tiny", TOKENIZERS["seq2seq"], seed=3), TOKENIZERS["seq2seq"], tmp_path / "here", FACTS)
    assert digests(tmp_path / "there") == digests(tmp_path / "here")


def test_what_is_written(saved):
    model, _, folder = saved
    assert set(digests(folder)) == {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    for name in ("config.json", "generation_config.json", "tokenizer_config.json", "README.md"):
        text = (folder / name).read_text(encoding="utf-8")
        assert "version" not in text
        assert str(folder) not in text
    config = json.loads((folder / "config.json").read_text())
    assert config["tie_word_embeddings"] == is_tied(model)
    assert json.loads((folder / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"
    generation = {"eos_token_id": 1, "pad_token_id": 0}
    generation |= {"decoder_start_token_id": 0} if family(model) == "seq2seq" else {}
    assert json.loads((folder / "generation_config.json").read_text()) == generation
    card = (folder / "README.md").read_text()
    assert "| base model | llama-tiny |" in card
    assert f"{sum(p.numel() for p in model.parameters()):,}" in card


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dtype(saved, dtype):
    model = load_model(saved[2], dtype=dtype)
    assert {p.dtype for p in model.parameters()} == {getattr(torch, dtype)}


def test_sampling_defaults_are_dropped(tmp_path):
    model = tiny_llama(300)
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=0.6, top_p=0.9, top_k=20, eos_token_id=[1, 2]
    )
    model.save_pretrained(tmp_path)
    loaded = load_model(tmp_path).generation_config
    assert (loaded.do_sample, loaded.temperature, loaded.top_p, loaded.top_k) == (None, None, None, None)
    assert loaded.eos_token_id == [1, 2]


def test_flan_t5_as_published_keeps_its_output_layer(tmp_path):
    """The files on the Hub say ``tie_word_embeddings: false`` and hold both matrices."""
    model = tiny_t5(300, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    model.lm_head.weight = torch.nn.Parameter(torch.randn(300, 32))
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["scale_decoder_outputs"]
    (tmp_path / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    loaded = load_model(tmp_path)
    fuse_activations(model)
    assert torch.equal(logits(loaded), logits(model.eval()))
    loaded.tie_weights()  # as FSDP's preparation does
    assert torch.equal(logits(loaded), logits(model))


def test_gelu_with_tanh_is_one_operation_with_the_published_values(tmp_path):
    """As the library spells it out (Hendrycks and Gimpel 2016, arXiv 1606.08415, section 2), up to rounding."""
    tiny_t5(300, feed_forward_proj="gated-gelu").save_pretrained(tmp_path)
    activations = [block.layer[-1].DenseReluDense.act for block in load_model(tmp_path).encoder.block]
    assert all(type(activation) is torch.nn.GELU for activation in activations)
    x = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    published = 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))
    torch.testing.assert_close(activations[0](x), published, rtol=1e-12, atol=1e-12)
    assert load_model(tmp_path).config.dense_act_fn == "gelu_new"  # what is saved stays what it was


def test_tied_weights_are_written_once(tmp_path):
    save_model(tiny_t5(200), TOKENIZERS["seq2seq"], tmp_path, {})
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    assert is_tied(load_model(tmp_path))


def test_family_is_what_the_config_says():
    assert family(tiny_llama(10)) == "causal"
    assert family(tiny_t5(10).config) == "seq2seq"


def test_fill_is_pad_or_unk_or_eos():
    assert fill_id(TOKENIZERS["causal"]) == 0
    tokenizer = llama_tokenizer()
    assert fill_id(tokenizer) == tokenizer.unk_token_id
    tokenizer.unk_token = None
    assert fill_id(tokenizer) == tokenizer.eos_token_id


def test_float16_is_refused_for_t5(tmp_path):
    tiny_t5(50).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"t5 overflows to NaN in float16.*23918.*bfloat16"):
        load_model(tmp_path, dtype="float16")
    with pytest.raises(ModelError, match="dtype 'int8' is not one of float32, bfloat16, float16"):
        load_model(tmp_path, dtype="int8")


@pytest.fixture
def folder(tmp_path):
    tiny_llama(50).save_pretrained(tmp_path)
    return tmp_path


def test_not_a_model_folder(tmp_path):
    with pytest.raises(ModelError, match=r"not a model folder, config\.json is missing \(found: no such folder"):
        load_config(tmp_path / "none")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="it holds a LoRA adapter: merge it"):
        load_config(tmp_path)


@pytest.mark.parametrize("text", ["{", '{"model_type": "nonsense"}'])
def test_unusable_config(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelError, match=r"config.json cannot be used"):
        load_config(tmp_path)


def test_code_in_a_model_folder_is_not_run(folder):
    trap = "raise SystemExit('ran')"
    (folder / "trap.py").write_text(trap)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "trap", "auto_map": {"AutoConfig": "trap.Config", "AutoModelForCausalLM": "trap.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="bring their own code are refused"):
        load_model(folder)


def test_a_sentencepiece_model_goes_with_the_tokenizer(saved, tmp_path, monkeypatch):
    """transformers keeps tokenizer.json alone; llama.cpp's converter reads the other one."""
    model, tokenizer, folder = saved
    base = shutil.copytree(folder, tmp_path / "base")
    (base / "spiece.model").write_bytes(b"as SentencePiece wrote it")
    for copy in (tmp_path / "sft", tmp_path / "dpo"):
        save_model(model, load_tokenizer(base), copy, {})
        assert (copy / "spiece.model").read_bytes() == b"as SentencePiece wrote it"
        base = copy
    monkeypatch.chdir(base)  # where one of somebody else's may lie
    save_model(model, tokenizer, tmp_path / "without", {})
    assert not (tmp_path / "without" / "spiece.model").exists()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        *(("config.json", text) for text in ("null", "3", '{"model_type": ["a"]}')),
        *(("tokenizer.json", text) for text in ("[]", "null")),
        *(
            ("tokenizer_config.json", text)
            for text in ("[]", "null", '"x"', '{"tokenizer_class": 5}', '{"eos_token": 5}')
        ),
        *(
            ("generation_config.json", text)
            for text in ("[]", "3", "{", '{"eos_token_id": []}', '{"eos_token_id": "x"}')
        ),
    ],
)
def test_json_of_another_kind_is_named(saved, tmp_path, file, text):
    folder = tmp_path / "copy"
    shutil.copytree(saved[2], folder)
    (folder / file).write_text(text)
    with pytest.raises(ModelError, match=r"cannot be (used|loaded|read)|eos_token_id is"):
        load_tokenizer(folder)
        load_model(folder)


@pytest.mark.parametrize("change", [{"dtype": "float99"}, {"num_key_value_heads": 0}])
def test_a_config_that_the_library_stumbles_over_is_named(folder, change):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ModelError, match=r"cannot be (used|loaded)"):
        load_model(folder)


def test_quantised_weights_are_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(config | {"quantization_config": {"quant_method": "gptq", "bits": 4}})
    )
    with pytest.raises(ModelError, match="quantised, and cannot be trained; take the model in bfloat16 or float32"):
        load_model(folder)


@pytest.mark.parametrize("layers", [1, 0])
def test_layers_that_the_config_does_not_know_of_are_told(folder, layers):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": layers}))
    with pytest.raises(ModelError, match=r"fewer layers than there are weights for, such as model\.layers\.\d\."):
        load_model(folder)


def test_weights_that_nobody_asked_for_are_left_alone(folder):
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "vision.layers.7.weight": torch.ones(3)}, folder / "model.safetensors", {"format": "pt"})
    load_model(folder)


def test_memory_that_a_device_lacks_is_told(folder, monkeypatch):
    def starve(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.nn.Module, "to", starve)
    with pytest.raises(ModelError, match=r"memory of cpu is too small for its .* weights in float32"):
        load_model(folder)


@pytest.mark.parametrize("damage", [{"num_attention_heads": 3}, {"hidden_size": "abc"}])
def test_a_config_that_makes_no_sense_is_named(folder, damage):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | damage))
    with pytest.raises(ModelError, match=r"config\.json cannot be used"):
        load_config(folder)


def test_a_damaged_form_is_named(folder):
    (folder / "selfstudy.json").write_text('{"notation": "ang')
    with pytest.raises(ModelError, match=r"selfstudy\.json: cannot be read .*; mend it, or remove it"):
        read_format(folder)


def test_a_sentencepiece_model_alone_says_what_reads_it(folder):
    (folder / "spiece.model").write_bytes(b"")
    with pytest.raises(ModelError, match="pip install sentencepiece protobuf"):
        load_tokenizer(folder)


def test_pickles_are_refused(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model.bin, a pickle.*convert"):
        load_model(folder)


def test_missing_weight_files(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no weights: model\.safetensors is missing"):
        load_model(folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-2.safetensors"}}')
    with pytest.raises(ModelError, match=r"weight files are missing: model-2.safetensors"):
        load_model(folder)


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "../other/model.safetensors", "/tmp/model.safetensors", ".x", "", 3]
)
def test_an_index_that_leads_to_a_pickle_or_elsewhere_is_refused(folder, name):
    (folder / "pytorch_model.bin").write_bytes(b"no pickle is ever opened")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(
        ModelError, match=r"index\.json names .*, which is no safetensors file beside it|cannot be read"
    ):
        load_model(folder)


@pytest.mark.parametrize("text", ["", "[]", '{"weight_map": 3}', "{}", "\0"])
def test_a_damaged_index_is_named(folder, text):
    (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ModelError, match=r"model\.safetensors\.index\.json cannot be read"):
        load_model(folder)


def test_damaged_weights(folder):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-100])
    with pytest.raises(ModelError, match="the model cannot be loaded"):
        load_model(folder)


@pytest.mark.parametrize("change", ["absent", "shape"])
def test_missing_weights_are_not_made_up(folder, change):
    weights = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    removed = weights.pop(name)
    if change == "shape":
        weights[name] = removed[:-1].clone()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"missing or do not fit config.json: .*model.layers.1.mlp.up_proj.weight"):
        load_model(folder)


def test_no_tokenizer(folder):
    with pytest.raises(ModelError, match="the tokenizer cannot be loaded"):
        load_tokenizer(folder)


def test_numbers_on_a_card_are_rounded_and_their_thousands_apart(tmp_path: Path) -> None:
    tokenizer = llama_tokenizer()
    facts = {"loss": 0.5338317260000001, "tokens": 18466725, "tied": True, "from": "a|b"}
    save_model(tiny_llama(len(tokenizer)), tokenizer, tmp_path, facts)
    card = (tmp_path / "README.md").read_text("utf-8")
    assert "| loss | 0.5338 |\n| tokens | 18,466,725 |\n| tied | True |\n| from | a&#124;b |\n" in card
