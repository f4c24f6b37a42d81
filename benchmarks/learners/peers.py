"""TRL for causal models, ``transformers.Trainer`` with a plain loss for encoder–decoder ones."""

from __future__ import annotations

import tempfile
import time
from typing import Any

import torch
from datasets import Dataset
from torch.nn import functional as F
from torch.utils.data import SequentialSampler
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from learners.task import BETA, LEARNING_RATE, Task


class _Clock(TrainerCallback):
    """Notes when steps end."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.times.append(time.perf_counter())

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.times.append(time.perf_counter())


class _InOrder:
    """Data as it comes."""

    def _get_train_sampler(self, dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(dataset if dataset is not None else self.train_dataset)  # type: ignore[attr-defined]

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset  # tokens already


class _Sft(_InOrder, SFTTrainer):  # type: ignore[misc]
    pass


class _Dpo(_InOrder, DPOTrainer):  # type: ignore[misc]
    pass


class _Plain(_InOrder, Trainer):  # type: ignore[misc]
    """Encoder–decoder models: cross-entropy over completion tokens, or DPO with one forward pass over both sides."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        labels = inputs.pop("labels")
        reference = inputs.pop("reference", None)
        loss = _losses(model, inputs, labels)
        # Tokens of the whole step are counted beforehand, so that all weigh the same however it is split; of pairs
        # each micro-batch has as many, and the mean of their means is the mean.
        self.loss_is_scaled_for_ga = reference is None
        if reference is None:
            return loss.sum() / num_items_in_batch
        policy = -loss.sum(-1).view(2, -1)
        margin = (policy[0] - reference[:, 0]) - (policy[1] - reference[:, 1])
        return -F.logsigmoid(BETA * margin).mean()


def _losses(model: Any, inputs: dict[str, Any], labels: torch.Tensor) -> torch.Tensor:
    logits = model(**inputs, decoder_input_ids=model.prepare_decoder_input_ids_from_labels(labels)).logits
    flat = F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="none")
    return flat.view_as(labels)


def learn(task: Task) -> tuple[PreTrainedModel, list[float], list[float], float]:
    """Train; return the model, seconds and losses of the steps, and seconds for the reference."""
    ours, tokenizer = task.load()
    model = type(ours).from_pretrained(task.folder)  # as its users do
    clock = _Clock()
    with tempfile.TemporaryDirectory() as folder:
        common = {
            "output_dir": folder,
            "per_device_train_batch_size": task.batch // task.variant.micro_batches,
            "gradient_accumulation_steps": task.variant.micro_batches,
            "max_steps": task.steps,
            "learning_rate": LEARNING_RATE,
            "lr_scheduler_type": "constant",
            "weight_decay": 0.0,
            "max_grad_norm": 1e9,
            "gradient_checkpointing": False,
            "use_cpu": True,
            "bf16": task.dtype == "bfloat16",
            "logging_steps": 1,
            "logging_first_step": True,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "optim": "adamw_torch_fused",
            "dataloader_pin_memory": False,
        }
        start = time.perf_counter()
        trainer = _trainer(task, model, tokenizer, common, clock)
        prepared = time.perf_counter() - start
        trainer.remove_callback(PrinterCallback)  # tables alone go to the standard output
        trainer.train()
        losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    seconds = torch.tensor(clock.times, dtype=torch.float64).diff().tolist()
    return model, seconds, losses, prepared if task.kind == "dpo" else 0.0


def _trainer(task: Task, model: Any, tokenizer: Any, common: dict[str, Any], clock: _Clock) -> Any:
    causal = not model.config.is_encoder_decoder
    if not causal:
        return _encoder_decoder(task, model, tokenizer, common, clock)
    if task.kind == "dpo":
        names = ("chosen_ids", "rejected_ids")
        rows = [
            {"prompt_ids": list(task.prompt(item)), **dict(zip(names, map(list, task.completions(item)), strict=True))}
            for item in task.items
        ]
        config = DPOConfig(**common, beta=BETA, max_length=None, precompute_ref_log_probs=True)
        return _Dpo(
            model, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer, callbacks=[clock]
        )
    rows = []
    for item in task.items:
        prompt, (completion,) = task.prompt(item), task.completions(item)
        rows.append({"input_ids": [*prompt, *completion], "labels": [-100] * len(prompt) + list(completion)})
    config = SFTConfig(**common, max_length=None, padding_free=task.variant.padding_free)
    data = Dataset.from_list(rows)
    return _Sft(model, args=config, train_dataset=data, processing_class=tokenizer, callbacks=[clock])


def _encoder_decoder(task: Task, model: Any, tokenizer: Any, common: dict[str, Any], clock: _Clock) -> Any:
    fill = tokenizer.pad_token_id

    def collate(items: list[int]) -> dict[str, torch.Tensor]:
        chosen = [task.items[index] for index in items]
        width = len(chosen[0].completions)
        prompts = [torch.tensor(task.prompt(item)) for _ in range(width) for item in chosen]
        labels = [torch.tensor(task.completions(item)[place]) for place in range(width) for item in chosen]
        ids = torch.nn.utils.rnn.pad_sequence(prompts, batch_first=True, padding_value=fill)
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        batch = {
            "input_ids": ids,
            "attention_mask": (torch.arange(ids.shape[1]) < lengths[:, None]).long(),
            "labels": torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-100),
        }
        if references:
            batch["reference"] = torch.tensor([references[index] for index in items])
        return batch

    references: dict[int, list[float]] = {}
    if task.kind == "dpo":
        found: dict[int, list[float]] = {}
        model.eval()
        size = common["per_device_train_batch_size"]
        for first in range(0, len(task.items), size):
            members = list(range(first, min(first + size, len(task.items))))
            batch = collate(members)
            labels = batch.pop("labels")
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=task.dtype == "bfloat16"):
                sums = -_losses(model, batch, labels).sum(-1).view(2, -1).T
            found |= dict(zip(members, sums.tolist(), strict=True))
        references |= found
    args = TrainingArguments(**common, remove_unused_columns=False)
    return _Plain(
        model, args=args, train_dataset=list(range(len(task.items))), data_collator=collate, callbacks=[clock]
    )
