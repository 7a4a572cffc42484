"""The whole search: from labelled images and a budget to an int8 `.lil`, resumable at any moment.

Everything that is found is written to a folder as it is found; a search that is started again with
the same settings takes it up from there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..boards.memory import Room
from ..conversion import Conversion, convert, write_atomically
from ..execution import answers
from ..labelled import Labelled
from .budget import Accountant, Budget
from .dataset import Dataset
from .evolution import Candidate, Evolved, Settings, evolve
from .float_graph import float_graph
from .judge import Judge
from .network import Network
from .parallel import Map
from .quantized import QuantizedNetwork
from .space import Space, pairs
from .spaces import SpaceScore, rank_spaces
from .subnetwork import averages_of, folded, logits_of, part_of
from .supernet import code_of, frame_of
from .training import (
    Schedule,
    floats,
    prepare_backend,
    train,
    train_network,
    train_supernet,
    use_all_devices,
)

Progress = Callable[[str, int, int], None]
_PIXELS = (0.0, 1.0)


@dataclass(frozen=True)
class Options:
    """How long and how wide a search looks.

    samples: networks drawn of each space in stage one. spaces: how many of the best get a
    super-network. largest, together: training of its largest network, and of all. drawn: networks
    that learn beside the largest in a batch. judged: validation images that tell an architecture's
    accuracy. calibrating: images that tell its batch normalisations' averages. final, tuned:
    training of the chosen network, and its fine-tuning with rounded weights. augment: how many
    times its channels the networks have that learn beside it in the end; 1 for none.
    """

    samples: int = 40
    spaces: int = 1
    largest: Schedule = field(default_factory=lambda: Schedule(epochs=10))
    together: Schedule = field(default_factory=lambda: Schedule(epochs=20))
    drawn: int = 2
    judged: int = 2000
    calibrating: int = 250
    evolution: Settings = field(default_factory=Settings)
    final: Schedule = field(default_factory=lambda: Schedule(epochs=30, rate=0.05))
    tuned: Schedule = field(default_factory=lambda: Schedule(epochs=2, rate=0.001))
    augment: float = 1.0
    seed: int = 1

    def with_effort(self, factor: float) -> Options:
        """So many times the epochs, at least one of each training."""

        def scaled(schedule: Schedule) -> Schedule:
            return dataclasses.replace(schedule, epochs=max(1, round(schedule.epochs * factor)))

        return dataclasses.replace(
            self,
            largest=scaled(self.largest),
            together=scaled(self.together),
            final=scaled(self.final),
            tuned=scaled(self.tuned),
        )


@dataclass(frozen=True)
class Searched:
    """One space, and the candidates that evolution has found in it."""

    space: Space
    evolved: Evolved


@dataclass(frozen=True)
class Outcome:
    """What a search has found. float_accuracy, accuracy: of the chosen network on the test images,
    before quantisation, and of the `.lil` in the C core."""

    scores: tuple[SpaceScore, ...]
    searched: tuple[Searched, ...]
    space: Space
    chosen: Candidate
    network: Network
    float_accuracy: float
    accuracy: float
    conversion: Conversion

    def pareto(self) -> list[tuple[Space, Candidate]]:
        """Candidates of all spaces that no other dominates, most accurate first."""
        found = [(each.space, c) for each in self.searched for c in each.evolved.pareto()]
        kept = [(space, one) for space, one in found if not any(c.dominates(one) for _, c in found)]
        return sorted(kept, key=lambda pair: -pair[1].accuracy)


def search(
    data: Dataset,
    base: Space,
    budget: Budget,
    options: Options,
    folder: Path,
    *,
    room: Room | None = None,
    over: Map = map,
    spaces: list[Space] | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> Outcome:
    """Searches for the most accurate network within a budget.

    base: the space at full resolution and width. spaces: its pairs of resolution and width to look
    at; 12 x 9 by default. folder: made if need be; keeps all that is found.
    Raises ValueError when nothing fits, or when the folder holds another search.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, data, base, budget, options, spaces)
    prepare_backend(options.seed)
    use_all_devices()
    ranked = ranked_spaces(spaces or pairs(base), budget, options, folder, over, progress)
    searched = [
        _search_space(score.space, data, budget, options, folder, over, progress)
        for score in ranked[: options.spaces]
        if score.macs
    ]
    best = max(searched, key=lambda each: each.evolved.best.accuracy)
    return _finished(best, data, tuple(ranked), tuple(searched), budget, options, folder, room,
                     progress)  # fmt: skip


def _claim(
    folder: Path,
    data: Dataset,
    base: Space,
    budget: Budget,
    options: Options,
    spaces: list[Space] | None,
) -> None:
    """Writes down what is searched for, or checks that it is what was."""
    digest = hashlib.sha256(data.training.samples.tobytes() + data.training.classes.tobytes())
    identity = {
        "data": digest.hexdigest(),
        "space": base.as_json(),
        "spaces": None if spaces is None else [space.name for space in spaces],
        "budget": str(budget),
        "schedule": budget.schedule.value,
        "options": dataclasses.asdict(options),
    }
    text = json.dumps(identity, indent=1)
    file = folder / "search.json"
    if not file.is_file():
        write_atomically(file, text.encode())
    elif file.read_text(encoding="utf-8") != text:
        raise ValueError(
            f"{folder} holds another search (its data, budget or settings differ): name another "
            "folder, or remove it"
        )


def ranked_spaces(
    spaces: list[Space],
    budget: Budget,
    options: Options,
    folder: Path,
    over: Map = map,
    progress: Progress = lambda stage, done, total: None,
) -> list[SpaceScore]:
    """Stage one: the spaces, best first; from the folder where it has them already."""
    file = folder / "spaces.json"
    if file.is_file():
        return [
            SpaceScore(Space.from_json(each["space"]), tuple(each["macs"]), each["samples"])
            for each in json.loads(file.read_text(encoding="utf-8"))
        ]
    scores = rank_spaces(
        spaces, budget, samples=options.samples, seed=options.seed, over=over,
        progress=lambda done, total: progress("rank spaces", done, total),
    )  # fmt: skip
    stored = [
        {"space": score.space.as_json(), "macs": score.macs, "samples": score.samples}
        for score in scores
    ]
    write_atomically(file, json.dumps(stored).encode())
    return scores


def _search_space(
    space: Space,
    data: Dataset,
    budget: Budget,
    options: Options,
    folder: Path,
    over: Map,
    progress: Progress,
) -> Searched:
    own = _own_folder(folder, space)
    own.mkdir(exist_ok=True)
    small = data.at(space.image)
    weights = train_supernet(
        space, small.training, options.largest, options.together, own, seed=options.seed,
        drawn=options.drawn,
        progress=lambda done, total: progress(f"train {space.name}", done, total),
    )  # fmt: skip
    judge = Judge(
        space,
        weights,
        small.training.samples[: options.calibrating],
        small.validation.samples[: options.judged],
        small.validation.classes[: options.judged],
    )
    evolved = evolve(
        space, Accountant(budget), judge, options.evolution, own, over=over,
        progress=lambda done, total: progress(f"evolve {space.name}", done, total),
    )  # fmt: skip
    return Searched(space, evolved)


def _own_folder(folder: Path, space: Space) -> Path:
    return folder / f"{space.image}px-{space.multiplier:g}"


def _finished(
    best: Searched,
    data: Dataset,
    scores: tuple[SpaceScore, ...],
    searched: tuple[Searched, ...],
    budget: Budget,
    options: Options,
    folder: Path,
    room: Room | None,
    progress: Progress,
) -> Outcome:
    space, chosen = best.space, best.evolved.best
    own = _own_folder(folder, space)
    with np.load(own / "together.npz", allow_pickle=False) as stored:
        prefix = "weight "
        weights = {
            name.removeprefix(prefix): stored[name] for name in stored if name.startswith(prefix)
        }
    network = space.network(chosen.architecture)
    start = part_of(weights, frame_of(space), code_of(space, chosen.architecture), network)
    float_accuracy, accuracy, conversion = finish(
        network, start, data.at(space.image), options, own, name=chosen.architecture.key,
        sram=budget.sram, room=room, progress=progress,
    )  # fmt: skip
    return Outcome(scores, searched, space, chosen, network, float_accuracy, accuracy, conversion)


def finish(
    network: Network,
    start: dict[str, np.ndarray] | Any,
    data: Dataset,
    options: Options,
    folder: Path,
    *,
    name: str,
    sram: int | None = None,
    room: Room | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> tuple[float, float, Conversion]:
    """Trains a network to the end, from `start` or from nothing, fine-tunes it with rounded
    weights, and converts it: its float and int8 accuracies on the test images, and the file.

    data: at the network's resolution. name: of the files in `folder` that training is kept in.
    """
    known = _joined(data.training, data.validation)
    part = train_network(
        network, start, known, options.final, folder / f"final-{name}.npz", seed=options.seed,
        augment=options.augment,
        progress=lambda done, total: progress("train the network", done, total),
    )  # fmt: skip
    calibration = floats(data.training.samples[: 4 * options.calibrating])
    averages, _ = averages_of(part, network, calibration)
    start = folded(part, averages)
    logits = logits_of(start, network, floats(data.test.samples))
    float_accuracy = float(np.mean(logits.argmax(axis=1) == data.test.classes))
    model = QuantizedNetwork(network, start)
    model.calibrate(calibration)
    weights = train(
        model, known, options.tuned, None, folder / f"tuned-{name}.npz", seed=options.seed,
        progress=lambda done, total: progress("fine-tune in int8", done, total),
    )  # fmt: skip
    conversion = convert(
        float_graph(network, weights),
        calibrate=calibration[: options.calibrating],
        sram=sram,
        room=room,
        labels=data.names,
        input_range=_PIXELS,
        equalize=False,
        bias_correction=False,
    )
    found = answers(conversion.data, data.test.samples)
    return float_accuracy, float(np.mean(found == data.test.classes)), conversion


def _joined(one: Labelled, other: Labelled) -> Labelled:
    return Labelled(
        np.concatenate([one.samples, other.samples]), np.concatenate([one.classes, other.classes])
    )
