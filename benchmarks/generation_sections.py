"""The sections of ``generation.py``: each measures, prints its tables and says which targets it reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import torch
from contenders.ct2 import CTranslate2
from contenders.hugging_face import Continuous, Generate
from contenders.machine import attention_seconds, copy_rate, peak_memory, product_rate, read_rate
from contenders.measure import LENGTHS, Measurement, differing, markdown, measure, report, table
from contenders.models import check, gsm8k, load, random_folder, random_model, trained
from contenders.ours import Ours
from contenders.parallel import Parallel, fastest, with_calculator
from contenders.task import Contender, Task, Unavailable
from contenders.where import ATTENTION, DRAWING, LINEAR, ROWS, noted
from contenders.work import operations, step_bytes
from transformers import PreTrainedModel

from selfstudy.models.compute import DTYPES
from selfstudy.models.format import Format
from selfstudy.models.tokenizers import Family

NAMES: Mapping[Family, str] = {"causal": "causal", "seq2seq": "T5"}
_BATCHES = (1, 8, 16, 32, 64)
_GREEDY_PROMPTS = 16
_GREEDY_SHARE = 0.9
_PER_ROW: Mapping[Family, float] = {"causal": 8, "seq2seq": 5}  # to reach, against `generate` + per-row calculator
# A hundred million parameters are slow: fewer prompts, and completions of this length.
_ENDLESS_TOKENS = 128
# Of what takes long: rates of one engine, and drawing for ten times the problems.
_FEW_REPEATS = 3
# Batches of the smaller of two runs: with fewer, its end, when few rows are left, would be most of it.
_BATCHES_ALONE = 16


@dataclass(frozen=True)
class Options:
    """What the command line says; see there. ``batch`` is 0 for the engine's own default."""

    families: tuple[Family, ...]
    prompts: int
    samples: int
    repeats: int
    max_new_tokens: int
    batch: int
    threads: int
    cache: Path
    least: float
    device: str
    dtype: str
    shapes: tuple[str, ...]
    large: str

    @property
    def rows(self) -> int:
        """Of every contender that has no choice of its own."""
        return self.batch or 64

    def ours(self, calculator: bool) -> Ours:
        """This engine, with the rows that the options ask for."""
        return Ours(calculator, own_rows=not self.batch)

    def task(self, folder: Path, dtype: str = "float32") -> Task:
        """Return the task of a trained model."""
        return self.task_of(*load(folder, dtype), folder)

    def task_of(self, model: PreTrainedModel, form: Format, folder: Path) -> Task:
        """Return the task of a model that is in memory."""
        return Task(
            model=model,
            format=form,
            folder=folder,
            converted=self.cache / "ctranslate2",
            problems=gsm8k("dev", self.prompts),
            samples=self.samples,
            temperature=0.7,
            max_new_tokens=self.max_new_tokens,
            rows=self.rows,
            threads=self.threads,
        )

    def trained(self, family: Family) -> Path:
        """Return a family's model, checked the first time."""
        folder = trained(family, self.cache)
        if folder not in _CHECKED:
            print(f"{NAMES[family]}: {check(self.task(folder), self.least)}\n", flush=True)
            _CHECKED.add(folder)
        return folder


_CHECKED: set[Path] = set()


@dataclass(frozen=True)
class Target:
    """One figure that is to be reached; None where something that it needs could not be measured."""

    what: str
    wanted: float
    reached: float | None
    at_most: bool = False

    def row(self) -> list[str]:
        """Return the cells of the last table."""
        wanted = f"{'≤' if self.at_most else '≥'} {self.wanted:g}"
        if self.reached is None:
            return [self.what, wanted, "not measured", ""]
        met = self.reached <= self.wanted if self.at_most else self.reached >= self.wanted
        return [self.what, wanted, f"{self.reached:.2f}", "✓" if met else "✗"]


@dataclass
class Outcome:
    """What a section leaves behind.

    Attributes:
        targets: In the order of the last table.
        faults: What makes its figures no comparison.
    """

    targets: list[Target] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def show(self, title: str, measurements: Sequence[Measurement]) -> None:
        """Print a table and note whose lengths differ."""
        show(title, table(measurements))
        self.faults += [
            f"{title}: {one.contender.name} ({one.precision}) draws {one.mean_length:.1f} tokens a completion"
            for one in differing(measurements)
        ]


def show(title: str, *texts: str) -> None:
    """Print a section's results."""
    print(f"### {title}", *texts, sep="\n\n", end="\n\n", flush=True)


def engines(options: Options) -> Outcome:
    """Compare all engines on trained models."""
    outcome = Outcome()
    for family in options.families:
        _engines(options, family, outcome)
    return outcome


def _engines(options: Options, family: Family, outcome: Outcome) -> None:
    name, folder = NAMES[family], options.trained(family)
    task = options.task(folder)
    ours = fastest(_ways(options, options.ours(False)), task)
    theirs = fastest([*_ways(options, Generate(False)), Generate(False, scale=2)], task)
    resumed, plain = (_fastest(CTranslate2("float32", calculator), task) for calculator in (True, False))
    continuous = fastest(_ways(options, Continuous()), task)
    half = options.task(folder, "bfloat16")
    low, small = fastest(_ways(options, options.ours(False)), half), _fastest(CTranslate2("int8"), half)
    full: list[Contender] = [with_calculator(ours), ours, with_calculator(theirs), theirs, continuous, resumed, plain]
    entries = [*((one, task) for one in full), *((one, half) for one in (low, small))]
    found = measure(entries, options.repeats)
    outcome.show(f"{name}: {options.threads} threads", found)
    with_it, without, per_row, _, _, resuming, other, halved, eighth = found
    outcome.targets += [
        Target(
            f"engine + calculator ÷ `generate` + per-row calculator, {name}",
            _PER_ROW[family],
            _speed_up(with_it, per_row),
        ),
        Target(f"engine + calculator ÷ CTranslate2 + stop and resume, {name}", 3, _speed_up(with_it, resuming)),
        Target(f"engine ÷ CTranslate2, float32, {name}", 1.5, _speed_up(without, other)),
        Target(f"engine, bfloat16 ÷ CTranslate2, int8, {name}", 1.0, _speed_up(halved, eighth)),
    ]
    _greedy(options, task, plain, outcome)


def _ways(options: Options, engine: Contender) -> list[Contender]:
    """Return an engine in one process, and in one for each thread."""
    return [engine, Parallel(engine, options.threads)] if options.threads > 1 else [engine]


def _greedy(options: Options, task: Task, other: Contender, outcome: Outcome) -> None:
    """Check that contenders sample the same model: the most likely completions are the same."""
    greedy = replace(task, problems=task.problems[:_GREEDY_PROMPTS], samples=1, temperature=0.0)
    wanted = [list(completion) for completion in options.ours(False).draw(greedy, 0).completions]
    for contender in (Generate(False), other):
        try:
            drawn = contender.draw(greedy, 0).completions
        except Unavailable:
            continue
        same = sum(list(a) == b for a, b in zip(drawn, wanted, strict=True))
        said = f"greedy completions of {contender.name} equal to the engine's: {same} of {len(wanted)}"
        print(f"{said}\n", flush=True)
        if same < _GREEDY_SHARE * len(wanted):
            outcome.faults.append(f"{NAMES[task.format.family]}: {said}")


def _fastest(contender: CTranslate2, task: Task) -> CTranslate2:
    try:
        found = contender.fastest(task)
    except Unavailable:
        return contender  # which will say so in the table
    print(f"fastest for {contender.name}, {contender.compute_type}: {found.settings}\n", flush=True)
    return found


def _speed_up(one: Measurement, other: Measurement) -> float | None:
    return one.completions_per_second / other.completions_per_second if one.runs and other.runs else None


def calculator(options: Options) -> Outcome:
    """Compare the engine with and without calculator at several batch sizes."""
    outcome = Outcome()
    for family in options.families:
        task = options.task(options.trained(family))
        rows: list[list[str]] = []
        speeds: dict[int, tuple[float, float]] = {}
        for batch in _BATCHES:
            # One row at a time takes long, and counts only beside the largest batch.
            count = max(min(4 if batch == 1 else 8, options.prompts), options.prompts * batch // max(_BATCHES))
            smaller = replace(task, problems=task.problems[:count], rows=batch)
            found = measure([(Ours(True), smaller), (Ours(False), smaller)], options.repeats)
            on, off = speeds[batch] = found[0].completions_per_second, found[1].completions_per_second
            lengths = [f"{one.mean_length:.1f}" for one in found]
            if abs(found[0].mean_length / found[1].mean_length - 1) > LENGTHS:
                outcome.faults.append(
                    f"{NAMES[family]}, batch {batch}: lengths {' and '.join(lengths)} differ too much"
                )
            rows.append([f"{batch}", f"{on:.2f}", f"{off:.2f}", f"{on / off:.2f}", *lengths])
        heads = ["batch", "with, completions/s", "without", "ratio", "mean length with", "without"]
        show(f"{NAMES[family]}: calculator on and off", markdown(heads, rows))
        name = NAMES[family]
        outcome.targets += [
            Target(f"with calculator ÷ without, batch {batch}, {name}", 1.0, speeds[batch][0] / speeds[batch][1])
            for batch in _BATCHES[1:]
        ]
        on, off = (speeds[64][way] / speeds[1][way] for way in (0, 1))
        what = f"batch 64 ÷ batch 1 with calculator ({on:.1f}), of that without ({off:.1f}), {name}"
        outcome.targets.append(Target(what, 0.9, on / off))
    return outcome


def scale(options: Options) -> Outcome:
    """Draw for k problems and for ten times as many, each in a process of its own."""
    outcome = Outcome()
    rows = []
    for family in options.families:
        folder, name = options.trained(family), NAMES[family]
        facts = {
            copies: [_alone(options, folder, copies) for _ in range(min(_FEW_REPEATS, options.repeats))]
            for copies in (1, 10)
        }
        seconds = {copies: median(time for time, _ in runs) for copies, runs in facts.items()}
        memory = {copies: median(peak for _, peak in runs) for copies, runs in facts.items()}
        for copies in (1, 10):
            cells = [f"{copies * options.prompts}", f"{seconds[copies]:.1f}", f"{memory[copies] / 2**20:.0f}"]
            rows.append([name, *cells])
        outcome.targets += [
            Target(f"time for 10 × the problems, {name}", 10.5, seconds[10] / seconds[1], at_most=True),
            Target(f"peak memory for 10 × the problems, {name}", 1.1, memory[10] / memory[1], at_most=True),
        ]
    note = f"{_rows_alone(options)} rows, medians of {min(_FEW_REPEATS, options.repeats)}."
    show("Ten times the problems", markdown(["family", "problems", "seconds", "peak memory, MiB"], rows), note)
    return outcome


def _alone(options: Options, folder: Path, copies: int) -> tuple[float, int]:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        seconds, peak = pool.submit(draw_copies, options, folder, copies).result()
    report(f"{copies} × {options.prompts} problems: {seconds:.1f} s, {peak / 2**20:.0f} MiB")
    return seconds, peak


def _rows_alone(options: Options) -> int:
    return max(1, options.prompts * options.samples // _BATCHES_ALONE)


def draw_copies(options: Options, folder: Path, copies: int) -> tuple[float, int]:
    """Draw for every problem ``copies`` times, as if they were others; return seconds and this process's peak."""
    torch.set_num_threads(options.threads)
    task = replace(options.task(folder), rows=_rows_alone(options))
    warm = replace(task, problems=task.problems[:1], max_new_tokens=8)
    Ours(True).draw(warm, 0)
    named = [replace(problem, id=f"{problem.id}#{copy}") for copy in range(copies) for problem in task.problems]
    return Ours(True).draw(replace(task, problems=tuple(named)), 0).seconds, peak_memory()


def large(options: Options) -> Outcome:
    """Compare engines on random weights, a hundred million by default, all completions of equal length."""
    folder = random_folder(options.large, options.cache)
    outcome = Outcome()
    tokens = min(_ENDLESS_TOKENS, options.max_new_tokens)

    def task(dtype: str) -> Task:
        whole = options.task(folder, dtype)
        few = whole.problems[: max(1, options.prompts // 4)]
        return replace(whole, problems=few, max_new_tokens=tokens, endless=True)

    full = task("float32")
    ours = options.ours(False)
    others = [_fastest(CTranslate2(compute_type), full) for compute_type in ("float32", "int8")]
    contenders: list[Contender] = [ours, Generate(False), *others]
    found = measure([*((one, full) for one in contenders), (ours, task("bfloat16"))], options.repeats)
    counts = f"{len(full.problems)} questions, {tokens} tokens each, {options.rows} rows, {options.threads} threads"
    outcome.show(f"{options.large}, random weights: {counts}", found)
    return outcome


def machine(options: Options) -> Outcome:
    """Relate the engine's rate to that of large matrix products."""
    rates = {dtype: product_rate(DTYPES[dtype]) for dtype in ("float32", "bfloat16")}
    rows = [["matrix product 2048 × 2048", dtype, "", f"{rate / 1e9:.0f}", ""] for dtype, rate in rates.items()]
    for family in options.families:
        tasks = [options.task(options.trained(family), dtype) for dtype in rates]
        entries = [(options.ours(calculator), task) for task in tasks for calculator in (True, False)]
        for one in measure(entries, min(_FEW_REPEATS, options.repeats)):
            speed = median(operations(one.task, run) / run.seconds for run in one.runs)
            share = f"{100 * speed / rates[one.precision]:.0f}%"
            cells = [one.precision, f"{one.tokens_per_second:.0f}", f"{speed / 1e9:.1f}", share]
            rows.append([f"{one.contender.name}, {NAMES[family]}", *cells])
    heads = ["", "precision", "tokens/s", "GFLOP/s", "share"]
    note = (
        "Operations of the linear layers alone: attention, drawing and everything in Python is the rest. Medians of "
        f"{min(_FEW_REPEATS, options.repeats)}."
    )
    show(f"Share of the machine's matrix-product rate, {options.threads} threads", markdown(heads, rows), note)
    for family in options.families:
        _where(options, family)
    rows = [["reading memory", "float32", "", f"{read_rate() / 1e9:.1f}"]]
    for name, heads, queries in (("causal", 4, 2), ("T5", 6, 1)):
        for dtype in ("float32", "bfloat16"):
            seconds, read = attention_seconds(DTYPES[dtype], heads, queries)
            what = f"attention, {heads} heads with {queries} queries each, as {name}"
            rows.append([what, dtype, f"{1000 * seconds:.2f}", f"{read / seconds / 1e9:.1f}"])
    show("Attention of 192 rows to 96 tokens of their own", markdown(["", "precision", "ms a layer", "GB/s"], rows))
    return Outcome()


def _where(options: Options, family: Family) -> None:
    """Say where the time of one run goes."""
    task = options.task(options.trained(family))
    rows = []
    for contender in (options.ours(True), options.ours(False)):
        contender.draw(replace(task, max_new_tokens=8), 0)
        with noted() as spent:
            seconds = contender.draw(task, 1).seconds
        parts = [100 * spent[part] / seconds for part in (LINEAR, ATTENTION, DRAWING, ROWS)]
        rows.append([contender.name, f"{seconds:.1f}", *(f"{part:.0f}%" for part in (*parts, 100 - sum(parts)))])
    heads = ["", "seconds", LINEAR, ATTENTION, DRAWING, ROWS, "the rest"]
    show(f"{NAMES[family]}: where the time goes, float32", markdown(heads, rows))


def bandwidth(options: Options) -> Outcome:
    """Relate engines to the rate at which memory can be read: random weights of published shapes, equal lengths."""
    rate = copy_rate(options.device)
    rows = []
    for shape in options.shapes:
        model, form = random_model(shape, options.device, DTYPES[options.dtype])
        task = replace(options.task_of(model, form, Path(shape)), endless=True)
        needed = step_bytes(task) / rate
        # In as many rows as the limit is of.
        contenders: list[Contender] = [Ours(True), Ours(False), Generate(True), Generate(False)]
        for one in measure([(contender, task) for contender in contenders], options.repeats):
            cells = [f"{one.tokens_per_second:.0f}", f"{one.seconds:.2f}", f"{100 * needed / one.seconds:.0f}%"]
            rows.append([shape, one.contender.name, one.precision, *cells])
    heads = ["shape", "contender", "precision", "tokens/s", "seconds", "share of the limit"]
    note = f"Copies run at {rate / 1e9:.0f} GB/s, read and written. {_LIMIT}"
    show(f"Share of the memory's rate, {options.device}, {options.rows} rows", markdown(heads, rows), note)
    return Outcome()


_LIMIT = "The limit reads all weights, each row's own keys and values and each prompt's once a step."

SECTIONS: Mapping[str, Callable[[Options], Outcome]] = {
    "engines": engines,
    "calculator": calculator,
    "scale": scale,
    "large": large,
    "machine": machine,
    "bandwidth": bandwidth,
}
