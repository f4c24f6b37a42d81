"""The root config: everything that a run is made from."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from selfstudy.config import Place, Settings
from selfstudy.generation.engine import SamplingSettings
from selfstudy.judging.verifiers import VerifierSpec, default_verifier
from selfstudy.models.compute import Compute
from selfstudy.models.format import FormatSettings
from selfstudy.problems.mixture import Part
from selfstudy.stages.load_problems import ProblemSettings
from selfstudy.stages.pair import PairSettings
from selfstudy.stages.preference import PreferenceSettings
from selfstudy.stages.pretrain import PretrainSettings
from selfstudy.stages.pseudo_label import LabelSettings
from selfstudy.stages.sft import SftSettings
from selfstudy.storage import DEFAULT_ROOT
from selfstudy.tracking import TrackerName

Recipe = Literal["dpo_st", "self_training", "rft", "supervised", "pretrain"]


class EvaluationSettings(Settings):
    """How models are scored: greedy on every split, and on test by samples too where ``samples`` is not 0.

    Attributes:
        samples: Samples a test problem, for pass@k, maj@k and distinct right solutions.
        temperature: Of those samples.
        ks: The k of pass@k and maj@k; those above ``samples`` are left out.
    """

    samples: Annotated[int, Field(ge=0)] = 5
    temperature: Annotated[float, Field(gt=0)] = 0.7
    ks: tuple[Annotated[int, Field(ge=1)], ...] = (1, 5)


class Config(Settings):
    """One run.

    Attributes:
        recipe: The algorithm; ``pretrain`` makes a base model.
        seed: Of every random choice.
        rounds: Rounds of self-training.
        root: Where artifacts and runs lie.
        restart: Fine-tune from the base model in every round, as published; else from the model of the round before.
        model: A packaged model, a folder, a Hub id, or a preset's name for one with fresh weights; the base model.
        vocab_size: Of the tokenizer that a preset gets, trained on what the model is to learn first.
        samples_per_step: Sample indices come in steps of so many; raising a number of samples later adds steps.
        checkpoint_every: Optimizer steps between checkpoints; changes no result.
        max_overlap: Share of dev, of test or of a transfer set that may be asked in training too, and of the latter two
            in dev, in the same words or nearly; more is refused before any compute.
        verifier_timeout: Seconds that a verifier of one's own may take for a verdict; then the run stops and says
            where. Changes no result.
        price_per_hour: Of the machine, in any currency: what the run's seconds come to then stands below its results.
        track: Write losses, scores and the guard's looks to TensorBoard (in the run's folder) or to Weights & Biases as
            well; needs the extra of that name: ``pip install 'selfstudy[track]'``.
    """

    in_commands: ClassVar[bool] = True

    recipe: Recipe = "dpo_st"
    seed: Annotated[int, Field(ge=0)] = 0
    rounds: Annotated[int, Field(ge=1)] = 2
    restart: bool = True
    root: Place = str(DEFAULT_ROOT)
    model: str
    vocab_size: Annotated[int, Field(ge=300)] = 512
    problems: ProblemSettings
    prompt: FormatSettings = FormatSettings()
    verifier: VerifierSpec = default_verifier()
    compute: Compute = Compute()
    pretraining: PretrainSettings | None = None
    sft: SftSettings = SftSettings()
    sampling: SamplingSettings = SamplingSettings()
    samples_per_step: Annotated[int, Field(ge=1)] = 5
    pairs: PairSettings = PairSettings()
    preference: PreferenceSettings = PreferenceSettings()
    labels: LabelSettings = LabelSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    max_overlap: Annotated[float, Field(ge=0, le=1)] = 0.01
    checkpoint_every: Annotated[int, Field(ge=1)] = 50
    verifier_timeout: Annotated[float, Field(gt=0)] = 10.0
    price_per_hour: Annotated[float, Field(ge=0)] | None = None
    track: TrackerName | None = None

    @property
    def mixture(self) -> tuple[Part, ...]:
        """What is read before any fine-tuning; nothing where the recipe does not pretrain."""
        return self.pretraining.mixture if self.recipe == "pretrain" and self.pretraining else ()

    @model_validator(mode="after")
    def _pretraining_has_data(self) -> Self:
        if self.recipe == "pretrain" and self.pretraining is None:
            raise ValueError("recipe: pretrain needs pretraining.mixture and pretraining.max_steps")
        return self
