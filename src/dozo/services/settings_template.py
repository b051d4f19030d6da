"""What a new ``dozo.toml`` says, with a comment on everything."""

TEMPLATE = """\
# The settings of one Dozo site. Paths may be relative to this file's folder.

[site]
# The id of this site follows from its name: keep it for as long as snapshots bear it.
name = {name}
# The owner of servers that nobody has assigned to a tenant.
tenant = "default"
# In which language the site sends its notifications: "en" or "ja".
# language = "ja"

[vault]
# The backup storage of this site: a folder, best on disks of its own.
url = {vault}
# The site's keys. Without them nothing in the vault can be read: keep a copy elsewhere.
keys = {keys}

[hypervisor]
libvirt = {libvirt}
# Where Dozo puts the images of restored volumes. QEMU's user must be able to enter it.
pool = {pool}
# Where a live snapshot keeps what the guest overwrites meanwhile; the same demands as the pool.
scratch = {scratch}
# The most that one live snapshot may take there, in bytes; what is free, unless set.
# scratch_bytes = 10737418240

[capture]
# A guest is thawed after this time, whatever happens to Dozo.
freeze_limit_seconds = 10
# How long the guest agent may take over one command; a freeze writes out what is dirty.
agent_timeout_seconds = 30
# What change tracking calls unchanged is read again, a part each time, within so many days.
reread_days = 30
# Volumes of one server that are read at the same time.
parallel_volumes = 2

[service]
# Where `dozo serve` answers. Beyond this host only with TLS, here or at a proxy in front.
listen = "127.0.0.1:8790"
# How others reach it, for links in notifications and for the proxy's sake.
# public_url = "https://backup.example.org"
# tls_certificate = "/etc/dozo/tls.crt"
# tls_key = "/etc/dozo/tls.key"
# With --behind-proxy: whose word about a client's address is believed.
# proxies = ["127.0.0.1", "::1"]
# How long jobs get to come to an end when the service stops; then the next start takes them up.
stop_seconds = 60

[oidc]
# Login at an identity provider (OpenID Connect), for users who have an account here too. It needs
# service.public_url; at the provider, permit PUBLIC_URL/login/oidc/back.
# issuer = "https://login.example.org/realms/main"
# client_id = "dozo"
# client_secret_file = "/etc/dozo/oidc-secret"
# Which claim is the user name here, and what the button says.
# username_claim = "preferred_username"
# label = "Example Inc."

[catalog]
# SQLite in this folder, unset; or PostgreSQL, which several workers need:
{database}

[jobs]
# Jobs that run at the same time: at this site, of one tenant, and of the service's own upkeep.
parallel = 4
parallel_tenant = 2
parallel_upkeep = 2

[upkeep]
# How often this site looks at its vault, its hypervisor and its peers.
sync_minutes = 5
# Everything stored is read back within so many days.
scrub_days = 7
# How often the space of deleted snapshots is reclaimed, and how long they can be brought back.
prune_hours = 24
undelete_days = 7
# One run of retention that would delete more than this share of a schedule's snapshots stops.
retention_share = 0.3

[notify]
# Where news goes: addresses as Apprise has them, such as "mailto://…" or "json://…".
urls = []
# A peer that has not verified a snapshot for so long is behind.
behind_hours = 24
# Hours in which news waits, for one message at their end; but for kinds that must not wait.
# quiet = "22:00-07:00"
# quiet_zone = "Asia/Tokyo"
# urgent = ["copies-damaged", "retention-stopped"]

# Other sites, added by `dozo site add-peer`:
# [[peers]]
# name = "dr"
# vault = "/mnt/dr/vault"
# public_key = "…"

# What may run inside guests before and after a snapshot (docs/hooks.md):
# [[hooks]]
# name = "flush-db"
# command = ["/usr/local/sbin/flush-db", "--now"]
"""
