"""Weights of four bits need few more instructions than those of eight."""

from __future__ import annotations

from pathlib import Path

import pytest
from emulation.models import job_of_model, macs_of
from int4 import all_in_int4
from measuring import Subject, measure

from lilliput.conversion import read_graph

CORES = ("cortex-m7", "cortex-m55")
LIMIT = 1.25


@pytest.mark.parametrize("name", ["mlperf_kws_ref_model", "mlperf_pretrainedResnet_quant"])
def test_four_bits_need_few_more_instructions(name: str, models: Path, emulators: None) -> None:
    graph = read_graph(models / f"{name}.tflite")
    jobs = {"int8": job_of_model(graph), "int4": job_of_model(all_in_int4(graph))}
    subjects = [Subject(bits, job, macs_of(job), 0) for bits, job in jobs.items()]
    for core, found in measure(subjects, CORES).items():
        assert found["int4"].instructions <= LIMIT * found["int8"].instructions, core
