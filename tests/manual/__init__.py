"""The device manual's rules, one file for each R-number, looked at from outside.

On one side REST and the pages, on the other a real SCEP server, which this project did not write; between them the
real dispatcher and runner, driven step by step. The project's own responder stands in where a real server cannot be
made to show what a rule is about: PENDING, the failInfo codes that it never sends, HTTP 500, dropped connections.

`python -m tests.manual` runs them and prints the table: R-number, test, against what, result.
"""
