"""A first config for a file of one's own: what ``selfstudy init`` does."""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.markup import escape

from selfstudy.config import parse_yaml
from selfstudy.console import console
from selfstudy.errors import ConfigError, DataError
from selfstudy.judging.answers import normalise
from selfstudy.problems.columns import Column, Roles, guess_roles, survey_columns
from selfstudy.problems.sources import BadRow, read_problems
from selfstudy.problems.sources.tabular import Tabular
from selfstudy.recipes.config import Config
from selfstudy.stages.judge_gold import JudgeGold
from selfstudy.stages.load_problems import LoadProblems
from selfstudy.stages.overlap import FindOverlap, OverlapError
from selfstudy.storage.artifacts import Artifact
from selfstudy.storage.atomic import write_bytes
from selfstudy.types import SILENT, Problem

_LETTER = re.compile(r"\(?([A-Za-z])[).]?")
_MOST_LETTERS = 10
_MOST_TOKENS = 512  # what fine-tuning takes by default, and half of a preset's positions
_TOKENS_A_CHARACTER = 0.8  # more than any tokenizer should need, so that no worked solution is too long to be written
_STEPS = (50, 300)  # of fine-tuning, for so small a model: few solutions seen three times are not enough
_FEW = 100  # worked solutions


@dataclass(frozen=True)
class Judging:
    """How answers like these are judged.

    Attributes:
        verifier: As the config has it.
        answers: The source's setting.
        why: For people.
    """

    verifier: str
    answers: Literal["auto", "number", "text"]
    why: str


@dataclass(frozen=True)
class Findings:
    """What was found in a file.

    Attributes:
        path: The file, as the user wrote it.
        rows: How many it has.
        columns: Its columns.
        roles: Which of them are what.
        judging: How its answers are judged.
        problems: What can be used.
        bad: The rows that cannot.
    """

    path: Path
    rows: int
    columns: Sequence[Column]
    roles: Roles
    judging: Judging
    problems: Sequence[Problem]
    bad: Sequence[BadRow]

    @property
    def solutions(self) -> list[str]:
        """Return the worked solutions."""
        return [problem.solution for problem in self.problems if problem.solution is not None]


def write_config(path: Path, out: Path, given: Mapping[str, str]) -> Findings:
    """Look at a file of problems and write a config for it, with comments; say what was found.

    Args:
        path: JSONL, JSON, CSV or Parquet.
        out: The config; never written over.
        given: Columns that the user names: ``question``, ``answer``, ``solution``.

    Raises:
        ConfigError: ``out`` is there already.
        DataError: The file cannot be used as it is; says what to do.
    """
    found = look(path, given)
    if out.exists():
        raise ConfigError(f"{out} is there already; name another file with --out, or remove it")
    text = "".join(_lines(found, out))
    try:
        _try(text, str(out))
    except DataError as error:
        counted = f"{len(found.problems):,} of the {found.rows:,} rows of {path} can be used"
        usable = f"{counted} (the first that cannot: {found.bad[0]}): " if found.bad else ""
        raise DataError(f"{usable}{error}{_repeats(found)}") from None
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, text.encode())
    if not found.solutions:
        unused = [
            column.name for column in found.columns if column.name not in (found.roles.question, found.roles.answer)
        ]
        console.print(
            "no column holds worked solutions"
            + (f" (not used: {escape(', '.join(unused))}); if one does, name it: --solution COLUMN" if unused else "")
            + ". Generated ones stand in, which is not what you want for long",
            soft_wrap=True,
        )
    console.print(
        f"{escape(str(path))}: {len(found.problems):,} problems, {len(found.solutions):,} with a worked solution; "
        f"{escape(found.judging.why)}\nlook through {escape(str(out))}, then: selfstudy plan {escape(str(out))}",
        soft_wrap=True,
    )
    return found


def look(path: Path, given: Mapping[str, str]) -> Findings:
    """Find out what the columns of a file are, and how its answers are to be judged.

    Raises:
        DataError: The file cannot be used as it is; says what to do.
    """
    rows, columns = survey_columns(path)
    roles = guess_roles(path, rows, columns, given)
    source = Tabular(path=str(path), question=roles.question, answer=roles.answer, solution=roles.solution)
    problems, _ = read_problems(source, on_bad_rows="skip")
    judging = judging_of([problem.answer for problem in problems])
    # As the run will read it: other answers may be refused, or kept as they are.
    problems, bad = read_problems(source.model_copy(update={"answers": judging.answers}), on_bad_rows="skip")
    if judging.verifier != "numeric" and not any(problem.solution for problem in problems):
        raise DataError(
            f"{path}: no row has a worked solution, and the first fine-tuning learns from those alone. Write some "
            "(a hundred is a start) into a column of the file, empty where a row has none, and name it with "
            "--solution COLUMN"
        )
    return Findings(path, rows, columns, roles, judging, problems, bad)


def judging_of(answers: Sequence[str]) -> Judging:
    """Return how answers are judged: as numbers, as the letters of options, or as texts."""
    numbers = [normalise(answer) for answer in answers]
    plain = sum(number == answer for number, answer in zip(numbers, answers, strict=True))
    odd = numbers.count(None)
    # "Room 3" names a number too; so most must be nothing else.
    if 2 * plain >= len(answers) and 20 * odd <= len(answers):
        said = (
            "all answers are numbers" if odd == 0 else f"all answers but {odd:,} are numbers; those rows are left out"
        )
        return Judging("numeric", "auto" if odd == 0 else "number", said)
    found = [_LETTER.fullmatch(answer) for answer in answers]
    letters = sorted({match[1].upper() for match in found if match})
    if all(found) and len(letters) <= _MOST_LETTERS:
        run = [chr(code) for code in range(ord("A"), ord(letters[-1]) + 1)]
        options = "".join(run if len(run) <= _MOST_LETTERS else letters)
        return Judging(f"{{name: choice, letters: {options}}}", "text", f"all answers are one of {', '.join(letters)}")
    return Judging("exact", "text", "answers are texts, and must be the same text, case and spaces apart")


def _try(text: str, name: str) -> None:
    """Carry out the first steps of the run, so that what is written is known to work."""
    config = Config.parse(parse_yaml(text, name), name)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        LoadProblems(settings=config.problems, seed=config.seed).run({}, Path(folder), SILENT)
        problems = (Artifact("problems", "", Path(folder)),)
        try:
            FindOverlap(max_overlap=config.max_overlap).run({"problems": problems}, Path(other), SILENT)
        except OverlapError as error:  # its list goes with the folder, and hold-outs are of the same file
            raise OverlapError(error.args[0], "take one of the two out of the file") from None
        JudgeGold(verifier=config.verifier).run({"problems": problems}, Path(other), SILENT)


def _repeats(found: Findings) -> str:
    """Say how many questions are asked again: hold-outs of such a file would stand in training too."""
    repeats = len(found.problems) - len({problem.question.casefold() for problem in found.problems})
    if not repeats:
        return ""
    column = found.roles.question
    return f". In {found.path}, {repeats:,} rows repeat a question: take them out, unless {column} is only a part of it"


def _lines(found: Findings, out: Path) -> Iterator[str]:
    """Write the config, line by line."""
    yield from _header(found, out)
    yield _setting("recipe", "dpo_st", "the whole loop; supervised, rft and self_training are there to compare with")
    yield _setting("rounds", "2")
    yield _setting("model", "tiny-llama", "CHANGE: it comes along, and knows simple word problems in English.")
    yield _comment("A larger pretrained model learns far more: its folder, or a Hub id such as google/flan-t5-base")
    yield "\nproblems:\n"
    yield from _train(found)
    yield from _splits(found)
    yield "\n" + _setting("verifier", found.judging.verifier, found.judging.why)
    yield "\nsft:\n"
    steps = min(max(len(found.solutions), _STEPS[0]), _STEPS[1]) if found.solutions else _STEPS[1]
    yield _setting("batch_size", "8", indent=2)
    yield _setting("max_steps", str(steps), "CHANGE with the model: `epochs: 3` for a larger one", indent=2)
    yield from _sampling(found)


def _header(found: Findings, out: Path) -> Iterator[str]:
    roles, columns = found.roles, {column.name: column for column in found.columns}
    path = _one_line(str(found.path))
    yield f"# Made by `selfstudy init {path}`: look through it, then `selfstudy plan {_one_line(str(out))}`.\n"
    yield "#\n"
    usable, solved = len(found.problems), len(found.solutions)
    yield f"# Found: {found.rows:,} rows, {usable:,} of them usable, {solved:,} with a worked solution.\n"
    for role, name in (("question", roles.question), ("answer", roles.answer), ("solution", roles.solution)):
        if name is not None:
            column = columns[name]
            size = f"{column.mean:,.0f} characters on average, {column.longest:,} at most"
            yield f"#   {role:<9} is column {_quoted(name)}, {roles.why[role]}: {size}\n"
    if roles.answer is None:
        yield "#   answer    is what stands behind #### at the end of the solutions\n"
    used = {roles.question, roles.answer, roles.solution}
    if left := [column for column in found.columns if column.name not in used]:
        yield f"#   not used: {', '.join(_one_line(str(column)) for column in left)}\n"
    yield "# Where that is wrong, say so: --question COLUMN --answer COLUMN --solution COLUMN\n\n"


def _train(found: Findings) -> Iterator[str]:
    roles = found.roles
    yield "  train:\n"
    yield _setting("name", "tabular", indent=4)
    yield _setting("path", _word(str(found.path)), "from where selfstudy is started", indent=4)
    yield _setting("question", _word(roles.question), indent=4)
    yield _setting("answer", "null" if roles.answer is None else _word(roles.answer), indent=4)
    if roles.solution is not None:
        yield _setting("solution", _word(roles.solution), "empty cells are allowed", indent=4)
    yield _setting("answers", found.judging.answers, indent=4)


def _splits(found: Findings) -> Iterator[str]:
    solved, others = len(found.solutions), len(found.problems) - len(found.solutions)
    if solved:
        few = "; few: every further one helps the first fine-tuning" if solved < _FEW else ""
        yield _setting("labelled", "all", f"{solved:,} solutions to learn from{few}", indent=2)
        yield _comment(
            f"the other {others:,} problems count as answers-only"
            if others
            else "a number such as 500 shows so many, and the other problems count as answers-only"
        )
    else:
        yield _comment("CHANGE: the file has no worked solutions, and the first fine-tuning learns from those alone.")
        yield _comment(
            "Generated ones stand in here. Write some of your own (a hundred is a start) into a column of the"
        )
        yield _comment("file, empty where a row has none; add `solution: COLUMN` above, and take this out")
        yield _setting("solved", "{name: word_problems, split: train, count: 1000, max_steps: 2}", indent=2)
    yield _setting(
        "dev", "0.1", "held out to decide which model is best; or a file: {name: tabular, path: …}", indent=2
    )
    yield _setting("test", "0.1", "likewise, scored once at the end", indent=2)
    if (held := max(1, round(0.1 * len(found.problems)))) < _FEW:
        known = f"{98 / held**0.5:.0f} points"
        yield _comment(f"{held:,} problems each are few: an accuracy of 50% is then known to ± {known}")
    if found.bad:
        first = _one_line(str(found.bad[0]))
        yield _setting("on_bad_rows", "skip", f"{len(found.bad):,} rows cannot be used; the first: {first}", indent=2)


def _sampling(found: Findings) -> Iterator[str]:
    yield "\nsampling:\n"
    if not found.solutions:
        yield _setting("max_new_tokens", "300", "no solution to go by; longer ones are cut, and never right", indent=2)
        return
    lengths = [len(solution) for solution in found.solutions]
    # A token of a pretrained vocabulary is three or four characters of such text, of a small one less than two.
    wanted = max(64, 32 * math.ceil(_TOKENS_A_CHARACTER * max(lengths) / 32))
    tokens = min(_MOST_TOKENS, wanted)
    mean = sum(lengths) / len(lengths)
    yield _setting("max_new_tokens", str(tokens), "what is longer is cut, and never right", indent=2)
    yield _comment(
        f"solutions have {mean:,.0f} characters on average and {max(lengths):,} at most; one to four are a token"
    )
    if wanted > tokens:
        beyond = sum(_TOKENS_A_CHARACTER * length > tokens for length in lengths)
        yield _comment(
            f"{beyond:,} of them may be too long: then raise this and sft.max_completion_tokens, to {wanted:,} say"
        )
    if found.judging.verifier == "numeric" and not any("<<" in solution for solution in found.solutions):
        yield _comment("no solution marks its arithmetic (3+4=<<3+4=7>>7), so the calculator will have nothing to do")


def _setting(name: str, value: str, why: str = "", *, indent: int = 0) -> str:
    line = f"{' ' * indent}{name}: {value}"
    return f"{line:<34} # {why}\n" if why else f"{line}\n"


def _comment(text: str) -> str:
    return f"  # {text}\n"


def _word(text: str) -> str:
    """Write a string as YAML reads it."""
    plain = re.fullmatch(r"[A-Za-z_./][\w./-]*", text, re.ASCII) and text.lower() not in {"null", "true", "false"}
    return text if plain else _quoted(text)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)
