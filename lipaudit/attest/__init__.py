"""Evidence that is handed on: attestations bind an audit to files and a key, `verify` proves it again."""
