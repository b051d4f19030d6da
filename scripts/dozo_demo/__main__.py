"""`scripts/demo`, after set-up."""

import argparse
import fcntl
import os
import shutil
import sys
import time
from pathlib import Path

from guestlab.agent import GuestCommandFailed, GuestSilent
from guestlab.build import BuildFailed, guest_images
from guestlab.kvm import kvm_works
from guestlab.recipe import HostRelease, Recipe, cache_folder

from dozo_demo import clean
from dozo_demo.places import DR, LOCK, MAIN, NotOurs
from dozo_demo.story import Demo, tell
from dozo_demo.terminal import StepFailed, say, size
from guestlab import host

NEEDED_BYTES = 6 << 30
NEEDED_MEMORY_BYTES = 1 << 30


def main() -> int:
    """Run or clean up; the exit code."""
    options = argparse.ArgumentParser(prog="scripts/demo")
    options.add_argument("--clean", action="store_true", help="remove all that the demo made")
    chosen = options.parse_args()
    with LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("scripts/demo is running already", file=sys.stderr)
            return 1
        try:
            if chosen.clean:
                clean_up()
            else:
                run()
        except (StepFailed, GuestSilent, GuestCommandFailed) as error:
            print(f"\nthe demo stopped: {error}", file=sys.stderr)
            print("what it made is still there to look at; scripts/demo --clean", file=sys.stderr)
            return 1
        except (NotOurs, BuildFailed, host.HostNotReady) as error:
            print(f"\nthe demo cannot run: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\ninterrupted; scripts/demo --clean removes what was made", file=sys.stderr)
            return 130
    return 0


def run() -> None:
    """The whole demo, after removing what an earlier run left."""
    # The demo's sites are its own: nothing that a person has set may lead elsewhere.
    for name in ("DOZO_HOME", "DOZO_KEYS"):
        os.environ.pop(name, None)
    check_room()
    connection = host.connect()
    kvm = kvm_works()
    say(
        "libvirt answers; "
        + (
            "KVM works"
            if kvm
            else "KVM does not work here, so guests are emulated, several times slower"
        )
    )
    if host.asks_qemu_each_time(connection):
        say("note: this libvirt asks QEMU anew at every call, which takes seconds each time,")
        say("      since QEMU's user has no access to /dev/kvm; what helps:")
        say("      chgrp kvm /dev/kvm && chmod 660 /dev/kvm")
    servers, freed = clean.remove_everything(connection)
    if servers or freed:
        say(f"removed what an earlier run left ({size(freed)})")
    started = time.monotonic()
    images = guest_images(say)
    if images.seconds:
        used = sum(path.stat().st_blocks * 512 for path in (images.root, images.data))
        say(f"guest built in {time.monotonic() - started:.0f} s, {size(used)} in {images.folder}")
    else:
        say(f"guest taken from {images.folder}")
    tell(Demo(connection=connection, images=images, kvm=kvm))


def check_room() -> None:
    """Refuse before anything is made where it would not fit. Raises HostNotReady."""
    for folder in {MAIN.home.parent, host.IMAGES, Path("/var/cache")}:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(existing).free
        if free < NEEDED_BYTES:
            raise host.HostNotReady(
                f"{folder} has {size(free)} free; the demo needs {size(NEEDED_BYTES)}"
            )
    memory = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if memory < NEEDED_MEMORY_BYTES // 2:
        raise host.HostNotReady(f"{size(memory)} of memory are free; the demo needs 1 GiB")


def clean_up() -> None:
    """Remove servers and folders; say what stays."""
    servers, freed = clean.remove_everything(host.connect())
    for name in servers:
        say(f"removed server {name}")
    say(f"removed the sites {MAIN.name} and {DR.name}, their vaults and images ({size(freed)})")
    say("what stays: the packages that scripts/setup installed, .venv, a running libvirt,")
    cache = cache_folder()
    key = Recipe(release=HostRelease.read()).key
    if (cache / key).exists():
        say(f"and the guest that was built, for the next run: rm -r {cache} removes it")


if __name__ == "__main__":
    sys.exit(main())
