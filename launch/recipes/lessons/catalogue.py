"""The lessons: which recipes each compares and which curves show it."""

from dataclasses import dataclass


@dataclass
class Curve:
    name: str  # of the SVG file
    title: str
    quantity: str  # of an epoch line of metrics.jsonl
    recipes: list
    beside: str = ""  # a second quantity, drawn dashed


@dataclass
class Lesson:
    question: str
    recipes: list
    columns: list  # of the table: names of measured.numbers
    curves: list


RANKS = {"local": 4, "sync": 4}  # of the recipes that are not for one process

LESSONS = {
    "a": Lesson(
        "When does a model that is left to overfit do best?",
        ["overfit"],
        [
            "epoch of lowest loss",
            "lowest loss",
            "last loss",
            "accuracy there",
            "last accuracy",
            "last training accuracy",
        ],
        [
            Curve(
                "a-loss",
                "Loss: validation, training (dashed)",
                "validation_loss",
                ["overfit"],
                "train_loss",
            )
        ],
    ),
    "b": Lesson(
        "What does dropout change?",
        ["overfit", "dropout"],
        [
            "epoch of lowest loss",
            "lowest loss",
            "last loss",
            "last accuracy",
            "last training accuracy",
            "test accuracy",
        ],
        [
            Curve("b-loss", "Validation loss", "validation_loss", ["overfit", "dropout"]),
            Curve(
                "b-accuracy", "Validation accuracy", "validation_accuracy", ["overfit", "dropout"]
            ),
        ],
    ),
    "c": Lesson(
        "What does batch norm give at equal budget?",
        ["vgg11", "vgg11_bn", "googlenet", "googlenet_bn"],
        ["last loss", "last accuracy", "last training accuracy", "test accuracy"],
        [
            Curve(
                "c-vgg11",
                "VGG-11: validation accuracy",
                "validation_accuracy",
                ["vgg11", "vgg11_bn"],
            ),
            Curve(
                "c-googlenet",
                "GoogLeNet: validation accuracy",
                "validation_accuracy",
                ["googlenet", "googlenet_bn"],
            ),
        ],
    ),
    "d": Lesson(
        "What does patience cost and give where validation fluctuates?",
        ["patience_0", "patience_4", "constant"],
        ["epochs run", "lowest loss", "accuracy there", "test accuracy"],
        [
            Curve(
                "d-loss",
                "Validation loss, a dot where patience ended a run",
                "validation_loss",
                ["constant", "patience_4", "patience_0"],
            )
        ],
    ),
    "e": Lesson(
        "What does a fall of the learning rate do?",
        ["constant", "step"],
        [
            "epoch of lowest loss",
            "lowest loss",
            "last accuracy",
            "last training accuracy",
            "test accuracy",
        ],
        [
            Curve("e-loss", "Validation loss", "validation_loss", ["constant", "step"]),
            Curve("e-accuracy", "Validation accuracy", "validation_accuracy", ["constant", "step"]),
        ],
    ),
    "f": Lesson(
        "Does it matter over which images batch norm averages when a rank has two?",
        ["local", "sync"],
        ["last loss", "last accuracy", "last training accuracy", "test accuracy"],
        [Curve("f-loss", "Validation loss", "validation_loss", ["local", "sync"])],
    ),
}
