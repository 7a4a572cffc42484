"""Serial ports that boards are connected to."""

from __future__ import annotations

from dataclasses import dataclass

from serial.tools import list_ports

from .connection import BoardError


@dataclass(frozen=True)
class Port:
    """A USB serial port: its device, what the board calls itself, its USB ids and serial number."""

    device: str
    product: str
    usb_id: str
    serial_number: str


def connected_ports() -> list[Port]:
    """The USB serial ports of this computer, in order of their names."""
    return [
        Port(
            device=info.device,
            product=" ".join(filter(None, (info.manufacturer, info.product))) or info.description,
            usb_id=f"{info.vid:04x}:{info.pid:04x}",
            serial_number=info.serial_number or "",
        )
        for info in sorted(list_ports.comports())
        if info.vid is not None and info.pid is not None
    ]


def only_port() -> str:
    """The device of the board that is connected. Raises BoardError when it is not exactly one."""
    found = connected_ports()
    if len(found) == 1:
        return found[0].device
    if not found:
        raise BoardError("no board is connected: plug one in, or name its port with --port")
    names = ", ".join(port.device for port in found)
    raise BoardError(f"several boards are connected: name one with --port ({names})")
