"""Curves as SVG files: a thin line a seed, a thick one for their mean, in the reader's light or dark colours."""

import math
import statistics
from html import escape

WIDTH, HEIGHT = 480, 290
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 46, 40
LETTER_WIDTH = 6.2
ACCURACIES = ("validation_accuracy", "train_accuracy")
AXIS_NAMES = {"validation_loss": "loss", "validation_accuracy": "accuracy, %"}

# Okabe and Ito's palette (2008), darkened on white and lightened on black, as in the runs' own reports.
STYLE = """text{font:12px system-ui,sans-serif;fill:#5b636d}.t{font-weight:600;fill:#1a1d21}.g{stroke:#e1e4e8}
.y{text-anchor:end}.x{text-anchor:middle}.p{fill:#fff}path,line{fill:none}.m{stroke-width:2.4}.s{stroke-width:1;opacity:.5}
.d{stroke-dasharray:5 4}.c0{stroke:#0067a5}.c1{stroke:#c8500a}.c2{stroke:#00805f}circle.c0{fill:#0067a5}circle.c1{fill:#c8500a}
circle.c2{fill:#00805f}@media(prefers-color-scheme:dark){text{fill:#9aa4b0}.t{fill:#e7eaee}.g{stroke:#2b323b}.p{fill:#101317}
.c0{stroke:#57aeea}.c1{stroke:#ff9255}.c2{stroke:#3fc79f}circle.c0{fill:#57aeea}circle.c1{fill:#ff9255}circle.c2{fill:#3fc79f}}"""


def nice_step(span, most):
    """The least of 1, 2 or 5 times a power of ten that cuts `span` into at most `most` parts."""
    power = 10 ** math.floor(math.log10(span / most))
    return next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= most)


class Axis:
    def __init__(self, low, high, most, start, end):
        step = nice_step(max(high - low, 1e-9), most)
        self.low, self.high = (
            math.floor(low / step + 1e-9) * step,
            math.ceil(high / step - 1e-9) * step,
        )
        self.ticks = [self.low + i * step for i in range(round((self.high - self.low) / step) + 1)]
        self.start, self.end = start, end

    def place(self, value):
        share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, 0), 1) * (self.end - self.start)


def seed_lines(runs, recipe, quantity):
    """For each seed its values by epoch."""
    scale = 100 if quantity in ACCURACIES else 1
    return [[scale * epoch[quantity] for epoch in run["epochs"]] for run in runs[recipe].values()]


def mean_line(lines):
    return [statistics.mean(values) for values in zip(*lines)]  # as far as the shortest


class Picture:
    def __init__(self, curve, runs):
        self.curve = curve
        self.lines = {}
        for recipe in curve.recipes:
            for quantity in filter(None, (curve.quantity, curve.beside)):
                self.lines[recipe, quantity] = seed_lines(runs, recipe, quantity)
        values = sorted(value for lines in self.lines.values() for line in lines for value in line)
        # One wild first epoch must not flatten the rest: what lies far above the middle is cut at the edge.
        middle = values[len(values) // 2]
        top = min(values[-1], 1.8 * middle) if curve.quantity == "validation_loss" else values[-1]
        self.cut = top < values[-1]
        self.longest = max(len(line) for lines in self.lines.values() for line in lines)
        self.y = Axis(values[0], top, 6, HEIGHT - BOTTOM, TOP)
        self.x_step = max(1, round(nice_step(self.longest, 10)))

    def px(self, epoch):
        return LEFT + (epoch - 1) / max(1, self.longest - 1) * (WIDTH - LEFT - RIGHT)

    def path(self, values, classes):
        points = "L".join(
            f"{self.px(i + 1):.1f} {self.y.place(value):.1f}" for i, value in enumerate(values)
        )
        return f'<path class="{classes}" d="M{points}"/>'

    def axes(self):
        svg = ""
        digits = max(0, -math.floor(math.log10(self.y.ticks[1] - self.y.ticks[0]) + 1e-9))
        for tick in self.y.ticks:
            y = self.y.place(tick)
            svg += f'<line class="g" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            svg += f'<text class="y" x="{LEFT - 6}" y="{y + 4:.1f}">{tick:.{digits}f}</text>'
        for epoch in (
            [1, *range(self.x_step, self.longest + 1, self.x_step)]
            if self.x_step > 1
            else range(1, self.longest + 1)
        ):
            svg += f'<text class="x" x="{self.px(epoch):.1f}" y="{HEIGHT - BOTTOM + 16}">{epoch}</text>'
        middle = (TOP + HEIGHT - BOTTOM) / 2
        svg += f'<text class="x" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}">epoch</text>'
        name = AXIS_NAMES[self.curve.quantity]
        svg += f'<text class="x" transform="translate(13 {middle}) rotate(-90)">{name}</text>'
        return svg

    def legend(self):
        title = self.curve.title + (", cut at the upper edge" if self.cut else "")
        svg = f'<text class="t" x="{LEFT}" y="16">{escape(title)}</text>'
        x = LEFT
        for i, recipe in enumerate(self.curve.recipes):
            svg += f'<line class="c{i} m" x1="{x}" x2="{x + 18}" y1="30" y2="30"/><text x="{x + 23}" y="34">{escape(recipe)}</text>'
            x += 40 + round(LETTER_WIDTH * len(recipe))
        return svg

    def drawing(self):
        svg = ""
        for (recipe, quantity), lines in self.lines.items():
            colour = f"c{self.curve.recipes.index(recipe)}" + (
                " d" if quantity == self.curve.beside else ""
            )
            svg += "".join(self.path(line, f"{colour} s") for line in lines)
            if all(len(line) == self.longest for line in lines):
                svg += self.path(mean_line(lines), f"{colour} m")
                continue
            for (
                line
            ) in lines:  # a mean of runs of other lengths would mislead: show where each ended
                svg += f'<circle class="{colour}" cx="{self.px(len(line)):.1f}" cy="{self.y.place(line[-1]):.1f}" r="4"/>'
        return svg

    def svg(self):
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">'
        page = f'<rect class="p" width="{WIDTH}" height="{HEIGHT}"/>'
        return f"{head}<title>{escape(self.curve.title)}</title><style>{STYLE}</style>{page}{self.axes()}{self.drawing()}{self.legend()}</svg>\n"


def write(folder, lessons, runs):
    folder.mkdir(exist_ok=True)
    for lesson in lessons.values():
        for curve in lesson.curves:
            if all(runs[recipe] for recipe in curve.recipes):
                (folder / f"{curve.name}.svg").write_text(Picture(curve, runs).svg())
