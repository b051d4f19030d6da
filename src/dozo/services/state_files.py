"""A server's state as attachments of its snapshots: names are part of what a vault keeps."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

DEFINITION = "definition.xml"
NVRAM = "nvram"
TPM_PREFIX = "tpm/"
SECRETS = "secrets.json"


@dataclass(frozen=True, kw_only=True)
class StateFiles:
    """What a server is besides its disks; contents are opaque bytes."""

    definition: str
    nvram: bytes | None
    tpm: Mapping[str, bytes] | None
    secrets: Mapping[str, str]


def to_attachments(state: StateFiles) -> dict[str, bytes]:
    """The attachments for a draft."""
    found = {DEFINITION: state.definition.encode()}
    if state.nvram is not None:
        found[NVRAM] = state.nvram
    for name, content in (state.tpm or {}).items():
        found[TPM_PREFIX + name] = content
    if state.secrets:
        found[SECRETS] = json.dumps(dict(state.secrets)).encode()
    return found


def from_attachments(attachments: Mapping[str, bytes]) -> StateFiles | None:
    """The state out of a snapshot's attachments; None where there is no definition."""
    if DEFINITION not in attachments:
        return None
    tpm = {
        name.removeprefix(TPM_PREFIX): content
        for name, content in attachments.items()
        if name.startswith(TPM_PREFIX)
    }
    return StateFiles(
        definition=attachments[DEFINITION].decode(),
        nvram=attachments.get(NVRAM),
        tpm=tpm or None,
        secrets=json.loads(attachments[SECRETS]) if SECRETS in attachments else {},
    )
