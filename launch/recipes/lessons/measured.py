"""What the runs wrote into metrics.jsonl, as numbers and tables."""

import json
import pathlib
import statistics


def run_directory(out, recipe, seed):
    return pathlib.Path(out) / f"{recipe}-seed{seed}"


def events(directory):
    file = directory / "metrics.jsonl"
    if not file.exists():
        return []
    lines = file.read_text().splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]


def finished(directory):
    found = events(directory)
    return (
        bool(found)
        and found[-1]["event"] == "end"
        and found[-1]["reason"] in ("completed", "early_stopping")
    )


def words(log):
    """The program's own warnings and verdict, from what it printed."""
    if not log.exists():
        return []
    lines = log.read_text().splitlines()
    last = max(
        (i for i, line in enumerate(lines) if line.startswith("test loss")), default=len(lines)
    )
    verdict = [line for line in lines[last + 1 :] if not line.startswith("run directory:")]
    return [line for line in lines if line.startswith("warning:")] + verdict


def read_runs(out, recipes, seeds):
    """{recipe: {seed: {"epochs": [...], "end": {...}, "words": [...]}}} of the finished runs."""
    runs = {recipe: {} for recipe in recipes}
    for recipe in recipes:
        for seed in seeds:
            directory = run_directory(out, recipe, seed)
            if finished(directory):
                found = events(directory)
                epochs = [event for event in found if event["event"] == "epoch"]
                runs[recipe][seed] = {
                    "epochs": epochs,
                    "end": found[-1],
                    "words": words(pathlib.Path(f"{directory}.log")),
                }
    return runs


def numbers(run):
    """What one run's table rows are made of; accuracies in percent, of validation unless named otherwise."""
    epochs, end = run["epochs"], run["end"]
    best = min(epochs, key=lambda epoch: epoch["validation_loss"])
    last = epochs[-1]
    return {
        "epochs run": len(epochs),
        "epoch of lowest loss": best["epoch"],
        "lowest loss": best["validation_loss"],
        "accuracy there": 100 * best["validation_accuracy"],
        "last loss": last["validation_loss"],
        "last accuracy": 100 * last["validation_accuracy"],
        "last training accuracy": 100 * last["train_accuracy"],
        "test accuracy": 100 * end["test_accuracy"],
    }


def spread(values):
    """Mean (min to max), with as many digits as the values deserve."""
    if all(isinstance(value, int) for value in values):
        return f"{statistics.mean(values):.1f} ({min(values)} to {max(values)})"
    digits = 1 if max(values) >= 10 else 2
    return f"{statistics.mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(lesson, runs):
    lines = [
        "| recipe | " + " | ".join(lesson.columns) + " | verdicts |",
        "|---|" + "---:|" * len(lesson.columns) + "---|",
    ]
    for recipe in lesson.recipes:
        of = [numbers(run) for run in runs[recipe].values()]
        verdicts = ", ".join(str(run["end"]["verdict"]) for run in runs[recipe].values())
        cells = (
            [spread([run[name] for run in of]) for name in lesson.columns]
            if of
            else ["not finished"] * len(lesson.columns)
        )
        lines.append(f"| `{recipe}` | " + " | ".join(cells) + f" | {verdicts} |")
    return "\n".join(lines) + "\n"


def write(out, lessons, runs):
    page = "Mean (min to max) over the seeds; losses and accuracies (%) of validation where nothing else is said.\n"
    for letter, lesson in lessons.items():
        page += f"\n## ({letter}) {lesson.question}\n\n{table(lesson, runs)}"
    (out / "measured.md").write_text(page)
    result = {
        recipe: {
            seed: {
                **numbers(run),
                "end": run["end"],
                "words": run["words"],
                "epochs": run["epochs"],
            }
            for seed, run in of.items()
        }
        for recipe, of in runs.items()
    }
    (out / "measured.json").write_text(json.dumps(result, indent=1) + "\n")
