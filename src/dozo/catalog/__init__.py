"""The catalog: what a site knows, in a database that can be rebuilt from its vault.

Use :class:`dozo.catalog.store.Catalog`; importing this package does not load Django.
"""
