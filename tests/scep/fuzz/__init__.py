"""A mutational fuzzer of everything that comes from outside: `python -m tests.scep.fuzz --minutes 10 --seed 1`.

It starts from real messages that are captured at run time (`corpus`), changes them as bytes and as BER (`mutation`),
and hands them to what reads them (`targets`): a `ScepError`, a refusal or a result may come of it, and nothing else.
"""
