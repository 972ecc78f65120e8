"""The lab file format: TOML tables and their JSON schema."""
