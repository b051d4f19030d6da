"""Real guests for the tests and the demo: built from the host's own package sources, booted under
libvirt, and commanded through a guest agent."""
