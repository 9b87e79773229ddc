"""The dashboard's third-party styles and scripts: fetched at build time, never kept in the repository."""
