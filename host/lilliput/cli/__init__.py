"""The `lilliput` command."""
