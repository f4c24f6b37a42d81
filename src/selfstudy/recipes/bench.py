"""The bench on which recipes are laid out: one verb for each stage, with the settings and inputs all recipes share.

Verbs record steps; nothing is computed here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from selfstudy.pipeline import Leaf, Plan, Step
from selfstudy.recipes.config import Config
from selfstudy.stages.choose import Choose
from selfstudy.stages.create_model import CreateForMixture, CreateModel
from selfstudy.stages.evaluate import Evaluate
from selfstudy.stages.judge_gold import JudgeGold
from selfstudy.stages.load_problems import LoadProblems
from selfstudy.stages.overlap import FindOverlap
from selfstudy.stages.pair import MakePairs
from selfstudy.stages.preference import Preference
from selfstudy.stages.pretrain import Pretrain
from selfstudy.stages.pseudo_label import PseudoLabel
from selfstudy.stages.sample import Draw
from selfstudy.stages.sft import Sft
from selfstudy.stages.verify import Verify


@dataclass(frozen=True)
class Pool:
    """Sample steps with their verdicts; pools add up over rounds."""

    samples: tuple[Step, ...] = ()
    verdicts: tuple[Step, ...] = ()

    def __add__(self, other: Pool) -> Pool:
        return Pool(self.samples + other.samples, self.verdicts + other.verdicts)


@dataclass
class Bench:
    """Records the steps of one run.

    Attributes:
        config: The run's settings.
        data: The data files, by content.
        corpus: The files that pretraining reads, by content.
        model: The base model's folder by content; None when a preset is to be created.
        plan: What has been recorded.
        candidates: Every trained model so far with its evaluation on dev.
    """

    config: Config
    data: Leaf
    corpus: Leaf
    model: Leaf | None
    plan: Plan = field(default_factory=Plan)
    candidates: dict[str, tuple[Step, Step]] = field(default_factory=dict)

    def problems(self) -> Step:
        """Read and split the problems, and see that they can be judged and that none is taught and measured; once."""
        found = self.plan.find("problems")
        if found is None:
            stage = LoadProblems(settings=self.config.problems, seed=self.config.seed)
            found = self.plan.add("problems", stage, {"data": self.data})
            self.plan.add("gold", JudgeGold(verifier=self.config.verifier), {"problems": found})
            overlap = FindOverlap(max_overlap=self.config.max_overlap, mixture=self.config.mixture)
            self.plan.add("overlap", overlap, {"problems": found, "data": self.corpus if overlap.mixture else ()})
        return found

    def base(self) -> Step | Leaf:
        """Return the base model, created (once) where the config names a preset."""
        if self.model is not None:
            return self.model
        c = self.config
        stage = CreateModel(preset=c.model, vocab_size=c.vocab_size, format=c.prompt, seed=c.seed)
        return self.plan.find("base") or self.plan.add("base", stage, {"problems": self.problems()})

    def pretrain(self, name: str) -> Step:
        """Train a base model, created where the config names a preset."""
        c = self.config
        assert c.pretraining is not None
        self.problems()  # first: what cannot be measured is refused before any compute
        base: Step | Leaf | None = self.model
        if base is None:
            shape = {"preset": c.model, "vocab_size": c.vocab_size, "format": c.prompt, "seed": c.seed}
            fresh = CreateForMixture(**shape, mixture=c.pretraining.mixture)
            base = self.plan.add("fresh", fresh, {"data": self.corpus})
        stage = Pretrain(settings=c.pretraining, format=c.prompt, compute=c.compute, seed=c.seed)
        return self._candidate(self.plan.add(name, stage, {"model": base, "data": self.corpus}))

    def sft(self, name: str, base: Step | Leaf, labels: Step | None = None) -> Step:
        """Fine-tune the base model on L, and on pseudo-labels if there are any."""
        c = self.config
        stage = Sft(settings=c.sft, format=c.prompt, compute=c.compute, seed=c.seed)
        pseudo = {"pseudo": labels} if labels is not None else {}
        return self._candidate(self.plan.add(name, stage, {"model": base, "problems": self.problems(), **pseudo}))

    def _candidate(self, model: Step) -> Step:
        """Score every model on dev as soon as it is made."""
        self.candidates[model.name] = (model, self.evaluate(model.name, model, "dev"))
        return model

    def draw(self, name: str, model: Step, *, n: int, purpose: str, round: int) -> Pool:
        """Sample n solutions of every problem in U and judge them.

        Sample indices come in blocks, a step each, so that raising n later draws only the new ones.
        """
        pool = Pool()
        block = self.config.samples_per_step
        for start in range(0, n, block):
            count = min(block, n - start)
            drawn = f"{name}[{start}:{start + count}]" if n > block else name
            pool += self._judged(
                drawn,
                model,
                part_of=drawn,
                split="unlabelled",
                start=start,
                count=count,
                purpose=purpose,
                round=round,
            )
        return pool

    def _judged(
        self,
        name: str,
        model: Step,
        *,
        part_of: str,
        split: str,
        count: int,
        purpose: str,
        start: int = 0,
        round: int = 0,
        temperature: float | None = None,
    ) -> Pool:
        c = self.config
        changed = {} if temperature is None else {"temperature": temperature}
        stage = Draw(
            sampling=c.sampling.model_copy(update=changed),
            format=c.prompt,
            compute=c.compute,
            seed=c.seed,
            purpose=purpose,
            round=round,
            split=split,
            start=start,
            count=count,
        )
        about = {"part_of": part_of} if part_of != name else {}
        samples = self.plan.add(name, stage, {"model": model, "problems": self.problems()}, about)
        judge = Verify(verifier=c.verifier, split=split)
        judged = {"samples": samples, "problems": self.problems()}
        verdicts = self.plan.add(f"{name}/verdicts", judge, judged, {"part_of": part_of})
        return Pool((samples,), (verdicts,))

    def pair(self, name: str, pool: Pool) -> Step:
        """Pair right with wrong solutions; those of some problems are set aside for validation."""
        c = self.config
        stage = MakePairs(settings=c.pairs, format=c.prompt, seed=c.seed)
        return self.plan.add(name, stage, self._pooled(pool) | {"model": self.base()})

    def preference(self, name: str, policy: Step, pairs: Step, *, round: int) -> Step:
        """Learn from the pairs, starting from the policy and with it as the reference."""
        c = self.config
        stage = Preference(
            settings=c.preference,
            sampling=c.sampling,
            verifier=c.verifier,
            format=c.prompt,
            compute=c.compute,
            seed=c.seed,
            round=round,
        )
        step = self.plan.add(name, stage, {"model": policy, "pairs": pairs, "problems": self.problems()})
        return self._candidate(step)

    def pseudo_label(self, name: str, pool: Pool) -> Step:
        """Keep the right and distinct solutions."""
        c = self.config
        stage = PseudoLabel(settings=c.labels, format=c.prompt, seed=c.seed)
        return self.plan.add(name, stage, self._pooled(pool) | {"model": self.base()})

    def _pooled(self, pool: Pool) -> dict[str, Step | Leaf | tuple[Step, ...]]:
        return {"samples": pool.samples, "verdicts": pool.verdicts, "problems": self.problems()}

    def evaluate(self, model_name: str, model: Step, split: str) -> Step:
        """Score one model on one split: greedy, and by samples where the config asks for them."""
        c = self.config
        name = f"evaluate/{model_name}/{split}"
        greedy = self._judged(
            f"{name}/greedy", model, part_of=name, split=split, count=1, purpose="greedy", temperature=0.0
        )
        inputs: dict[str, Step | tuple[Step, ...]] = {
            "problems": self.problems(),
            "greedy": greedy.samples,
            "greedy_verdicts": greedy.verdicts,
        }
        if c.evaluation.samples and split == "test":
            drawn = self._judged(
                f"{name}/sampled",
                model,
                part_of=name,
                split=split,
                count=c.evaluation.samples,
                purpose="evaluate",
                temperature=c.evaluation.temperature,
            )
            inputs |= {"samples": drawn.samples, "verdicts": drawn.verdicts}
        stage = Evaluate(ks=c.evaluation.ks, split=split)
        return self.plan.add(name, stage, inputs, about={"model": model_name, "split": split})

    def conclude(self) -> Plan:
        """Return the model that is best on dev, then score all of them on test and transfer sets, once."""
        models, on_dev = zip(*self.candidates.values(), strict=True)
        self.plan.add("best", Choose(names=tuple(self.candidates)), {"models": models, "evaluations": on_dev})
        for split in ("test", *(f"transfer-{name}" for name in self.config.problems.transfer)):
            for name, model in zip(self.candidates, models, strict=True):
                self.evaluate(name, model, split)
        return self.plan
