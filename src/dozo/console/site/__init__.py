"""Sites, vaults, settings: running a site."""
