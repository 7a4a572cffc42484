"""The processors that the core is measured on, and the emulated machine that has each."""

from __future__ import annotations

from dataclasses import dataclass

ARM, RISCV = "arm-none-eabi", "riscv64-unknown-elf"


@dataclass(frozen=True)
class Core:
    """A processor.

    name: what the user calls it. title: what a table calls it. target: prefix of the compiler, ""
    for this machine's own. flags: of the compiler. machine: of QEMU. code, ram, image: addresses of
    the program, of its data and stack, and of the jobs with free memory behind them. free: bytes
    there.
    """

    name: str
    title: str
    target: str
    flags: tuple[str, ...] = ()
    machine: str = ""
    code: int = 0
    ram: int = 0
    image: int = 0
    free: int = 16 << 20


def _cortex(suffix: str, machine: str, *flags: str, processor: str | None = None) -> Core:
    return Core(
        name=f"cortex-{suffix}",
        title=suffix.upper(),
        target=ARM,
        flags=(f"-mcpu={processor or f'cortex-{suffix}'}", "-mthumb", *flags),
        machine=machine,
        code=0,
        ram=0x20000000,
        image=0x60000000 if machine == "mps2-an500" else 0x21000000,
    )


def _secure(core: Core, ram: int, image: int) -> Core:
    """An ARMv8-M machine: it starts in the secure state, which has aliases of its own."""
    return Core(**{**vars(core), "code": 0x10000000, "ram": ram, "image": image})


HOST = Core(name="host", title="host", target="")

_HARD_SINGLE = ("-mfpu=fpv4-sp-d16", "-mfloat-abi=hard")

CORES: dict[str, Core] = {
    core.name: core
    for core in (
        _cortex("m7", "mps2-an500", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"),
        _cortex("m4", "mps2-an386", *_HARD_SINGLE),
        _cortex("m3", "mps2-an385", "-mfloat-abi=soft"),
        # QEMU has no ARMv6-M machine with enough memory: the code runs on the M3, which executes
        # it with the same instructions. Unaligned accesses trap as on the real processor.
        _cortex("m0", "mps2-an385", "-mfloat-abi=soft", processor="cortex-m0plus"),
        _secure(
            _cortex("m33", "mps2-an505", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"),
            ram=0x38000000,
            image=0x80000000,
        ),
        _secure(_cortex("m55", "mps3-an547", "-mfloat-abi=hard"), ram=0x30000000, image=0x70000000),
        Core(
            name="rv32",
            title="RV32IMC",
            target=RISCV,
            flags=("-march=rv32imc", "-mabi=ilp32", "-msmall-data-limit=0", "-mcmodel=medany"),
            machine="virt",
            code=0x80000000,
            ram=0x80200000,
            image=0x81000000,
            free=64 << 20,
        ),
    )
}
