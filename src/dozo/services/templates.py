"""Templates: what new servers are made of. Each stands on its own in the vault."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dozo.model import clock
from dozo.model.message import Message
from dozo.services import snapshots
from dozo.services.errors import NoDefinition, NotRootVolume
from dozo.services.facts import SnapshotFacts, TemplateFacts
from dozo.services.pool import checked_name
from dozo.services.site import Site
from dozo.services.state_files import DEFINITION
from dozo.services.views import TemplateView, template_view
from dozo.services.work import Unheard, Work

if TYPE_CHECKING:
    from dozo.vault import SnapshotInfo


@dataclass(frozen=True, kw_only=True)
class TemplatePlan:
    """A template to be made."""

    name: str
    source: "SnapshotInfo"
    facts: SnapshotFacts
    tenant: str


def plan(site: Site, reference: str, *, name: str, job: str = "") -> TemplatePlan:
    """Check that a template can be made of a snapshot; nothing is made.

    Raises :class:`NotRootVolume`, :class:`NoDefinition`, ``SnapshotUnknown``, ``SnapshotDeleted``,
    ``NotReadable``, ``NameInvalid``.
    """
    checked_name(name)
    found = snapshots.readable(site, site.catalog.snapshot(reference).snapshot_id)
    if found.facts is None:
        raise NoDefinition(Message("snapshot {snapshot}", snapshot=found.name))
    if not found.facts.volume.is_root:
        raise NotRootVolume(found.name, found.facts.volume.name)
    if DEFINITION not in site.vault.attachments(found.info.snapshot):
        raise NoDefinition(Message("snapshot {snapshot}", snapshot=found.name))
    facts = replace(
        found.facts,
        name=name,
        recovery_point=None,
        job=job,
        template=TemplateFacts(
            source_snapshot=found.info.snapshot,
            source_created_at=clock.to_text(found.info.created_at),
        ),
    )
    tenant = found.info.sealed.tenant if found.info.sealed else site.settings.tenant
    return TemplatePlan(name=name, source=found.info, facts=facts, tenant=tenant)


def create(site: Site, plan: TemplatePlan, *, work: Work | None = None) -> TemplateView:
    """Make the template. No bytes are copied: it shares the snapshot's chunks, not its fate."""
    from dozo.vault import SnapshotDraft  # noqa: PLC0415  loads the ciphers

    (work or Unheard()).step(Message("make template {name}", name=plan.name))
    made = site.vault.clone(
        plan.source.snapshot,
        SnapshotDraft(
            tenant=plan.tenant,
            name=plan.name,
            created_at=clock.now(),
            kind="template",
            origin=site.settings.site_id,
            group=None,
            facts=plan.facts.to_json(),
            attachments=site.vault.attachments(plan.source.snapshot),
        ),
    )
    snapshots.record_new(site, made)
    return template_view(site, site.catalog.templates.get(snapshot_id=made))


def delete(site: Site, reference: str) -> TemplateView:
    """Delete a template; what was made of it stays."""
    row = site.catalog.template(reference)
    view = template_view(site, row)
    snapshots.delete(site, [row.snapshot_id])
    return view
