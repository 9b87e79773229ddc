"""`python -m scep`: SCEP for an administrator's hands and scripts. docs/command.md is its manual page."""
