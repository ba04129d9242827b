"""Writes schedule_golden.json: learning rates as PyTorch's own schedulers give them.

Run with PyTorch 2.11 in reach:  python3 tests/core/make_schedule_golden.py
Each case holds the configuration keys of `lr_schedule` that it sets, a base rate and the rates of
its first positions; each plateau case the watched values and the rate after each of them.
"""

import json
import math
import pathlib
import warnings

import torch
from torch.optim import lr_scheduler as schedulers

warnings.simplefilter("ignore")  # schedulers without optimizer steps in between
POSITIONS = 40


def rates(base, make, positions=POSITIONS):
    """The rates that `make(optimizer)` gives before the updates 0, 1, 2, …"""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
    scheduler = make(optimizer)
    values = []
    for position in range(positions):
        if position > 0:
            scheduler.step()
        values.append(optimizer.param_groups[0]["lr"])
    return values


def linear_warm_up(units, start_factor):
    return lambda optimizer: schedulers.LinearLR(optimizer, start_factor, total_iters=units)


def warmed_up(make, units, start_factor):
    """LinearLR for `units`, then the schedule from its own position 0."""

    def sequence(optimizer):
        warm_up = linear_warm_up(units, start_factor)(optimizer)
        return schedulers.SequentialLR(optimizer, [warm_up, make(optimizer)], milestones=[units])

    return sequence


CASES = []


def case(config, base, make, positions=POSITIONS):
    name = config["name"]
    CASES.append({"lr_schedule": config, "base": base, "rates": rates(base, make, positions)})
    for units, start_factor in ((1, 0.25), (5, 0.1), (12, 1e-3)):
        if name == "one_cycle":
            # OneCycleLR overwrites the base rate that LinearLR reads: SequentialLR would warm up
            # to the first rate of the cycle, so the two stand one after the other here.
            linear = rates(base, linear_warm_up(units, start_factor), units)
            values = linear + rates(base, make, positions)
        else:
            values = rates(base, warmed_up(make, units, start_factor), positions + units)
        config_with = dict(config, warmup=units, warmup_start_factor=start_factor)
        CASES.append({"lr_schedule": config_with, "base": base, "rates": values})


def add_cases():
    case({"name": "constant"}, 0.1, lambda o: schedulers.LambdaLR(o, lambda _: 1.0))
    for size, gamma in ((1, 0.9), (7, 0.5), (30, 0.1)):
        case(
            {"name": "step", "step_size": size, "gamma": gamma},
            0.1,
            lambda o, size=size, gamma=gamma: schedulers.StepLR(o, size, gamma),
        )
    for milestones, gamma in (
        ([10, 20, 30], 0.1),
        ([3], 0.2),
        ([5, 5, 8], 0.5),
        ([0, 4], 0.3),
        ([30, 10], 0.1),
    ):
        case(
            {"name": "multi_step", "milestones": milestones, "gamma": gamma},
            0.4,
            lambda o, m=milestones, gamma=gamma: schedulers.MultiStepLR(o, m, gamma),
        )
    for gamma in (0.95, 0.5, 1.0):
        case(
            {"name": "exponential", "gamma": gamma},
            0.1,
            lambda o, gamma=gamma: schedulers.ExponentialLR(o, gamma),
        )
    for total, power in ((40, 1.0), (25, 2.0), (30, 0.9), (40, 0.5)):
        case(
            {"name": "polynomial", "total": total, "power": power},
            0.05,
            lambda o, t=total, power=power: schedulers.PolynomialLR(o, t, power),
        )
    for total, minimum in ((39, 0.0), (50, 1e-3), (45, 0.2)):
        case(
            {"name": "cosine", "total": total, "minimum_learning_rate": minimum},
            0.1,
            lambda o, t=total, m=minimum: schedulers.CosineAnnealingLR(o, t, m),
        )
    for period, multiplier, minimum in (
        (10, 1, 0.0),
        (3, 2, 1e-4),
        (7, 2, 0.0),
        (1, 1, 0.01),
        (2, 3, 0.0),
    ):
        case(
            {
                "name": "cosine",
                "restart_period": period,
                "restart_multiplier": multiplier,
                "minimum_learning_rate": minimum,
            },
            0.1,
            lambda o, p=period, k=multiplier, m=minimum: schedulers.CosineAnnealingWarmRestarts(
                o, p, k, m
            ),
        )
    for anneal in ("cosine", "linear"):
        for total, rise, initial, final in (
            (40, 0.3, 25.0, 1e4),
            (37, 0.25, 10.0, 100.0),
            (40, 0.5, 4.0, 1.0),
            (40, 1.0, 25.0, 1e4),
            (40, 0.02, 25.0, 1e4),
        ):
            case(
                {
                    "name": "one_cycle",
                    "total": total,
                    "one_cycle_rise_fraction": rise,
                    "one_cycle_initial_divisor": initial,
                    "one_cycle_final_divisor": final,
                    "one_cycle_anneal": anneal,
                },
                0.2,
                lambda o, t=total, r=rise, i=initial, f=final, a=anneal: schedulers.OneCycleLR(
                    o,
                    max_lr=0.2,
                    total_steps=t,
                    pct_start=r,
                    anneal_strategy={"cosine": "cos"}.get(a, a),
                    cycle_momentum=False,
                    div_factor=i,
                    final_div_factor=f,
                ),
                positions=total,
            )


def plateau_case(values, base=0.1, **config):
    settings = {
        "plateau_factor": 0.1,
        "plateau_patience": 2,
        "plateau_threshold": 1e-4,
        "plateau_cooldown": 0,
        "minimum_learning_rate": 0.0,
        "plateau_quantity": "validation_loss",
    }
    settings.update(config)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
    mode = "min" if settings["plateau_quantity"] == "validation_loss" else "max"
    scheduler = schedulers.ReduceLROnPlateau(
        optimizer,
        mode,
        factor=settings["plateau_factor"],
        patience=settings["plateau_patience"],
        threshold=settings["plateau_threshold"],
        cooldown=settings["plateau_cooldown"],
        min_lr=settings["minimum_learning_rate"],
    )
    after = []
    for value in values:
        scheduler.step(value)
        after.append(optimizer.param_groups[0]["lr"])
    # JSON has no NaN or infinity.
    return {
        "lr_schedule": dict(settings, name="plateau"),
        "base": base,
        "values": [value if math.isfinite(value) else str(value) for value in values],
        "rates": after,
    }


def plateau_cases():
    nan, inf = math.nan, math.inf
    falling = [1.0 / (1 + i) for i in range(8)]
    flat = falling + [falling[-1]] * 20
    accuracy = [0.1 * i for i in range(8)] + [0.7] * 20
    noisy = [1.0 + 0.3 * math.sin(2.1 * i) - 0.01 * i for i in range(40)]
    highest = {"plateau_quantity": "validation_accuracy"}
    return [
        plateau_case(flat),
        plateau_case(flat, plateau_patience=0),
        plateau_case(flat, plateau_cooldown=4),
        plateau_case(flat, plateau_patience=0, plateau_cooldown=1, plateau_factor=0.5),
        plateau_case(flat, minimum_learning_rate=5e-4),
        plateau_case(flat, plateau_factor=0.9, base=1e-7),
        plateau_case(flat, minimum_learning_rate=0.3),
        plateau_case(noisy),
        plateau_case(noisy, plateau_threshold=0.2, plateau_cooldown=2),
        plateau_case(noisy, plateau_threshold=0.0, plateau_patience=1),
        plateau_case(accuracy, **highest),
        plateau_case(noisy, **highest, plateau_cooldown=3, plateau_factor=0.3),
        plateau_case([nan] * 10),
        plateau_case([nan, nan, 1.0, nan, nan, nan, 0.5, nan, nan, nan, 0.6], **highest),
        plateau_case([nan, nan, 1.0, nan, nan, nan, 0.5, nan, nan, nan, 0.6]),
        plateau_case([inf, inf, inf, inf, 2.0, 3.0, 3.0, 3.0, 3.0]),
        plateau_case([-inf, 0.1, 0.1, 0.1, 0.1, 0.1], **highest),
        plateau_case([1.0, 0.99995, 0.9999, 0.99989, 0.9998, 0.9997, 0.9996, 0.9995]),
    ]


def main():
    add_cases()
    golden = {"pytorch": torch.__version__, "schedules": CASES, "plateaus": plateau_cases()}
    path = pathlib.Path(__file__).with_name("schedule_golden.json")
    lines = [json.dumps(row, allow_nan=False) for row in golden["schedules"]]
    plateau_lines = [json.dumps(row, allow_nan=False) for row in golden["plateaus"]]
    path.write_text(
        '{"pytorch": %s,\n"schedules": [\n%s],\n"plateaus": [\n%s]}\n'
        % (json.dumps(golden["pytorch"]), ",\n".join(lines), ",\n".join(plateau_lines))
    )


if __name__ == "__main__":
    main()
