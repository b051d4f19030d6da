"""A catalog as a big site has it, made in bulk: for measurements, and for tests of what pages cost.

::

    with make_site(tmp_path, "main") as site:
        fill(site, Scale.of(0.01))  # 10 servers, 2,000 snapshots

The vault stays empty: a service that looks at it (`site.sync`) would take all of this for lost.
"""

from dozo_scale.bulk import insert
from dozo_scale.filling import Filled, Scale, fill

__all__ = ["Filled", "Scale", "fill", "insert"]
