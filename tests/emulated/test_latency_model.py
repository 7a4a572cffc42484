"""The search's latency models still say what the kernels take."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from emulation import CORES, build, run
from emulation.models import job_of_lil
from latency import networks, with_weights

from lilliput.format import write
from lilliput.search.latency import latency_model
from lilliput.search.memory import MemoryModel


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0"])
@pytest.mark.usefixtures("emulators")
def test_networks_that_no_model_was_fitted_to(core: str) -> None:
    model, memory = latency_model(core), MemoryModel()
    dice = np.random.default_rng(0)
    predicted, jobs = [], []
    for network in networks(3, seed=3):
        plan = memory.placed(network)
        assert plan is not None
        plan = replace(plan, program=with_weights(plan.program, dice))
        predicted.append(model.instructions(plan))
        jobs.append(job_of_lil(write(plan.program, plan)))
    counted = [result.instructions for result in run(build(CORES[core]), jobs)]
    errors = [guess / count - 1 for guess, count in zip(predicted, counted, strict=True)]
    assert np.mean(np.abs(errors)) < 0.05, errors
    assert np.max(np.abs(errors)) < 0.10, errors
