"""The big catalog that measurements stand on is one that the service could have made."""

import pytest
from dozo_scale import Scale, fill

from dozo.services import audit, facts, views
from dozo.services.access import Actor, Scope
from dozo.services.site import Site

pytestmark = pytest.mark.postgres


def test_it_is_a_whole_catalog(pair: tuple[Site, Site]) -> None:
    site, _ = pair
    made = fill(site, Scale.of(0.004))
    catalog = site.catalog
    assert catalog.servers.count() == made.rows["servers"] == 4
    assert catalog.snapshots.count() == made.rows["snapshots"]
    assert catalog.copies.count() == 2 * catalog.snapshots.count()
    assert catalog.schedule_runs.count() == made.rows["schedule_runs"]
    # What was written around Django is what Django reads.
    row = catalog.snapshots.select_related("volume", "server", "recovery_point").first()
    assert row is not None
    assert row.volume is not None
    assert row.recovery_point is not None
    times = catalog.snapshots.filter(created_at=row.created_at)
    assert row in times
    found = facts.from_json(row.snapshot_id, row.facts)
    assert found.volume.volume_id == str(row.volume.volume_id)
    assert found.recovery_point is not None
    assert found.recovery_point.recovery_point_id == row.recovery_point_id
    point = views.recovery_point_view(site, row.recovery_point)
    assert point.complete
    assert set(point.copies) == {"main", "dr"}
    assert audit.verify(Scope(site, Actor.system())).entries >= made.rows["audit_entries"]
