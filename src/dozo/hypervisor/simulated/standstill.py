"""Evidence that a stopped simulated server stayed stopped: every start leaves a number behind."""

import os
from types import TracebackType
from typing import Self

from dozo.hypervisor.errors import ServerRunning, ServerStarted, ServerUnknown, StandstillUnproven
from dozo.hypervisor.simulated.machine import Machine, Machines
from dozo.model.message import Message


class SimulatedStandstill:
    """See :class:`~dozo.hypervisor.port.Standstill`."""

    def __init__(self, machines: Machines, server: str) -> None:
        self._machines = machines
        machine = machines.get(server)
        self.server = machine.row.name
        self._uuid = machine.row.uuid
        self._paths = _paths(machine)
        self._since = 0

    def __enter__(self) -> Self:
        self._since = self._machines.store.last_start()
        with self._machines.held(self._uuid) as machine:
            if machine.active:
                raise ServerRunning(server=self.server, state="running")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        return

    def check(self, *, now: bool = False) -> None:  # noqa: ARG002  looking costs little here
        """Raise ``ServerStarted`` or ``StandstillUnproven`` if the server may have run."""
        for uuid in self._machines.store.starts_after(self._since):
            try:
                other = self._machines.get(uuid)
            except ServerUnknown:
                continue
            if uuid == self._uuid or self._paths & _paths(other):
                raise ServerStarted(server=other.row.name)
        try:
            self._machines.get(self._uuid)
        except ServerUnknown as error:
            raise StandstillUnproven(
                server=self.server, reason=Message("it no longer exists")
            ) from error


def _paths(machine: Machine) -> set[str]:
    return {os.path.realpath(disk.path) for disk in machine.written_disks() if disk.path}
