"""A server's state as attachments of its snapshots: the names are part of what a vault keeps."""

import json
from collections.abc import Iterable, Mapping

from dozo import hypervisor
from dozo.hypervisor import ServerState

DEFINITION = "definition.xml"
ACTIVE_DEFINITION = "active.xml"
NVRAM = "nvram"
TPM_PREFIX = "tpm/"
SECRETS = "secrets.json"


def to_attachments(state: ServerState) -> dict[str, bytes]:
    """The attachments for a draft."""
    found = {DEFINITION: state.definition.encode()}
    if state.active_definition is not None:
        found[ACTIVE_DEFINITION] = state.active_definition.encode()
    if state.nvram is not None:
        found[NVRAM] = state.nvram
    for name, content in (state.tpm or {}).items():
        found[TPM_PREFIX + name] = content
    if state.secrets:
        found[SECRETS] = json.dumps(dict(state.secrets)).encode()
    return found


def from_attachments(attachments: Mapping[str, bytes]) -> ServerState | None:
    """The state out of a snapshot's attachments; None where there is no definition."""
    if DEFINITION not in attachments:
        return None
    tpm = {
        name.removeprefix(TPM_PREFIX): content
        for name, content in attachments.items()
        if name.startswith(TPM_PREFIX)
    }
    active = attachments.get(ACTIVE_DEFINITION)
    return ServerState(
        definition=attachments[DEFINITION].decode(),
        active_definition=active.decode() if active is not None else None,
        nvram=attachments.get(NVRAM),
        tpm=tpm or None,
        secrets=json.loads(attachments[SECRETS]) if SECRETS in attachments else {},
    )


def definition_for(state: ServerState, devices: Iterable[str]) -> str:
    """The definition that has those disks.

    The stored one, unless a disk was attached to the running server alone.
    """
    if state.active_definition is None:
        return state.definition
    if set(devices) <= set(hypervisor.disk_devices(state.definition)):
        return state.definition
    return state.active_definition
