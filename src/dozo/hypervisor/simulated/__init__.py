"""A simulated hypervisor: no guest, no QEMU process, but real images that really change.

For tests and for planning capacity. Servers are rows of a small store in a folder that any number
of processes may use; their disks are raw or qcow2 files. What a guest would have written is written
when somebody looks (a capture, a stop), so that time costs nothing while nobody does.
"""

from dozo.hypervisor.simulated.guest import Guest
from dozo.hypervisor.simulated.host import SCHEME, SimulatedHost
from dozo.hypervisor.simulated.new_server import NewDisk, NewServer

__all__ = ["SCHEME", "Guest", "NewDisk", "NewServer", "SimulatedHost"]
