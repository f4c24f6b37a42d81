"""Supervised fine-tuning of the base model on L's solutions and, from the second time on, on pseudo-labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from selfstudy.learning.logprobs import check_logprobs, check_rows
from selfstudy.learning.objectives import Imitation, group_examples
from selfstudy.learning.trainer import train
from selfstudy.models.compute import Compute
from selfstudy.models.format import FormatSettings, bind
from selfstudy.models.load import family, load_model, load_tokenizer, save_model
from selfstudy.models.lora import Adapter
from selfstudy.stages.base import Forecast, Inputs, Metrics, Sizes, Stage, one
from selfstudy.stages.limits import LimitedSettings
from selfstudy.storage.records import read_records
from selfstudy.storage.seeding import derive
from selfstudy.storage.splits import read_split
from selfstudy.types import Context, Example


class SftSettings(LimitedSettings):
    """How models are fine-tuned: for 3 epochs where nothing is said."""

    usual_length: ClassVar[Mapping[str, float]] = {"epochs": 3}

    batch_size: Annotated[int, Field(ge=1)] = 16


class Sft(Stage):
    """Writes a ``transformers`` folder, ``train_log.jsonl`` and ``left_out.json``; the loss is on completions only."""

    kind: ClassVar[str] = "sft"
    settings: SftSettings
    format: FormatSettings
    compute: Compute
    seed: int

    def run(self, inputs: Inputs, out: Path, ctx: Context) -> Metrics:
        """Fine-tune ``model`` on the labelled ``problems`` and on ``pseudo``, if there is any."""
        self.compute.apply()
        base = one(inputs, "model").path
        model, tokenizer = load_model(base, device=self.compute.device), load_tokenizer(base)
        windowed = check_logprobs(model)
        format = bind(self.format, tokenizer, family(model))
        problems = one(inputs, "problems")
        labelled = read_split(problems, "labelled")
        examples = [Example(problem.id, format.gold(problem), "gold") for problem in labelled]
        prompts = {problem.id: format.prompt_ids(problem) for problem in labelled}
        if "pseudo" in inputs:
            examples += read_records(one(inputs, "pseudo").path / "labels.jsonl", Example)
            prompts |= {problem.id: format.prompt_ids(problem) for problem in read_split(problems, "unlabelled")}
        kept = self.settings.within(
            examples,
            lambda example: (
                example.problem_id,
                len(prompts[example.problem_id]),
                len(example.completion.token_ids),
            ),
            out / "left_out.json",
        )
        groups, items = group_examples(kept, prompts, mask_forced=self.settings.mask_forced)
        check_rows(model, groups, windowed)
        seed = derive(self.seed, "sft")
        adapter = Adapter(model, self.settings.lora, seed) if self.settings.lora else None
        facts = train(
            model, Imitation(groups, items), self.settings, compute=self.compute, seed=seed, workdir=out, ctx=ctx
        )
        if adapter is not None:
            adapter.merge(out)
        pseudo = sum(example.source == "pseudo" for example in kept)
        save_model(
            model,
            tokenizer,
            out,
            {"trained by": "supervised fine-tuning", "examples": len(kept), "pseudo-labels": pseudo},
        )
        format.save(out)
        return {
            "examples": len(kept),
            "pseudo_labels": pseudo,
            "left_out": len(examples) - len(kept),
            "loss": facts.last["loss"],
            "parameters": model.num_parameters(),
            **facts.cost,
        }

    def forecast(self, sizes: Sizes) -> Forecast:
        """Count the steps; how many pseudo-labels there will be is not known."""
        examples = sizes.problems.get("labelled", 0)
        steps = self.settings.total_steps(examples)
        return Forecast(
            f"{steps:,} steps of {self.settings.batch_size} on {examples:,} solutions and any pseudo-labels",
            sizes.model_bytes,
        )
