"""Jobs and the audit trail."""
