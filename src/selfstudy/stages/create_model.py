"""Create a base model from an architecture preset, with a tokenizer trained on the run's own problems."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import ClassVar

from selfstudy.models.format import FormatSettings, bind, tokenizer_text
from selfstudy.models.load import save_model
from selfstudy.models.presets import create, find_preset
from selfstudy.models.tokenizers import Family, train_tokenizer
from selfstudy.problems.mixture import Part, stream
from selfstudy.stages.base import Forecast, Inputs, Metrics, Sizes, Stage, one
from selfstudy.storage.splits import stream_split
from selfstudy.types import Context

_TEXTS = 20_000  # from which a tokenizer learns


class CreateModel(Stage):
    """A ``transformers`` folder with random weights.

    Attributes:
        preset: Architecture by name.
        vocab_size: Of the tokenizer.
        format: Prompt template and notation, whose text the tokenizer learns from.
        seed: Of the weights.
    """

    kind: ClassVar[str] = "model"
    version: ClassVar[int] = 2
    preset: str
    vocab_size: int
    format: FormatSettings
    seed: int

    def run(self, inputs: Inputs, out: Path, ctx: Context) -> Metrics:
        """Train the tokenizer on what the model is to learn first, then draw the weights."""
        family = find_preset(self.preset).family
        texts = self._texts(inputs, family)
        tokenizer = train_tokenizer(texts, family, self.vocab_size)
        model = create(self.preset, tokenizer, self.seed)
        save_model(model, tokenizer, out, {"created from": f"preset {self.preset}, seed {self.seed}, untrained"})
        bind(self.format, tokenizer, family).save(out)
        return {"parameters": model.num_parameters(), "vocabulary": len(tokenizer)}

    def forecast(self, sizes: Sizes) -> Forecast:
        """The weights are drawn, not trained."""
        return Forecast("train a tokenizer, draw weights", sizes.model_bytes)

    def _texts(self, inputs: Inputs, family: Family) -> Iterator[str]:
        for split in ("unlabelled", "labelled"):
            for problem in stream_split(one(inputs, "problems"), split):
                yield tokenizer_text(problem, self.format, family)


class CreateForMixture(CreateModel):
    """A model that is to be pretrained: its tokenizer learns from documents of the mixture."""

    mixture: tuple[Part, ...]

    def _texts(self, inputs: Inputs, family: Family) -> Iterator[str]:
        for problem in islice(stream(self.mixture, self.seed), _TEXTS):
            yield tokenizer_text(problem, self.format, family)
