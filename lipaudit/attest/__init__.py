"""Evidence that is handed on: attestations that bind an audit to a model's files and to a key."""
