"""The command line: thin verbs over the library; heavy imports stay inside the commands."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from selfstudy.errors import SelfstudyError, printable
from selfstudy.storage import DEFAULT_ROOT

app = typer.Typer(
    help="Teach a small language model to reason from its own attempts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigName = Annotated[str, typer.Argument(help="A packaged config, such as quickstart, or the path of a YAML file.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Settings to change: rounds=3 preference.loss.beta=0.2 …")]
Root = Annotated[Path, typer.Option(help="Where artifacts and runs lie.")]
RunName = Annotated[
    str | None,
    typer.Option(help="Name of the run; by default the config's, with a short code where settings are changed."),
]
Verifier = Annotated[
    str | None,
    typer.Option(help="In the place of the run's: exact, or {name: ./mine.py, minutes: 5}; numeric without a run."),
]
RunRoot = Annotated[Path | None, typer.Option(help="Where artifacts and runs are to lie; the same as root=….")]


def _show_version(wanted: bool) -> None:
    if wanted:
        from selfstudy import __version__

        typer.echo(f"selfstudy {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    config: ConfigName,
    overrides: Overrides = None,
    until: Annotated[str | None, typer.Option(help="Stop after this step; plan lists them.")] = None,
    only: Annotated[str | None, typer.Option(help="Carry out this step alone.")] = None,
    name: RunName = None,
    root: RunRoot = None,
) -> None:
    """Carry out a run, or continue it: what exists is not made again."""
    from selfstudy.running import run

    run(config, overrides or (), until=until, only=only, name=name, root=root)


@app.command()
def pretrain(
    config: ConfigName,
    overrides: Overrides = None,
    name: RunName = None,
    root: RunRoot = None,
) -> None:
    """Make a base model from the mixture of a config's section pretraining, and score it."""
    from selfstudy.running import run

    run(config, ["recipe=pretrain", *(overrides or ())], name=name, root=root)


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="Problems: a JSONL, JSON, CSV or Parquet file.")],
    out: Annotated[Path, typer.Option(help="The config to write; never written over.")] = Path("config.yaml"),
    question: Annotated[str | None, typer.Option(help="Column of the question, where the guess is wrong.")] = None,
    answer: Annotated[str | None, typer.Option(help="Column of the final answer, likewise.")] = None,
    solution: Annotated[str | None, typer.Option(help="Column of the worked solution, likewise.")] = None,
) -> None:
    """Look at a file of your own and write a config for it, with comments: what was found, and what to change."""
    from selfstudy.starting import write_config

    given = {"question": question, "answer": answer, "solution": solution}
    write_config(file, out, {role: name for role, name in given.items() if name is not None})


@app.command()
def plan(
    config: ConfigName,
    overrides: Overrides = None,
    name: RunName = None,
    root: RunRoot = None,
) -> None:
    """Show the steps of a run, which of them exist, and a forecast of the work, before any compute."""
    from selfstudy.running import show_plan

    show_plan(config, overrides or (), name=name, root=root)


@app.command()
def status(
    run: Annotated[str | None, typer.Argument(help="A run's name or folder; all runs if left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Show how far a run is, living or dead, and its results so far."""
    from selfstudy.looking import show_status

    show_status(run, root, as_json=as_json)


@app.command()
def verify(
    run: Annotated[str, typer.Argument(help="A run's name or folder.")],
    root: Root = DEFAULT_ROOT,
) -> None:
    """Read every file that a run has made and compare it with what was made; exit with 1 if any is damaged or gone."""
    from selfstudy.keeping import verify_run

    if not verify_run(run, root):
        raise typer.Exit(1)


@app.command()
def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Remove it; otherwise it is only listed.")] = False,
    root: Root = DEFAULT_ROOT,
) -> None:
    """List the artifacts and unfinished attempts that no run needs, and remove them if asked to."""
    from selfstudy.keeping import collect

    collect(root, delete=delete)


@app.command()
def report(
    run: Annotated[str, typer.Argument(help="A run's name or folder.")],
    out: Annotated[Path | None, typer.Option(help="The file; by default report.html in the run's folder.")] = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Write what there is to see of a run, finished, failed or going on, as one HTML file."""
    from selfstudy.looking import show_report

    show_report(run, root, out)


@app.command()
def sample(
    model: Annotated[str, typer.Argument(help="A run, RUN:MODEL, or a model folder.")],
    problems: Annotated[str, typer.Argument(help="A problem source, such as svamp, or {name: tabular, path: my.csv}.")],
    out: Annotated[Path, typer.Option(help="JSON lines to write, a sample each with its verdict.")],
    n: Annotated[int, typer.Option(min=1, help="Samples a problem.")] = 1,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 0.7,
    calculator: Annotated[bool, typer.Option(help="Whether the calculator writes results.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Another one draws other samples.")] = 0,
    verifier: Verifier = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Draw solutions of any problems from a trained model."""
    from selfstudy.asking import sample_to_file

    sample_to_file(
        model,
        problems,
        out,
        n=n,
        temperature=temperature,
        calculator=calculator,
        seed=seed,
        verifier=verifier,
        root=root,
    )


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="A run, RUN:MODEL, or a model folder.")],
    problems: Annotated[
        str, typer.Argument(help="A problem source; or one of the run's splits: dev, test, a transfer set.")
    ] = "test",
    samples: Annotated[int, typer.Option(min=0, help="Samples a problem, for pass@k and maj@k too.")] = 0,
    temperature: Annotated[float, typer.Option(min=0, help="At which those samples are drawn.")] = 0.7,
    calculator: Annotated[bool, typer.Option(help="Whether the calculator writes results.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Another one draws other samples.")] = 0,
    verifier: Verifier = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Score a trained model: greedy accuracy with its interval, and pass@k where samples are asked for."""
    from selfstudy.asking import show_scores

    show_scores(
        model,
        problems,
        samples=samples,
        temperature=temperature,
        calculator=calculator,
        seed=seed,
        verifier=verifier,
        as_json=as_json,
        root=root,
    )


@app.command()
def compare(
    run_a: Annotated[str, typer.Argument(help="A run, for the model it returned, or RUN:MODEL.")],
    run_b: Annotated[str, typer.Argument(help="The other; differences are second minus first.")],
    split: Annotated[str | None, typer.Option(help="One split alone, such as test.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Compare two runs problem by problem: paired intervals, McNemar's test, cost, and the settings that differ."""
    from selfstudy.comparing import show_comparison

    show_comparison(run_a, run_b, root, split=split, as_json=as_json)


@app.command()
def solve(
    model: Annotated[str, typer.Argument(help="A run, RUN:MODEL, or a model folder.")],
    question: Annotated[str | None, typer.Argument(help="Asked for if left out.")] = None,
    calculator: Annotated[bool, typer.Option(help="Whether the calculator writes results.")] = True,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each question.")] = False,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Ask a trained model a question and see the calculator work."""
    from selfstudy.asking import show_solutions

    show_solutions(model, question, calculator=calculator, temperature=temperature, root=root, as_json=as_json)


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="A run's name or folder.")],
    step: Annotated[str, typer.Argument(help="A model, such as best, or what made pairs or pseudo-labels: pairs-1.")],
    out: Annotated[Path, typer.Option(help="Folder to make, or JSON lines to write.")],
    dtype: Annotated[str, typer.Option(help="Of a model's weights: float32, bfloat16 or float16.")] = "float32",
    root: Root = DEFAULT_ROOT,
) -> None:
    """Write a model as a transformers folder, or pairs or pseudo-labels as JSON lines that TRL reads."""
    from selfstudy.exporting import export_step

    export_step(run, step, out, root, dtype=dtype)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; errors with a remedy are printed without a traceback, and exit with 2."""
    from rich.markup import escape

    from selfstudy.console import errors

    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        app(arguments)
    except SelfstudyError as error:
        errors.print(f"[bold red]error:[/] {escape(printable(str(error)))}", soft_wrap=True)
        sys.exit(2)
    except OSError as error:  # a full disk, a folder that cannot be written: nothing of ours is wrong
        kept = "what was finished is kept: mend that, and run again"
        errors.print(f"[bold red]error:[/] {escape(printable(_of_files(error)))}; {kept}", soft_wrap=True)
        sys.exit(2)
    finally:
        signal.signal(signal.SIGTERM, before)


def _of_files(error: OSError) -> str:
    """Say what could not be read or written: the folder, where it is a file that a user never named."""
    if not isinstance(error.filename, str) or error.strerror is None:
        return str(error)
    path = Path(error.filename).absolute()
    return f"{path.parent if path.name.startswith('.') else path}: {error.strerror}"


def _terminated(number: int, frame: object) -> None:
    """Take a scheduler's end of a job as Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # some send it twice, into what the first began
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
