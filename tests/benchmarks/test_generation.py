"""The contenders of the generation benchmark do the same work, and its sections run."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import generation_sections
import pytest
import torch
from contenders import ct2
from contenders.ct2 import CTranslate2
from contenders.hugging_face import Continuous, Generate
from contenders.machine import peak_memory
from contenders.measure import Measurement, differing, table
from contenders.models import check, load, random_model
from contenders.ours import Ours
from contenders.parallel import Parallel
from contenders.task import Drawn, Task, Unavailable, up_to_stop
from contenders.text_calculator import TextCalculator
from contenders.work import operations, step_bytes
from torch.utils.flop_counter import FlopCounterMode

import generation
from selfstudy.errors import ModelError
from selfstudy.generation.probe import probe
from selfstudy.judging.expressions import calculate
from tests.benchmarks.conftest import PROBLEMS

PLAIN = [Ours(False), Generate(False), Continuous(), CTranslate2("float32"), CTranslate2("float32", together=False)]
CALCULATING = [
    Ours(True),
    Generate(True),
    CTranslate2("float32", True),
    CTranslate2("float32", True, together=False, parts=4),
]
ANNOTATION = re.compile(r"(?:<<|\[ )([^=<>\[\]]+?) ?= ?([^=<>\[\]]*?)(?:>>| \])")


@pytest.fixture(scope="session")
def task(trained, tmp_path_factory) -> Task:
    model, form = load(trained)
    converted = tmp_path_factory.mktemp("converted")
    return Task(model, form, trained, converted, tuple(PROBLEMS[::16]), 3, 0.7, 64, 4, 1)


@pytest.fixture
def toy_data(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "gsm8k"
    folder.mkdir()
    rows = [{"question": p.question, "answer": f"{p.solution}\n#### {p.answer}"} for p in PROBLEMS]
    for split in ("train", "dev"):
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    monkeypatch.setenv("SELFSTUDY_DATA", str(tmp_path))
    return tmp_path


def draw(contender, task, seed=1) -> Drawn:
    try:
        return contender.draw(task, seed)
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("contender", PLAIN + CALCULATING, ids=lambda one: f"{one.name}-{getattr(one, 'together', '')}")
def test_all_samples_of_all_prompts_come_back_in_order(contender, task):
    drawn = draw(contender, task)
    assert len(drawn.completions) == len(task.problems) * task.samples
    assert all(0 < len(completion) <= task.max_new_tokens for completion in drawn.completions)
    for completion in drawn.completions:
        assert list(completion).count(task.stop) == (1 if completion[-1] == task.stop else 0)
        assert completion[-1] == task.stop or len(completion) == task.max_new_tokens
    assert len(set(map(tuple, drawn.completions))) > len(task.problems)  # samples of a prompt differ
    assert drawn.seconds > 0


def test_processes_share_the_problems_and_draw_the_same(task):
    several = replace(task, problems=task.problems[:3], temperature=0.0, samples=2, threads=2)
    alone, together = (one.draw(several, 1) for one in (Ours(True), Parallel(Ours(True), 2)))
    assert together.completions == alone.completions
    assert together.forced == alone.forced


@pytest.mark.parametrize("contender", CALCULATING, ids=lambda one: one.name)
def test_calculators_write_what_expressions_are_worth(contender, task):
    found = right = 0
    for completion in draw(contender, task).completions:
        for expression, result in ANNOTATION.findall(task.format.decode(completion)):
            if calculate(expression) is not None:
                found += 1
                right += calculate(expression) == result
    assert found > 10
    # Others than the engine leave an annotation alone whose `=` shares a token with what follows.
    assert right == found if isinstance(contender, Ours) else right >= 0.95 * found


@pytest.mark.parametrize("contenders", [PLAIN, CALCULATING], ids=["plain", "calculating"])
def test_greedy_completions_are_the_same(contenders, task):
    greedy = replace(task, samples=1, temperature=0.0, problems=tuple(PROBLEMS[::12]))
    wanted = [list(completion) for completion in contenders[0].draw(greedy, 0).completions]
    for contender in contenders[1:]:
        try:
            drawn = contender.draw(greedy, 0).completions
        except Unavailable:
            continue
        assert sum(list(a) == b for a, b in zip(drawn, wanted, strict=True)) >= 0.9 * len(wanted), contender


def test_ctranslate2_draws_from_the_whole_vocabulary(task):
    one = replace(task, problems=task.problems[:1], samples=4000, rows=4000, temperature=1.0, max_new_tokens=1)
    model, prompt = task.model, torch.tensor([task.prompts[0]])
    if task.format.family == "causal":
        logits = model(prompt).logits[0, -1]
    else:
        start = torch.tensor([[model.config.decoder_start_token_id]])
        logits = model(input_ids=prompt, decoder_input_ids=start).logits[0, -1]
    wanted = logits.softmax(-1)
    firsts = torch.tensor([completion[0] for completion in draw(CTranslate2("float32"), one).completions])
    found = torch.bincount(firsts, minlength=len(wanted)) / len(firsts)
    noise = (wanted * (1 - wanted) / len(firsts)).sqrt().sum()
    assert (found - wanted).abs().sum() < 1.3 * noise  # 0.8 is expected


@pytest.mark.parametrize("contender", PLAIN, ids=lambda one: f"{one.name}-{getattr(one, 'together', '')}")
def test_endless_tasks_have_equal_lengths(contender, task):
    drawn = draw(contender, replace(task, endless=True, max_new_tokens=70))
    assert {len(completion) for completion in drawn.completions} == {70}


def test_a_calculator_finds_open_annotations_only(task):
    notation = task.format.notation
    calculator = TextCalculator(task.format.tokenizer, notation)
    equals = notation.equals.rstrip()
    waiting = f"so {notation.opening}2*3{equals}"
    # What follows reads as the notation has it, in the tokens that the tokenizer uses there.
    whole = task.format.tokenizer(notation.annotate("2*3", "6"), add_special_tokens=False)["input_ids"]
    assert whole[-len(calculator.answer(waiting)) :] == list(calculator.answer(waiting))
    closed = notation.annotate("1+1", "2")
    for text in ["", "2*3 =", f"{closed} =", f"{waiting}6", f"so {notation.opening}2*{equals}", f"{waiting}6{equals}"]:
        assert calculator.answer(text) == (), text
    assert calculator.answer(closed + waiting) == calculator.answer(waiting)
    solutions = [task.format.gold(problem).token_ids for problem in task.problems]
    stops = calculator.stop_tokens(solutions)
    assert stops
    assert all("=" in task.format.tokenizer.decode([token]) for token in stops)
    assert calculator.stop_tokens([]) == []


def test_operations_are_those_of_the_linear_layers(task):
    model = task.model
    drawn = Drawn([[5] * 7, [5] * 11], 1.0, forced=3)
    prompts, completions = sum(map(len, task.prompts)), 18
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        if task.format.family == "causal":
            hidden = model.model(torch.ones(1, prompts + completions, dtype=torch.long)).last_hidden_state
        else:
            encoded = model.encoder(torch.ones(1, prompts, dtype=torch.long)).last_hidden_state
            ids = torch.ones(1, completions, dtype=torch.long)
            hidden = model.decoder(ids, encoder_hidden_states=encoded).last_hidden_state
        model.lm_head(hidden[:, : completions - drawn.forced])
    counted = {str(op): count for op, count in counter.get_flop_counts()["Global"].items()}
    assert operations(task, drawn) == counted["aten.mm"]


def test_step_bytes_grow_by_what_a_cache_holds(task):
    facts = probe(task.model)
    rows = len(task.problems) * task.samples

    def own(length: int) -> float:
        return step_bytes(replace(task, max_new_tokens=length))

    # The second difference over lengths is what all rows' caches grow by in a step.
    assert own(12) - 2 * own(11) + own(10) == rows * facts.token_bytes


def test_differing_lengths_are_marked(task):
    def one(contender, length):
        return Measurement(contender, task, (Drawn([[5] * length] * 2, 1.0),))

    found = [one(Ours(True), 100), one(Ours(False), 50), one(Generate(True), 104), one(Generate(False), 53)]
    assert differing(found) == [found[3]]
    lines = table(found).splitlines()
    assert ["✗" in line for line in lines] == [False] * 5 + [True]
    assert "53.0" in lines[-1]


def test_a_contender_that_cannot_take_part_says_why(task):
    failed = Measurement(Continuous(), task, (), "causal models only")
    assert "causal models only" in table([failed])
    assert differing([failed]) == []


def test_models_that_do_not_end_are_refused(task):
    check(replace(task, samples=4), least=0.2)
    with pytest.raises(ModelError, match="train longer"):
        check(replace(task, max_new_tokens=2), least=0.2)


def test_random_models_have_the_whole_shape(toy_data):
    model, form = random_model("t5-tiny", "cpu", torch.bfloat16)
    assert model.dtype == torch.bfloat16
    assert model.config.vocab_size == 1024
    assert form.family == "seq2seq"


def test_up_to_stop():
    assert up_to_stop([3, 1, 0, 1], 1) == [3, 1]
    assert up_to_stop([3, 4], 1) == [3, 4]


def test_peak_memory_is_that_of_this_process():
    before = peak_memory()
    torch.ones(before + 2**26, dtype=torch.uint8)
    assert peak_memory() >= before + 2**26


def test_every_section_prints_its_tables(trained, toy_data, monkeypatch, capsys):
    monkeypatch.setattr(generation_sections, "trained", lambda family, cache: trained)
    monkeypatch.setattr(ct2, "_environments", lambda: [{}])
    family = "causal" if load(trained)[1].family == "causal" else "t5"
    options = f"--families {family} --large llama-tiny --shapes {'t5' if family == 't5' else 'llama'}-tiny --threads 1"
    small = "--prompts 2 --samples 2 --repeats 1 --max-new-tokens 24 --batch 4 --least 0"
    names = "engines,calculator,scale,large,machine,bandwidth" if family == "causal" else "engines,calculator,bandwidth"
    cache = str(toy_data / "cache")
    generation.main([*options.split(), *small.split(), "--sections", names, "--cache", cache])
    printed = capsys.readouterr().out
    titles = [": 1 threads", "calculator on and off", "Share of the memory's rate"]
    if family == "causal":
        titles += ["Ten times", "llama-tiny, random weights", "matrix-product rate", "where the time goes"]
    assert all(title in printed for title in titles)
    targets = printed.split("### Targets")[1].split("###")[0]
    assert targets.count("\n| ") == 2 + 4 + 5 + 2 * ("scale" in names)
    if find_spec("ctranslate2"):
        assert "not measured" not in targets


@pytest.mark.parametrize("arguments", ["--sections tables", "--families gpt", "--shapes huge"])
def test_unknown_names_are_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        generation.main(arguments.split())
    assert f"there is no {arguments.split()[1]}; there are" in capsys.readouterr().err
