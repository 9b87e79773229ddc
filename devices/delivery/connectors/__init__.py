"""One file per kind of device; `registry` knows them all. Nothing here knows what is stored."""
