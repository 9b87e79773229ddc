"""[Settings/Registration Basic Information] in files (R19): devices with all their SCEP settings, in and out.

`columns` is the one list of what a file holds; `csv_format` and `xml_format` write and read it. Importing is
checking (`check`), then applying (`importer`); both go by `rows`, which says what a chunk of rows comes to.
"""
