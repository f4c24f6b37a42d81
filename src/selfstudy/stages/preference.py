"""Preference learning from the policy's own right and wrong solutions, the policy as reference, under a guard."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import BeforeValidator, Field, model_validator
from transformers import PreTrainedModel

from selfstudy.generation.engine import SamplingSettings
from selfstudy.generation.solver import make_solver
from selfstudy.judging.judges import judged_by
from selfstudy.judging.verifiers import VerifierSpec
from selfstudy.learning.logprobs import check_logprobs, check_rows
from selfstudy.learning.losses import LossSpec, default_loss, load_loss
from selfstudy.learning.objectives import Preference as PreferenceObjective
from selfstudy.learning.objectives import group_pairs
from selfstudy.learning.reference import load_reference, reference_flops, reference_logps, save_reference
from selfstudy.learning.trainer import TrainFacts, train
from selfstudy.models.compute import Compute
from selfstudy.models.format import Format, FormatSettings, bind
from selfstudy.models.load import family, load_model, load_tokenizer, save_model
from selfstudy.models.lora import Adapter
from selfstudy.problems.split import hold_out
from selfstudy.stages.base import Forecast, Inputs, Metrics, Sizes, Stage, one
from selfstudy.stages.guard import Guard, GuardSettings
from selfstudy.stages.limits import LimitedSettings
from selfstudy.storage.artifacts import Artifact
from selfstudy.storage.atomic import write_json
from selfstudy.storage.records import read_records
from selfstudy.storage.seeding import derive
from selfstudy.storage.splits import read_split
from selfstudy.types import Context, Group, Pair, Problem

_HALVED = "reference_halved.json"


def _guard(value: Any) -> Any:
    """Take ``false`` for off; settings that were merged into ``off`` turn the guard on."""
    if isinstance(value, Mapping) and value.get("name") == "off":
        return {key: setting for key, setting in value.items() if key != "name"}
    return "off" if value is False else value


class PreferenceSettings(LimitedSettings):
    """How the policy learns from pairs: for 100 steps where nothing is said.

    Attributes:
        dropout: ``off``, or ``model`` for what the model's config says; the reference never has any.
        loss: Which preference loss.
        guard: When and how to look at the policy; ``off`` trains for the given steps, as in the paper.
    """

    rate_times_width: ClassVar[float] = 1.25e-3
    usual_length: ClassVar[Mapping[str, float]] = {"max_steps": 100}

    batch_size: Annotated[int, Field(ge=1)] = 32
    dropout: Literal["model", "off"] = "off"  # the reference has none either
    loss: LossSpec = default_loss()
    guard: Annotated[GuardSettings | Literal["off"], BeforeValidator(_guard)] = GuardSettings()

    @model_validator(mode="after")
    def _guard_fits(self) -> Self:
        if self.sharding == "fsdp" and self.guard != "off":
            raise ValueError("a sharded policy cannot be looked at while it learns; set guard: off")
        return self


class Preference(Stage):
    """Writes a ``transformers`` folder, ``train_log.jsonl``, ``guard.json`` and the reference log-probabilities.

    What is too long stands in ``left_out_of_pairs.json`` and ``left_out_of_validation.json``.
    """

    kind: ClassVar[str] = "preference"
    version: ClassVar[int] = 2  # the guard looks at dev, and lets pass what is not worse by more than chance
    settings: PreferenceSettings
    sampling: SamplingSettings
    verifier: VerifierSpec
    format: FormatSettings
    compute: Compute
    seed: int
    round: int

    def run(self, inputs: Inputs, out: Path, ctx: Context) -> Metrics:
        """Train ``model`` on ``pairs``."""
        self.compute.apply()
        folder = one(inputs, "model").path
        model, tokenizer = load_model(folder, device=self.compute.device), load_tokenizer(folder)
        windowed = check_logprobs(model)
        format = bind(self.format, tokenizer, family(model))
        problems = {problem.id: problem for problem in read_split(one(inputs, "problems"), "unlabelled")}
        made = one(inputs, "pairs").path
        found, others = (list(read_records(made / f"{name}.jsonl", Pair)) for name in ("pairs", "validation"))
        prompts = {
            name: format.prompt_ids(problems[name]) for name in dict.fromkeys(p.problem_id for p in found + others)
        }
        pairs, validation = (
            self.settings.within(
                some, partial(_lengths, prompts), out / f"left_out_of_{name}.json", needed=name == "pairs"
            )
            for name, some in (("pairs", found), ("validation", others))
        )
        if pairs:
            logps, measured = partial(self._logps, model, out, ctx), None
            if validation:  # now, while the model still is the reference
                measured = self._objective(model, validation, prompts, windowed, logps)
            learnt = self._objective(model, pairs, prompts, windowed, partial(self._reference, model, out, ctx))
            metrics = self._learn(model, format, learnt, self._watched(one(inputs, "problems")), out, ctx)
            metrics |= {"left_out": len(found) - len(pairs), "validation": {"pairs": len(validation)}}
            passes = int(learnt.preference_loss.needs_reference)
            metrics["flops"] += passes * reference_flops(model, learnt.groups)
            fell_back = metrics.get("guard", {}).get("fell_back", False)
            if measured is not None and not fell_back:  # else the policy is the reference itself
                metrics["validation"] |= measured.measure(logps(measured.groups))
                metrics["flops"] += (passes + 1) * reference_flops(model, measured.groups)
            if (out / _HALVED).is_file():
                metrics["degraded"] = True
        else:  # every sample right, or every one wrong: not a fault, and the loop can go on
            decision = {"fell_back": True, "used_step": 0, "reason": "there were no pairs; the SFT model is kept"}
            ctx.emit("guard_decided", decision)
            metrics = {"pairs": 0, "steps": 0, "guard": decision}
        facts = {"trained by": f"preference learning ({self.settings.loss.name})", "pairs": len(pairs)}
        if "guard" in metrics:
            facts["guard"] = metrics["guard"]["reason"]
        save_model(model, tokenizer, out, facts)
        format.save(out)
        return metrics

    def _learn(
        self,
        model: PreTrainedModel,
        format: Format,
        objective: PreferenceObjective,
        watched: Sequence[Problem],
        out: Path,
        ctx: Context,
    ) -> Metrics:
        seed = derive(self.seed, "preference", self.round)
        adapter = Adapter(model, self.settings.lora, seed) if self.settings.lora else None
        with self._guard(model, format, watched, out, ctx) as guard:
            if guard is not None:
                guard.score(0)
            facts = train(
                model,
                objective,
                self.settings,
                compute=self.compute,
                seed=seed,
                workdir=out,
                ctx=ctx,
                after_step=guard.look if guard is not None else None,
            )
            metrics = _facts(facts, len(objective.items))
            if guard is not None:
                guard.score(facts.steps)
                metrics["guard"] = guard.decide()
                metrics["flops"] += guard.flops
                metrics |= {"degraded": True} if guard.degraded else {}
        if adapter is not None:
            adapter.merge(out)
        return metrics

    def _watched(self, problems: Artifact) -> Sequence[Problem]:
        """Return what the guard looks at: problems of dev, since self-training learns solutions of all others."""
        if self.settings.guard == "off":
            return ()
        dev, wanted = read_split(problems, "dev"), self.settings.guard.problems
        return dev if len(dev) <= wanted else hold_out(dev, wanted, self.seed, "guard")[1]

    def _objective(
        self,
        model: PreTrainedModel,
        pairs: Sequence[Pair],
        prompts: Mapping[str, Sequence[int]],
        windowed: bool,
        reference: Callable[[Sequence[Group]], torch.Tensor],
    ) -> PreferenceObjective:
        """Prepare pairs; ``reference`` computes log-probabilities where the loss asks for them."""
        groups, items = group_pairs(pairs, prompts, mask_forced=self.settings.mask_forced)
        check_rows(model, groups, windowed)
        loss = load_loss(self.settings.loss)
        nothing = torch.zeros(sum(len(group.completions) for group in groups))
        return PreferenceObjective(groups, items, reference(groups) if loss.needs_reference else nothing, loss)

    def _reference(self, model: PreTrainedModel, out: Path, ctx: Context, groups: Sequence[Group]) -> torch.Tensor:
        """Compute the reference's log-probabilities once, and keep them for those who resume."""
        stored = out / "reference_logps.safetensors"
        if not stored.is_file():
            save_reference(stored, groups, self._logps(model, out, ctx, groups))
        return load_reference(stored, groups)

    def _logps(self, model: PreTrainedModel, out: Path, ctx: Context, groups: Sequence[Group]) -> torch.Tensor:
        """Compute log-probabilities as they are now; where memory ran out, a file says so to those who resume."""

        def halved() -> None:
            write_json(out / _HALVED, {"memory": "ran out for a forward pass, which was done in halves"})

        tokens = self.settings.tokens_per_batch
        return reference_logps(model, groups, tokens, self.compute, ctx, on_halving=halved)

    @contextmanager
    def _guard(
        self, model: PreTrainedModel, format: Format, watched: Sequence[Problem], out: Path, ctx: Context
    ) -> Iterator[Guard | None]:
        settings = self.settings.guard
        if settings == "off":
            yield None
            return
        solver = make_solver(model, format, self.sampling, seed=self.seed, purpose="guard", round=self.round)
        with judged_by(self.verifier, ctx.verifier_timeout) as judge:
            yield Guard(settings, model, solver, watched, judge, out, ctx)

    def forecast(self, sizes: Sizes) -> Forecast:
        """The number of pairs is known only after sampling."""
        n = self.settings.max_steps
        steps = f"{n:,} steps" if n else f"{self.settings.epochs:g} epochs"
        watched = "" if self.settings.guard == "off" else f", a look every {self.settings.guard.every} steps"
        return Forecast(f"{steps} of {self.settings.batch_size} pairs{watched}", sizes.model_bytes)


def _lengths(prompts: Mapping[str, Sequence[int]], pair: Pair) -> tuple[str, int, int]:
    longest = max(len(pair.chosen.token_ids), len(pair.rejected.token_ids))
    return pair.problem_id, len(prompts[pair.problem_id]), longest


def _facts(facts: TrainFacts, pairs: int) -> dict[str, Any]:
    names = ("loss", "rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected")
    last = {name: facts.last[name] for name in names}
    return {
        "pairs": pairs,
        **last,
        "stopped_early": facts.stopped,
        **facts.cost,
    }
